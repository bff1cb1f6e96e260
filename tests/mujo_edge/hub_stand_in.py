"""A stand-in of the Hub's HTTP API, for the real client: what huggingface_hub 2.4 calls to make, fill and read a
model repository. Endpoints, bodies and headers as its hf_api.py, _commit_api.py, lfs.py, file_download.py and
utils/_http.py send and expect them; LFS transfers as git-lfs docs/api/batch.md, adapter "basic"."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

LARGE = (".npy", ".npz", ".onnx", ".pte", ".tflite")
"""Kept with LFS, as the Hub's default .gitattributes has it."""

TOKENS = {"hf_anna": ("anna", "write"), "hf_anna_reads": ("anna", "read"), "hf_bert": ("bert", "write")}

Fault = Callable[[web.Request], Awaitable[web.StreamResponse | None]]


@dataclass
class Repo:
    """`commits`: (commit, files by path), the newest last; `private` and `gated` as on the Hub."""

    commits: list[tuple[str, dict[str, bytes]]]
    private: bool = False
    gated: bool = False

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[-1][1]

    def commit(self, files: dict[str, bytes]) -> str:
        digest = hashlib.sha1(b"".join(files[name] for name in sorted(files)), usedforsecurity=False)
        digest.update(b"%d" % len(self.commits))
        self.commits.append((digest.hexdigest(), files))
        return digest.hexdigest()

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        if revision == "main":
            return self.commits[-1]
        return next((commit for commit in self.commits if commit[0] == revision), None)


@dataclass
class Hub:
    """`seen`: requests in order; `fault` may answer one in the Hub's place; `outside`: requests through the proxy,
    which would have gone to another host."""

    repos: dict[str, Repo] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    seen: list[web.Request] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    fault: Fault | None = None
    url: str = ""
    cdn: str = ""
    proxy: str = ""

    def paths(self) -> list[str]:
        return [f"{request.method} {request.path}" for request in self.seen]


@asynccontextmanager
async def running_hub() -> AsyncIterator[Hub]:
    hub = Hub()
    app = web.Application(middlewares=[_middleware(hub)], client_max_size=1 << 26)
    app.add_routes(
        [
            web.post("/api/repos/create", _create(hub)),
            web.post("/api/validate-yaml", _validate),
            web.get("/api/models/{owner}/{name}", _info(hub)),
            web.get("/api/models/{owner}/{name}/revision/{revision}", _info(hub)),
            web.post("/api/models/{owner}/{name}/preupload/{revision}", _preupload(hub)),
            web.post("/api/models/{owner}/{name}/commit/{revision}", _commit(hub)),
            web.post("/{owner}/{name}.git/info/lfs/objects/batch", _batch(hub)),
            web.put("/store/{oid}", _store(hub)),
            web.post("/stored", _stored(hub)),
            web.get("/cdn/{oid}", _cdn(hub)),
            web.get("/{owner}/{name}/resolve/{revision}/{path:.+}", _resolve(hub)),
        ]
    )
    server = TestServer(app, host="127.0.0.1")
    proxy = await asyncio.start_server(_proxied(hub), "127.0.0.1", 0)
    await server.start_server()
    hub.url, hub.cdn = f"http://127.0.0.1:{server.port}", f"http://localhost:{server.port}"
    hub.proxy = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
    try:
        yield hub
    finally:
        proxy.close()
        await server.close()


async def cut(request: web.Request) -> web.StreamResponse:
    """The connection breaks before there is an answer."""
    assert request.transport is not None
    request.transport.abort()
    raise ConnectionResetError


def refused(status: int, code: str | None = None, message: str = "") -> web.Response:
    headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
    return web.json_response({"error": message}, status=status, headers=headers)


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _middleware(hub: Hub) -> Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]:
    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        hub.seen.append(request)
        if request.match_info.http_exception is not None:
            hub.strange.append(f"{request.method} {request.path}")
        response = await hub.fault(request) if hub.fault else None
        return response or await handler(request)

    return middleware


def _proxied(hub: Hub) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def proxied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hub.outside.append((await reader.readline()).decode().strip())
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    return proxied


def _who(request: web.Request) -> tuple[str, str] | None:
    """(user, role); None for anonymous requests. An unknown token is refused."""
    header = request.headers.get("Authorization")
    if header is None:
        return None
    if (token := header.removeprefix("Bearer ")) not in TOKENS:
        raise _error(refused(401, message="Invalid credentials in Authorization header"))
    return TOKENS[token]


def _error(answer: web.Response) -> web.HTTPException:
    """An answer to raise."""
    error = web.HTTPException(headers=answer.headers, body=answer.body)
    error.set_status(answer.status)
    return error


def _may_write(request: web.Request, owner: str) -> None:
    who = _who(request)
    if who is None:
        raise _error(refused(401, message="Invalid username or password."))
    if who != (owner, "write"):
        raise _error(refused(403, message="you don't have the rights to write here"))


def _may_read(hub: Hub, request: web.Request) -> Repo:
    """As on the Hub, the existence of a repository is hidden from anonymous clients."""
    owner = request.match_info["owner"]
    repo = hub.repos.get(f"{owner}/{request.match_info['name']}")
    who = _who(request)
    if repo is None or (repo.private and (who is None or who[0] != owner)):
        if who is None:
            raise _error(refused(401, message="Invalid username or password."))
        raise _error(refused(404, "RepoNotFound", "Repository not found"))
    return repo


def _create(hub: Hub) -> Handler:
    async def create(request: web.Request) -> web.Response:
        wanted = await request.json()
        _may_write(request, wanted["organization"])
        name = f"{wanted['organization']}/{wanted['name']}"
        if name in hub.repos:
            return web.json_response({"url": f"{hub.url}/{name}", "error": "You already created it"}, status=409)
        hub.repos[name] = Repo([], private=wanted.get("visibility") == "private")
        hub.repos[name].commit({".gitattributes": b"*.npy filter=lfs\n"})
        return web.json_response({"url": f"{hub.url}/{name}", "name": name})

    return create


async def _validate(request: web.Request) -> web.Response:
    """Front matter as the Hub wants it: YAML, with a license."""
    content = (await request.json())["content"]
    parts = content.split("---\n", 2)
    try:
        table = yaml.safe_load(parts[1]) if len(parts) == 3 else None
    except yaml.YAMLError:
        table = "broken"
    if table is not None and not (isinstance(table, dict) and isinstance(table.get("license", ""), str)):
        return web.json_response({"errors": [{"message": "YAML is not as it should be"}], "warnings": []}, status=400)
    warnings = [] if table else [{"message": "empty or missing yaml metadata in repo card"}]
    return web.json_response({"errors": [], "warnings": warnings})


def _info(hub: Hub) -> Handler:
    async def info(request: web.Request) -> web.Response:
        repo = _may_read(hub, request)
        current = repo.at(request.match_info.get("revision", "main"))
        if current is None:
            return refused(404, "RevisionNotFound", "Invalid rev id")
        name = "{owner}/{name}".format(**request.match_info)
        siblings = [{"rfilename": path} for path in current[1]]
        return web.json_response({"id": name, "sha": current[0], "private": repo.private, "siblings": siblings})

    return info


def _git_blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _preupload(hub: Hub) -> Handler:
    async def preupload(request: web.Request) -> web.Response:
        _may_write(request, request.match_info["owner"])
        there = _may_read(hub, request).files
        files = []
        for entry in (await request.json())["files"]:
            path, content = entry["path"], there.get(entry["path"])
            large = path.endswith(LARGE)
            oid = None if content is None else hashlib.sha256(content).hexdigest() if large else _git_blob(content)
            mode = "lfs" if large else "regular"
            files.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return web.json_response({"files": files})

    return preupload


def _batch(hub: Hub) -> Handler:
    async def batch(request: web.Request) -> web.Response:
        _may_write(request, request.match_info["owner"])
        wanted = await request.json()
        assert (wanted["operation"], wanted["hash_algo"]) == ("upload", "sha256")
        assert "basic" in wanted["transfers"]
        objects = []
        for entry in wanted["objects"]:
            actions = {"upload": {"href": f"{hub.cdn}/store/{entry['oid']}"}, "verify": {"href": f"{hub.url}/stored"}}
            new = entry["oid"] not in hub.objects
            objects.append({"oid": entry["oid"], "size": entry["size"], **({"actions": actions} if new else {})})
        return web.json_response({"transfer": "basic", "objects": objects})

    return batch


def _store(hub: Hub) -> Handler:
    async def store(request: web.Request) -> web.Response:
        content = await request.read()
        oid = request.match_info["oid"]
        assert hashlib.sha256(content).hexdigest() == oid
        hub.objects[oid] = content
        return web.Response()

    return store


def _stored(hub: Hub) -> Handler:
    async def stored(request: web.Request) -> web.Response:
        entry = await request.json()
        stored = hub.objects.get(entry["oid"])
        return web.Response() if stored is not None and len(stored) == entry["size"] else refused(404)

    return stored


def _commit(hub: Hub) -> Handler:
    async def commit(request: web.Request) -> web.Response:
        _may_write(request, request.match_info["owner"])
        repo = _may_read(hub, request)
        head, *operations = [json.loads(line) for line in (await request.read()).splitlines()]
        assert head["key"] == "header"
        assert head["value"]["summary"]
        files = dict(repo.files)
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "lfsFile":
                files[value["path"]] = hub.objects[value["oid"]]
            else:
                assert (operation["key"], value["encoding"]) == ("file", "base64")
                files[value["path"]] = base64.b64decode(value["content"])
        oid = repo.commit(files)
        name = "{owner}/{name}".format(**request.match_info)
        return web.json_response({"success": True, "commitOid": oid, "commitUrl": f"{hub.url}/{name}/commit/{oid}"})

    return commit


def _resolve(hub: Hub) -> Handler:
    async def resolve(request: web.Request) -> web.Response:
        repo = _may_read(hub, request)
        if repo.gated:
            return refused(403, "GatedRepo", "Access to this model is restricted")
        current = repo.at(request.match_info["revision"])
        if current is None:
            return refused(404, "RevisionNotFound", "Invalid rev id")
        sha, files = current
        headers = {"X-Repo-Commit": sha}
        content = files.get(request.match_info["path"])
        if content is None:
            return web.Response(status=404, headers={"X-Error-Code": "EntryNotFound", **headers})
        if not request.match_info["path"].endswith(LARGE):
            return web.Response(body=content, headers={"ETag": f'"{_git_blob(content)}"', **headers})
        oid = hashlib.sha256(content).hexdigest()
        hub.objects[oid] = content
        linked = {"X-Linked-Etag": f'"{oid}"', "X-Linked-Size": str(len(content))}
        return web.Response(status=302, headers={"Location": f"{hub.cdn}/cdn/{oid}", **linked, **headers})

    return resolve


def _cdn(hub: Hub) -> Handler:
    async def cdn(request: web.Request) -> web.Response:
        return web.Response(body=hub.objects[request.match_info["oid"]])

    return cdn

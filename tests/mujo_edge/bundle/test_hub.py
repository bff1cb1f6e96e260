"""Publishing: huggingface_hub's client against a local stand-in of the Hub, with no other traffic."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from generated_motion import ROOT
from hub_stand_in import Hub, Repo, cut, refused, running_hub

from mujo_edge.bundle import ModelBundle
from mujo_edge.bundle.hub import pull, push
from mujo_edge.bundle.manifest import read_manifest, write_manifest
from mujo_edge.bundle.store import find_bundle
from mujo_edge.core import MissingExtraError


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    async with running_hub() as hub:
        yield hub
        assert hub.strange == []
        assert all("Authorization" not in request.headers for request in hub.seen if request.host.startswith("local"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped bundle with only its .tflite files, which are quick to check."""
    folder = Path(shutil.copytree(find_bundle(), tmp_path_factory.mktemp("bundles") / "wrist"))
    for path in (*folder.glob("*.pte"), *folder.glob("*.onnx")):
        path.unlink()
    return rewritten(folder)


def rewritten(folder: Path, **changes: object) -> Path:
    """Give the bundle in a folder a manifest that fits its files."""
    table = json.loads((folder / "bundle.json").read_text("utf-8")) | changes
    for key in ("models", "lowered"):
        table[key] = [model for model in table[key] if (folder / model["file"]).exists()]
    for key in ("schema_version", "sha256", "files"):
        table.pop(key)
    write_manifest(folder, table)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def run(
    hub: Hub, folder: Path, *arguments: object, token: str | None = "hf_anna", **more: str
) -> subprocess.CompletedProcess[str]:
    """`mujo-edge models ...` in a folder and a process of its own, as a user of whom the Hub knows the token."""
    variables = {name: value for name, value in os.environ.items() if "proxy" not in name.lower() and name[:3] != "HF_"}
    environment = {
        **variables,
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "100",
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(folder.parent / "hf-home"),
        "XDG_DATA_HOME": str(folder.parent / "data"),
        "HTTP_PROXY": hub.proxy,
        "HTTPS_PROXY": hub.proxy,
        "NO_PROXY": "127.0.0.1,localhost",
        **({"HF_TOKEN": token} if token else {}),
        **more,
    }
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "mujo_edge", "models", *map(str, arguments)]
    done = await asyncio.to_thread(
        subprocess.run,
        command,
        cwd=folder,
        env={name: value for name, value in environment.items() if value},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if more.get("HF_ENDPOINT") is None:
        assert hub.outside == []
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2, done.stderr
    return done


async def test_pull_returns_the_pushed_bundle(hub: Hub, bundle: Path, tmp_path: Path) -> None:
    done = await run(hub, tmp_path / "a", "push", bundle, "anna/student")
    assert (done.returncode, done.stderr) == (0, "")
    files = contents(bundle)
    repo = hub.repos["anna/student"]
    assert done.stdout.startswith(f"made {hub.url}/anna/student: mujo-student ")
    assert f"{len(files) + 1} files" in done.stdout
    assert repo.commits[-1][0][:12] in done.stdout
    assert len(repo.commits) == 2
    assert repo.files == {**files, "README.md": files["MODEL_CARD.md"], ".gitattributes": b"*.npy filter=lfs\n"}
    assert not repo.private

    done = await run(hub, tmp_path / "b", "pull", "anna/student", "--out", ".", token=None)
    assert (done.returncode, done.stderr) == (0, "")
    assert "in student; use it with --bundle student" in done.stdout
    assert contents(tmp_path / "b") == {f"student/{name}": content for name, content in files.items()}
    x = np.zeros((1, 6, 150), np.float32)
    assert ModelBundle.load(tmp_path / "b" / "student").embed(x).shape == (1, 96)
    show = await run(hub, tmp_path / "b", "show", "student")
    assert show.stdout.startswith("mujo-student")


async def test_pulled_bundle_is_stored_and_found_by_name(
    hub: Hub, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repos["anna/wrist"] = Repo([("1" * 40, contents(bundle))])
    missing = await run(hub, tmp_path / "a", "show", "anna/wrist")
    assert missing.returncode == 2
    assert "mujo-edge models pull anna/wrist may get it" in missing.stderr
    done = await run(hub, tmp_path / "a", "pull", "anna/wrist")
    assert (done.returncode, done.stderr) == (0, "")
    assert "use it with --bundle anna/wrist" in done.stdout
    folder = tmp_path / "data" / "mujo-edge" / "bundles" / "anna" / "wrist"
    assert contents(folder) == contents(bundle)
    assert list((tmp_path / "a").iterdir()) == []
    listed = await run(hub, tmp_path / "a", "list", "--json")
    assert {entry["bundle"]: entry["folder"] for entry in json.loads(listed.stdout)}["anna/wrist"] == str(folder)
    assert "anna/wrist " in (await run(hub, tmp_path / "a", "list")).stdout
    assert (await run(hub, tmp_path / "a", "show", "anna/wrist")).returncode == 0
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert ModelBundle.load("anna/wrist").manifest.folder == folder


async def test_client_sends_only_its_name_as_user_agent(hub: Hub, bundle: Path, tmp_path: Path) -> None:
    done = await run(hub, tmp_path / "a", "push", bundle, "anna/wrist")
    assert done.returncode == 0, done.stderr
    done = await run(hub, tmp_path / "b", "pull", "anna/wrist", "--out", ".")
    assert done.returncode == 0, done.stderr
    agents = {request.headers["User-Agent"] for request in hub.seen if request.path.startswith("/api/")}
    assert len(agents) == 1
    (agent,) = agents
    assert agent.startswith("mujo-edge/")
    assert "torch" not in agent
    assert not any("agent-harnesses" in path or "telemetry" in path for path in hub.paths())


async def test_unchanged_push_makes_no_commit_and_a_new_version_one(hub: Hub, bundle: Path, tmp_path: Path) -> None:
    await run(hub, tmp_path / "a", "push", bundle, "anna/wrist")
    again = await run(hub, tmp_path / "a", "push", bundle, "anna/wrist")
    assert (again.returncode, again.stderr) == (0, "")
    assert "has this already" in again.stdout
    repo = hub.repos["anna/wrist"]
    assert len(repo.commits) == 2
    newer = rewritten(Path(shutil.copytree(bundle, tmp_path / "newer")), version="9.0.0")
    renewed = await run(hub, tmp_path / "a", "push", newer, "anna/wrist")
    assert renewed.stdout.startswith("renewed ")
    assert len(repo.commits) == 3

    first = await run(hub, tmp_path / "b", "pull", "anna/wrist", "--revision", repo.commits[1][0], "--out", "sub/dir")
    assert (first.returncode, first.stderr) == (0, "")
    folder = tmp_path / "b" / "sub" / "dir" / "wrist"
    assert contents(folder) == contents(bundle)
    newest = await run(hub, tmp_path / "b", "pull", "anna/wrist", "--out", "sub/dir")
    assert newest.returncode == 0
    assert read_manifest(folder).version == "9.0.0"
    assert [path.name for path in folder.parent.iterdir()] == ["wrist"]


async def test_private_repository_stays_private(hub: Hub, bundle: Path, tmp_path: Path) -> None:
    assert (await run(hub, tmp_path / "a", "push", bundle, "anna/mine", "--private")).returncode == 0
    assert hub.repos["anna/mine"].private
    for token in (None, "hf_bert"):
        done = await run(hub, tmp_path / "b", "pull", "anna/mine", "--out", ".", token=token)
        assert done.returncode == 2
        assert "hf auth login" in done.stderr
    assert (await run(hub, tmp_path / "b", "pull", "anna/mine", "--out", ".", token="hf_anna_reads")).returncode == 0


async def test_card_without_front_matter_gives_a_note(hub: Hub, bundle: Path, tmp_path: Path) -> None:
    plain = Path(shutil.copytree(bundle, tmp_path / "plain"))
    (plain / "MODEL_CARD.md").write_text("# Wrist\n")
    done = await run(hub, tmp_path / "a", "push", rewritten(plain), "anna/wrist")
    assert (done.returncode, done.stderr) == (0, "")
    assert "the Hub says: " in done.stdout
    assert "empty or missing yaml metadata" in done.stdout
    (plain / "MODEL_CARD.md").write_text("---\n- a list\n---\n# Wrist\n")
    done = await run(hub, tmp_path / "a", "push", rewritten(plain), "anna/wrist")
    assert done.returncode == 4
    assert "YAML is not as it should be" in done.stderr
    assert len(hub.repos["anna/wrist"].commits) == 2


async def test_damaged_bundle_is_not_pushed(hub: Hub, bundle: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(bundle, tmp_path / "damaged"))
    (damaged / "reference.npz").write_bytes(b"nothing")
    done = await run(hub, tmp_path / "a", "push", damaged, "anna/wrist")
    assert done.returncode == 4
    assert "reference.npz was changed or damaged" in done.stderr
    assert hub.seen == []


@pytest.mark.parametrize(
    ("repo", "token", "code", "says"),
    [
        ("anna/new", None, 2, "hf auth login"),
        ("anna/new", "hf_forgotten", 2, "Invalid credentials"),
        ("anna/new", "hf_anna_reads", 2, "token that has the right"),
        ("anna/wrist", "hf_bert", 2, "token that has the right"),
        ("wrist", "hf_anna", 2, "give OWNER/NAME"),
        ("anna/..", "hf_anna", 2, "give OWNER/NAME"),
        ("a b/c", "hf_anna", 2, "give OWNER/NAME"),
    ],
)
async def test_forbidden_push_is_an_error(
    hub: Hub, bundle: Path, tmp_path: Path, repo: str, token: str | None, code: int, says: str
) -> None:
    hub.repos["anna/wrist"] = Repo([("0" * 40, {})])
    done = await run(hub, tmp_path / "a", "push", bundle, repo, token=token)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr
    assert list(hub.repos) == ["anna/wrist"]
    assert len(hub.repos["anna/wrist"].commits) == 1


async def test_broken_push_leaves_the_old_version(hub: Hub, bundle: Path, tmp_path: Path) -> None:
    async def fault(request: web.Request) -> web.StreamResponse | None:
        return await cut(request) if "/commit/" in request.path else None

    hub.fault = fault
    done = await run(hub, tmp_path / "a", "push", bundle, "anna/wrist")
    assert done.returncode == 3
    assert "went away" in done.stderr
    assert list(hub.repos["anna/wrist"].files) == [".gitattributes"]
    hub.fault = None
    assert (await run(hub, tmp_path / "a", "push", bundle, "anna/wrist")).returncode == 0


@pytest.mark.parametrize("command", ["push", "pull"])
@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "cannot be reached"),
        ({"HF_ENDPOINT": "", "HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"),
        ({"HF_ENDPOINT": "", "NO_PROXY": ""}, "https://huggingface.co cannot be reached"),
    ],
)
async def test_no_network_is_an_error(
    hub: Hub, bundle: Path, tmp_path: Path, command: str, environment: dict[str, str], says: str
) -> None:
    """The last case requests the real Hub's host through a proxy that blocks everything."""
    what = ("push", bundle, "anna/wrist") if command == "push" else ("pull", "anna/wrist", "--out", ".")
    done = await run(hub, tmp_path / "a", *what, **environment)
    assert (done.returncode, done.stdout) == (3, "")
    assert says in done.stderr
    assert list((tmp_path / "a").iterdir()) == []
    assert all(line.startswith("CONNECT huggingface.co:443") for line in hub.outside)
    assert bool(hub.outside) == ("NO_PROXY" in environment)


@pytest.mark.parametrize(
    ("answer", "code", "says"),
    [
        (lambda: refused(503, message="under maintenance"), 3, "answers 503"),
        (lambda: refused(429, message="slow down"), 3, "answers 429"),
        (lambda: web.Response(text="<html>Welcome to the hotel</html>", content_type="text/html"), 3, "as a model hub"),
        (lambda: web.json_response([1, 2]), 3, "as a model hub"),
        (lambda: refused(404, "RepoNotFound", "Repository not found"), 2, "check the name"),
    ],
)
async def test_unexpected_responses_are_errors(hub: Hub, tmp_path: Path, answer: Any, code: int, says: str) -> None:
    async def fault(request: web.Request) -> web.StreamResponse | None:
        return answer()

    hub.fault = fault
    done = await run(hub, tmp_path / "a", "pull", "anna/wrist", "--out", ".")
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr
    assert list((tmp_path / "a").iterdir()) == []


async def test_pulling_a_missing_bundle_is_an_error(hub: Hub, bundle: Path, tmp_path: Path) -> None:
    files = contents(bundle)
    hub.repos["anna/wrist"] = Repo([("1" * 40, files)])
    hub.repos["anna/gated"] = Repo([("2" * 40, files)], gated=True)
    hub.repos["anna/other"] = Repo([("3" * 40, {"README.md": b"# Something else"})])
    partly = {name: content for name, content in files.items() if name != "reference.npz"}
    hub.repos["anna/partly"] = Repo([("4" * 40, partly)])
    for arguments, code, says in (
        (("anna/wrist", "--revision", "v9"), 2, "no such revision"),
        (("anna/gated",), 2, "Request access at"),
        (("anna/nothing",), 2, "check the name"),
        (("anna/other",), 4, "it has no bundle.json"),
        (("anna/partly",), 4, "it has no reference.npz"),
    ):
        done = await run(hub, tmp_path / "a", "pull", *arguments, "--out", ".")
        assert (done.returncode, done.stdout) == (code, "")
        assert says in done.stderr
        assert list((tmp_path / "a").iterdir()) == []


async def test_invalid_bundle_is_not_stored(hub: Hub, bundle: Path, tmp_path: Path) -> None:
    sound = contents(bundle)

    def damaged(name: str, content: bytes) -> Repo:
        return Repo([("5" * 40, {**sound, name: content})])

    def manifest(old: str, new: str) -> bytes:
        """A changed bundle.json with a matching digest."""
        from mujo_edge.bundle.manifest import NO_DIGEST, text_digest

        text = sound["bundle.json"].decode()
        digest = json.loads(text)["sha256"]
        text = text.replace(digest, NO_DIGEST).replace(old, new, 1)
        return text.replace(NO_DIGEST, text_digest(text, NO_DIGEST)).encode()

    other = Path(shutil.copytree(bundle, tmp_path / "other"))
    with np.load(other / "reference.npz") as arrays:
        np.savez(other / "reference.npz", **{**arrays, "y": np.roll(arrays["y"], 1, axis=0)})

    flipped = bytearray(sound["student_fp32.tflite"])
    flipped[5000] ^= 1
    evil = manifest('"MODEL_CARD.md": "', '"../../evil.txt": "')
    for repo, says in (
        (
            damaged("student_fp32.tflite", bytes(flipped)),
            "anna/wrist is not taken: student_fp32.tflite was changed or damaged",
        ),
        (
            damaged("bundle.json", sound["bundle.json"].replace(b'"name": "', b'"name": "x', 1)),
            "was changed after it was written",
        ),
        (damaged("bundle.json", manifest('"schema_version": 1', '"schema_version": 2')), "pip install -U mujo-edge"),
        (damaged("bundle.json", evil), "does not name the files of a bundle"),
        (damaged("bundle.json", b"[" * 100_000), "cannot be read as a bundle manifest"),
        (Repo([("6" * 40, contents(rewritten(other)))]), "does not give the reference outputs"),
    ):
        hub.repos["anna/wrist"] = repo
        done = await run(hub, tmp_path / "a", "pull", "anna/wrist", "--out", ".")
        assert (done.returncode, done.stdout) == (4, "")
        assert says in done.stderr
        assert f"{tmp_path}" not in done.stderr
        assert done.stderr.startswith("mujo-edge: anna/wrist is not taken: ")
        assert list((tmp_path / "a").iterdir()) == []
    assert not list(tmp_path.rglob("evil.txt"))


async def test_damaged_pull_keeps_the_older_one(hub: Hub, bundle: Path, tmp_path: Path) -> None:
    hub.repos["anna/wrist"] = repo = Repo([("7" * 40, contents(bundle))])
    assert (await run(hub, tmp_path / "a", "pull", "anna/wrist", "--out", ".")).returncode == 0
    repo.commit({**contents(bundle), "reference.npz": b"nothing"})
    assert (await run(hub, tmp_path / "a", "pull", "anna/wrist", "--out", ".")).returncode == 4
    assert contents(tmp_path / "a" / "wrist") == contents(bundle)


async def test_full_disk_is_an_error_and_leaves_nothing(hub: Hub, bundle: Path, tmp_path: Path) -> None:
    """The process may write at most 64 KB to a file, less than the size of a model."""
    hub.repos["anna/wrist"] = Repo([("a" * 40, contents(bundle))])
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(limit)
    done = await run(hub, tmp_path / "a", "pull", "anna/wrist", "--out", ".", PYTHONPATH=f"{tmp_path / 'site'}:{ROOT}")
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot be written here: File too large" in done.stderr
    assert list((tmp_path / "a").iterdir()) == []


async def test_other_content_under_the_name_stays(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "a" / "wrist").mkdir(parents=True)
    (tmp_path / "a" / "wrist" / "diary.txt").write_text("mine")
    (tmp_path / "a" / "file").write_text("mine")
    for out in (".", "file"):
        done = await run(hub, tmp_path / "a", "pull", "anna/wrist", "--out", out)
        assert done.returncode == 2
        assert "choose another folder" in done.stderr or "cannot be written" in done.stderr
    assert contents(tmp_path / "a") == {"wrist/diary.txt": b"mine", "file": b"mine"}
    assert hub.seen == []


async def test_interrupted_transfer_is_retried(hub: Hub, bundle: Path, tmp_path: Path) -> None:
    hub.repos["anna/wrist"] = Repo([("8" * 40, contents(bundle))])
    broken: list[str] = []

    async def fault(request: web.Request) -> web.StreamResponse | None:
        if broken or request.method != "GET" or "/cdn/" not in request.path:
            return None
        broken.append(request.path)
        content = hub.objects[request.match_info["oid"]]
        answer = web.StreamResponse(headers={"Content-Length": str(len(content))})
        await answer.prepare(request)
        await answer.write(content[: len(content) // 2])
        await asyncio.sleep(0.1)
        return await cut(request)

    hub.fault = fault
    done = await run(hub, tmp_path / "a", "pull", "anna/wrist", "--out", ".")
    assert (done.returncode, done.stderr) == (0, "")
    assert contents(tmp_path / "a" / "wrist") == contents(bundle)
    assert len([request for request in hub.seen if request.path == broken[0]]) == 2


async def test_repeatedly_interrupted_transfer_leaves_nothing(hub: Hub, bundle: Path, tmp_path: Path) -> None:
    hub.repos["anna/wrist"] = Repo([("9" * 40, contents(bundle))])

    async def fault(request: web.Request) -> web.StreamResponse | None:
        return await cut(request) if "/cdn/" in request.path else None

    hub.fault = fault
    done = await run(hub, tmp_path / "a", "pull", "anna/wrist", "--out", ".")
    assert (done.returncode, done.stdout) == (3, "")
    assert "went away" in done.stderr
    assert list((tmp_path / "a").iterdir()) == []


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for call in (lambda: push(None, "anna/wrist"), lambda: pull("anna/wrist", tmp_path)):
        with pytest.raises(MissingExtraError, match=r"pip install .*\[hub\]'"):
            call()
    assert list(tmp_path.iterdir()) == []


def test_help_works_without_the_package() -> None:
    code = "import sys, mujo_edge.cli; assert not {'huggingface_hub', 'httpx2', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)

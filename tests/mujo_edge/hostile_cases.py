"""Hostile bundles, label sets, sessions and answers of a model hub, each given to the command line in this process.

    python tests/mujo_edge/hostile_cases.py KIND SEED COUNT FOLDER [FIRST]

Each case ends with one of our exit codes within 10 s, writes nothing outside its folder and no control character to the
terminal; the process stays below 512 MB. The first one that does not is printed as JSON, with what makes it again.
Bytes of model files are cut or replaced, not flipped: a native runtime that crashes is not ours to catch.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import os
import random
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hostile_text import HIDDEN, VISIBLE, table_of

from mujo_edge.bundle.manifest import NO_DIGEST, text_digest
from mujo_edge.bundle.store import find_bundle
from mujo_edge.printable import HIDDEN as HIDDEN_CHARACTER
from mujo_edge.sources.replay import shipped_recording

MAX_S, MAX_WALL_S, MAX_MB = 10, 60, 512
"""Limits of a case: processor time, time (which a busy machine stretches), memory."""

OURS = (0, 2, 3, 4, 5)

NUMBERS = [
    0,
    -1,
    1,
    2,
    0.5,
    -0.0,
    1e-320,
    1e308,
    2**31,
    2**63,
    10**30,
    10**400,
    float("nan"),
    float("inf"),
    -1e999,
    7.25,
]
TEXTS = [*VISIBLE.values(), *HIDDEN.values(), "", " ", "x" * 300, "x" * 100_000, "../../evil", "/etc/passwd", "unknown"]
DEEP = "deep"
"""Stands for a list in a list in a list ..., in `dumped`."""

OTHERS = [None, True, False, [], {}, [[]], {"a": {}}, [1, "x", None], {"": 0}]


def values(rng: random.Random) -> Any:
    """A value that hardly any field expects."""
    pool = rng.choice([NUMBERS, NUMBERS, TEXTS, OTHERS])
    value = copy.deepcopy(rng.choice(pool))
    if rng.random() < 0.05:
        return DEEP
    return [value] * rng.choice([2, 7, 300]) if rng.random() < 0.05 else value


def place(rng: random.Random, tree: Any) -> tuple[Any, Any]:
    """A random (table or list, key or index) of a JSON tree that is not empty."""
    while True:
        key = rng.choice(list(tree)) if isinstance(tree, dict) else rng.randrange(len(tree))
        if not (isinstance(tree[key], dict | list) and tree[key]) or rng.random() < 0.3:
            return tree, key
        tree = tree[key]


def changed(rng: random.Random, tree: Any) -> Any:
    """A copy of a JSON tree with one to three values, names or parts changed."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        if not (isinstance(tree, dict | list) and tree):
            return values(rng)
        node, key = place(rng, tree)
        match rng.randrange(8):
            case 0 if isinstance(node, dict):
                del node[key]
            case 1 if isinstance(node, dict):
                node[rng.choice(TEXTS)[:400]] = node.pop(key)
            case 2:
                other, its = place(rng, tree)
                node[key] = copy.deepcopy(other[its])
            case 3 if isinstance(node[key], list):
                node[key] = node[key] * rng.choice([0, 2, 50])
            case _:
                node[key] = values(rng)
    return values(rng) if rng.random() < 0.01 else tree


def dumped(tree: Any) -> str:
    """JSON, as far as Python's may be: with NaN, Infinity and lone surrogates."""
    return json.dumps(tree).replace(f'"{DEEP}"', "[" * 20_000 + "]" * 20_000)


def signed(table: dict[str, Any]) -> str:
    """A bundle.json with the digest that goes with it."""
    text = dumped({"schema_version": 1, "sha256": NO_DIGEST, **table})
    return text.replace(NO_DIGEST, text_digest(text, NO_DIGEST), 1)


def hashes(folder: Path) -> dict[str, str]:
    """ "files" of a bundle.json."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "bundle.json")
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def npy(rng: random.Random) -> bytes:
    """A .npy file whose header says something else than its content."""
    shape = rng.choice(
        ["(5, 64)", "(1000000000000,)", "(4294967296, 4294967296)", "(-1, 64)", "()", "(0, 64)", "(1,) * 9"]
    )
    dtype = rng.choice(["<f4", "<f8", "|O", "<U0", "<U1000000", "|V8", "<c16", ">f4", "<M8[s]", "[('a', '<f4')]"])
    header = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + rng.randbytes(rng.choice([0, 8, 1280]))


def npz(rng: random.Random) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(
        packed, "w", rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
    ) as archive:
        for name in rng.choice([("x", "y", "member"), ("prototypes", "weight", "bias"), ("../x",), ()]):
            archive.writestr(f"{name}.npy", npy(rng) + bytes(rng.choice([0, 100, 30_000_000])))
    return packed.getvalue()


def damage(rng: random.Random, path: Path) -> None:
    """Another content for a file."""
    good = path.read_bytes()
    match rng.randrange(7):
        case 0:
            path.write_bytes(b"")
        case 1:
            path.write_bytes(good[: rng.randrange(len(good) + 1)])
        case 2:
            path.write_bytes(rng.randbytes(rng.choice([1, 100, 100_000])))
        case 3:
            path.write_bytes(npy(rng))
        case 4:
            path.write_bytes(npz(rng))
        case 5:
            path.write_text(dumped(values(rng)))
        case 6 if path.suffix in (".npy", ".npz", ".json", ".md", ".csv", ".ndjson"):
            bad = bytearray(good)
            for _ in range(rng.choice([1, 1, 20])):
                bad[rng.randrange(len(bad))] = rng.randrange(256)
            path.write_bytes(bytes(bad))


def replace_special(rng: random.Random, path: Path) -> None:
    """A FIFO, a device, a folder, a loop, something huge, or nothing in place of a file."""
    path.unlink()
    match rng.randrange(6):
        case 0:
            os.mkfifo(path)
        case 1:
            path.symlink_to(rng.choice(["/dev/zero", "/dev/stdin", "/proc/self/mem", "/etc", "nowhere"]))
        case 2:
            path.mkdir()
        case 3:
            path.symlink_to(path.name)
        case 4:
            with path.open("wb") as file:
                file.truncate(1 << rng.choice([27, 35, 42]))


BUNDLE, RECORDING = find_bundle(), shipped_recording()
TABLE = {
    key: [model for model in value if model["file"].endswith(".tflite")] if key in ("models", "lowered") else value
    for key, value in table_of(BUNDLE).items()
}
FILES = [path for path in BUNDLE.rglob("*") if path.is_file() and path.suffix not in (".pte", ".onnx")]


def whole_bundle(folder: Path) -> None:
    """The shipped bundle with its .tflite files alone, unsigned."""
    for path in FILES:
        target = folder / path.relative_to(BUNDLE)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def short_recording(folder: Path, rows: int = 400) -> Path:
    """The first seconds of the shipped recording."""
    folder.mkdir(parents=True)
    lines = (RECORDING / "samples.csv").read_text("utf-8").splitlines(keepends=True)[: rows + 1]
    (folder / "samples.csv").write_text("".join(lines), "utf-8")
    table = json.loads((RECORDING / "session.json").read_text("utf-8")) | {"samples": rows}
    (folder / "session.json").write_text(json.dumps(table), "utf-8")
    return folder


def bundle_case(rng: random.Random, folder: Path) -> list[str]:
    """A command on a hostile bundle."""
    own = folder / "bundle"
    whole_bundle(own)
    what = rng.random()
    if what < 0.3:
        damage(rng, rng.choice([path for path in own.rglob("*") if path.is_file()]))
    table = changed(rng, TABLE) if what > 0.25 else TABLE
    files = hashes(own)
    if rng.random() < 0.1:
        files = changed(rng, files)
    whole = {"files": files, **table} if isinstance(table, dict) else table
    text = signed(whole) if isinstance(whole, dict) and rng.random() < 0.95 else dumped(whole)
    (own / "bundle.json").write_text(text, "utf-8")
    if rng.random() < 0.1:
        replace_special(rng, rng.choice([path for path in own.rglob("*") if path.is_file()]))
    play = ["--replay", str(short_recording(folder / "walk")), "--speed", "max", "--json", "--bundle", str(own)]
    return rng.choice(
        [
            ["models", "show", str(own)],
            ["models", "show", "--json", str(own)],
            ["models", "show", "--card", str(own)],
            ["models", "verify", str(own)],
            ["models", "verify", str(own)],
            ["models", "names", "--bundle", str(own)],
            ["stream", *play],
            ["stream", *play],
            ["export", "--target", rng.choice(["mcu", "android"]), "--out", str(folder / "out"), "--bundle", str(own)],
        ]
    )


def labels_case(rng: random.Random, folder: Path) -> list[str]:
    """A stream with a hostile file of a label set."""
    from mujo_edge.bundle.manifest import read_manifest

    path = folder / "own.json"
    read_manifest().label_sets["gym-wrist" if rng.random() < 0.5 else "physio-wrist"].save(path)
    if rng.random() < 0.9:
        path.write_text(dumped(changed(rng, json.loads(path.read_text("utf-8")))))
    if rng.random() < 0.1:
        damage(rng, path)
    if rng.random() < 0.05:
        replace_special(rng, path)
    speed = ["--speed", "max", *rng.choice([[], ["--json"]])]
    return ["stream", "--replay", str(short_recording(folder / "walk")), *speed, "--labels", str(path)]


def session_case(rng: random.Random, folder: Path) -> list[str]:
    """A hostile session folder, played."""
    own = short_recording(folder / "walk")
    opening = {
        "kind": "serial",
        "port": "x",
        "baud": 9600,
        "protocol": "csv",
        "columns": ["ax", "ay", "az"],
        "rate_hz": 50.0,
    }
    lines: list[Any] = [{"received_s": 0.0, "kind": "open", "origin": "", "text": json.dumps(opening)}]
    lines += [{"received_s": i / 50, "kind": "data", "origin": "", "text": f"0.1,{i},9.8\n"} for i in range(200)]
    again = rng.random() < 0.3
    if again:
        if rng.random() < 0.5:
            lines[0]["text"] = dumped(changed(rng, opening))
        lines = changed(rng, lines) if rng.random() < 0.8 else lines
        text = "\n".join(map(dumped, lines if isinstance(lines, list) else [lines])) + "\n"
        (own / "raw.ndjson").write_text(text, "utf-8")
    if rng.random() < 0.7:
        (own / "session.json").write_text(dumped(changed(rng, json.loads((own / "session.json").read_text("utf-8")))))
    if rng.random() < 0.4:
        damage(rng, rng.choice(list(own.iterdir())))
    if rng.random() < 0.1:
        replace_special(rng, rng.choice([path for path in own.iterdir() if path.is_file()]))
    options = [*(["--decode-again"] if again else []), *rng.choice([[], ["--json"]])]
    return ["stream", "--replay", str(own), "--speed", "max", *options]


HEADERS = (
    "Location", "X-Error-Code", "X-Error-Message", "X-Linked-Size", "X-Linked-Etag", "Content-Range", "Link",
    "Content-Encoding", "Content-Disposition",
)  # fmt: skip


def hub_case(rng: random.Random, folder: Path) -> list[str]:
    """A pull from a hub whose answers are hostile; some of them give a whole bundle."""
    import httpx2
    import huggingface_hub
    from huggingface_hub.utils import _http

    whole_bundle(folder / "hub")
    files = hashes(folder / "hub")
    odd_files = rng.random() < 0.3
    table = {**TABLE, "files": changed(rng, files) if odd_files else files}
    (folder / "hub" / "bundle.json").write_text(signed(table), "utf-8")
    if not odd_files and rng.random() < 0.5:
        damage(rng, rng.choice([path for path in (folder / "hub").rglob("*") if path.is_file()]))
    info = {"_id": "1", "id": "anna/wrist", "modelId": "anna/wrist", "sha": "b" * 40, "private": False, "tags": ["x"],
            "siblings": [{"rfilename": "bundle.json"}], "createdAt": "2026-01-01T00:00:00.000Z"}  # fmt: skip
    if rng.random() < 0.4:
        info = changed(rng, info)
    odd = rng.random() < 0.4
    headers = {"X-Repo-Commit": "b" * 40, "ETag": f'"{rng.randbytes(20).hex()}"'}

    def header(text: str) -> str:
        return "".join(char for char in text if char.isprintable() and char.isascii())[:2000]

    def answer(request: httpx2.Request) -> httpx2.Response:
        name = request.url.path.rpartition("/resolve/" + "b" * 40 + "/")[2]
        if odd and rng.random() < 0.3:
            status = rng.choice([200, 200, 204, 206, 301, 302, 307, 400, 401, 403, 404, 416, 418, 500])
            own = {rng.choice([*headers, *HEADERS]): header(rng.choice(TEXTS))}
            return httpx2.Response(status, headers=headers | own, content=rng.choice(TEXTS).encode("utf-8", "replace"))
        if "/api/" in request.url.path:
            return httpx2.Response(200, content=dumped(info).encode(), headers={"Content-Type": "application/json"})
        path = folder / "hub" / name
        if not path.is_file():
            return httpx2.Response(404, headers=headers | {"X-Error-Code": "EntryNotFound"})
        return httpx2.Response(200, headers=headers, content=path.read_bytes())

    _http.time = SimpleNamespace(sleep=lambda _: None, time=time.time, perf_counter=time.perf_counter)  # type: ignore[assignment]
    huggingface_hub.set_client_factory(
        lambda: httpx2.Client(transport=httpx2.MockTransport(answer), follow_redirects=True, max_redirects=5)
    )
    return ["models", "pull", "anna/wrist", *rng.choice([[], ["--out", "got"]])]


CASES: dict[str, Callable[[random.Random, Path], list[str]]] = {
    "bundle": bundle_case,
    "labels": labels_case,
    "session": session_case,
    "hub": hub_case,
}


class TooLongError(BaseException):
    """A case took too long."""


def too_long(*_: object) -> None:
    raise TooLongError


WRITTEN: list[str] = []
WATCHING = [False]


def watch(event: str, details: tuple[Any, ...]) -> None:
    """Note every file that is opened to be written, made, renamed or linked while a command runs."""
    if not WATCHING[0]:
        return
    if event == "open" and isinstance(details[0], str | bytes) and details[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        WRITTEN.append(os.fsdecode(details[0]))
    elif event in ("os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.chmod"):
        WRITTEN.append(os.fsdecode(details[0]) if not isinstance(details[0], int) else "")
    elif event in ("os.rename", "os.link", "os.symlink"):
        WRITTEN.extend(os.fsdecode(path) for path in details[:2] if isinstance(path, str | bytes))


CODES: Counter[int] = Counter()
"""Count of each exit code."""


def outcome(arguments: list[str], folder: Path) -> str:
    """Description of a faulty ending of a command; "" if it ended well."""
    from mujo_edge.cli import main

    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="") for _ in range(2))
    sys.argv, sys.stdout, sys.stderr = ["mujo-edge", *arguments], out, err
    code: object = 0
    fault = ""
    WRITTEN.clear()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    WATCHING[0] = True
    start_s = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, MAX_S)
    signal.alarm(MAX_WALL_S)
    try:
        main()
    except SystemExit as error:
        code = error.code or 0
    except TooLongError:
        fault = f"longer than {MAX_S} s of work or {MAX_WALL_S} s: {traceback.format_exc()[-2000:]}"
    except BaseException:
        fault = traceback.format_exc()[-3000:]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        WATCHING[0] = False
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    output = "".join(stream.detach().getvalue().decode("utf-8") for stream in (out, err) if not stream.flush())
    hidden = {match for line in output.split("\n") for match in HIDDEN_CHARACTER.findall(line)}
    outside = [path for path in WRITTEN if not inside(path, folder)]
    if fault:
        return fault
    if code not in OURS:
        return f"exit code {code!r}: {output[-1000:]}"
    CODES[int(str(code))] += 1
    if hidden:
        return f"control characters {sorted(map(ascii, hidden))} in {output[-1000:]!a}"
    if "Traceback" in output:
        return output[-3000:]
    if outside:
        return f"wrote outside its folder: {outside[:5]}"
    if time.process_time() - start_s > MAX_S:
        return f"took {time.process_time() - start_s:.0f} s"
    PEAK_MB[0] = max(PEAK_MB[0], peak := peak_mb())
    return f"memory peaked at {peak:.0f} MB" if peak > MAX_MB else ""


PEAK_MB = [0.0]


def peak_mb() -> float:
    """The most memory that this process had since the command began (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def inside(path: str, folder: Path) -> bool:
    full = os.path.realpath(path)
    return full.startswith((f"{folder}/", "/dev/null", "/dev/shm/")) or full == str(folder) or "__pycache__" in full


def main(kind: str, seed: int, count: int, root: Path, first: int) -> None:
    """Run cases; print the faulty one, or how many ended in which way."""
    root = Path(os.path.realpath(root))
    os.environ |= {"HOME": str(root), "HF_HOME": str(root / "hf"), "HF_ENDPOINT": "http://hub.test", "HF_TOKEN": ""}
    os.environ["PATH"] = str(root)  # no compiler, with which an export would measure sizes for many seconds
    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, too_long)
    sys.addaudithook(watch)
    for number in range(first, first + count):
        folder = root / str(number)
        folder.mkdir()
        os.chdir(folder)
        tempfile.tempdir = os.environ["XDG_DATA_HOME"] = str(folder)
        arguments = CASES[kind](random.Random(f"{kind} {seed} {number}"), folder)
        if fault := outcome(arguments, folder):
            print(json.dumps({"again": [kind, seed, 1, "FOLDER", number], "arguments": arguments, "fault": fault}))
            os._exit(1)
        os.chdir(root)
        shutil.rmtree(folder)
    print(json.dumps({"codes": CODES, "peak_mb": PEAK_MB[0]}))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    kind_, seed_, count_, folder_, *first_ = sys.argv[1:]
    main(kind_, int(seed_), int(count_), Path(folder_), int(first_[0]) if first_ else 0)

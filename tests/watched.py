"""A command under strace: its connections, name lookups and written files."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from pathlib import Path

import pytest
from generated_motion import ROOT

LONGEST_S = 600.0
CALLS = "%network,execve,?open,?creat,openat,?openat2,?rename,renameat2,?link,linkat,?symlink,symlinkat"
SENDS = re.compile(r"\b(connect|sendto|sendmsg|sendmmsg)\(")
ADDRESS = re.compile(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"')
DNS_PORT = re.compile(r"sin6?_port=htons\(53\)")
RESOLVER = re.compile(r'sun_path="[^"]*/(resolve/|nscd/)')
"""systemd-resolved and nscd look names up for the C library."""

WRITES = re.compile(r"\b(creat|rename|renameat2?|link|linkat|symlink|symlinkat)\(|O_(WRONLY|RDWR|CREAT)\b")
PATH = re.compile(r'(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Watched:
    """Result of a command, and of it and its children: programs started, system calls that reach another machine or
    look up a name, and files created or opened for writing."""

    returncode: int
    stdout: str
    stderr: str
    programs: list[str]
    calls: list[str]
    written: list[Path]

    def outside(self, *folders: Path) -> list[Path]:
        """Written files that are neither in `folders` nor devices nor in /proc."""
        allowed = (Path("/dev"), Path("/proc"), *folders)
        return [path for path in self.written if not any(path.is_relative_to(folder) for folder in allowed)]


def environment(home: Path) -> dict[str, str]:
    """Environment of a new user without `CI`, as some libraries send nothing where it is set."""
    (home / "tmp").mkdir(parents=True, exist_ok=True)
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "TMPDIR": str(home / "tmp"),
        "LANG": "C.UTF-8",
        "USER": "somebody",
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def watch(
    arguments: Sequence[str | Path], home: Path, more: Mapping[str, str] | None = None, refuse: bool = False
) -> Watched:
    """Run our Python with `arguments` in `home` and wait for it.

    Args:
        arguments: of Python.
        home: the user's home and working directory.
        more: environment variables besides those of `environment`.
        refuse: let no connection succeed, so that nothing that is tried happens.
    """
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    variables = environment(home) | dict(more or {})
    log = home.with_name(f"{home.name}.strace")
    command = ["strace", "-f", "-qq", "-y", "-s", "300", "--seccomp-bpf", "-e", f"trace={CALLS}", "-o", str(log)]
    if refuse:
        command += ["-e", "inject=connect,sendmmsg:error=ENETUNREACH"]  # asyncio wakes itself with the other sends
    command += [sys.executable, *map(str, arguments)]
    done = subprocess.run(
        command, cwd=home, env=variables, capture_output=True, text=True, check=False, timeout=LONGEST_S
    )
    lines = log.read_text(errors="replace").splitlines()
    if not any("execve(" in line for line in lines):
        pytest.skip(f"strace may not trace here: {done.stderr.strip()[-200:]}")
    return Watched(
        done.returncode,
        done.stdout,
        done.stderr,
        [line for line in lines if "execve(" in line],
        [line for line in lines if SENDS.search(line) and reaches_out(line)],
        [written_path(line, home) for line in lines if WRITES.search(line) and " = -1 E" not in line],
    )


def reaches_out(call: str) -> bool:
    """Whether a system call has to do with another machine, or with looking up its name; loopback is this one."""
    if DNS_PORT.search(call) or RESOLVER.search(call):
        return True
    for match in ADDRESS.findall(call):
        address = ip_address(match[0] or match[1])
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        if not address.is_loopback:
            return True
    return False


def written_path(call: str, folder: Path) -> Path:
    """The path that a system call makes or opens (of two, the new one), in strace's `-y` form."""
    base, name = PATH.findall(call)[-1]
    return Path(base or folder) / name

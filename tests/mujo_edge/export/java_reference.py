"""Helpers of the tests of the Java reference: compiler, JVM, and `Probe.java` for its internal values."""

import shutil
import subprocess
from pathlib import Path

import pytest

from mujo_edge.export import android

JAVA = pytest.mark.skipif(not shutil.which("javac"), reason="javac is not installed (apt install default-jdk-headless)")
SOURCES = Path(android.__file__).parent / "java" / "edge" / "mujo"


def compiled(sources: list[Path], out: Path, *path: Path) -> Path:
    """Compile as Java 8 without warnings, except that newer JDKs call 8 obsolete ("options")."""
    out.mkdir(exist_ok=True)
    options = ["-Xlint:all,-options", "-Werror", "--release", "8", "-cp", ":".join(map(str, path or [out])), "-d", out]
    done = subprocess.run(["javac", *options, *sources], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def with_probe(out: Path) -> str:
    """Class path of the package and of `Probe`, compiled."""
    package = compiled(sorted(SOURCES.glob("*.java")), out / "package")
    own = compiled([Path(__file__).with_name("Probe.java")], out / "probe", package)
    return f"{own}:{package}"


def java(name: str, *arguments: object, path: str) -> subprocess.CompletedProcess[str]:
    command = ["java", "-XX:TieredStopAtLevel=1", "-cp", path, name, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

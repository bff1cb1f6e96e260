"""A virtual machine with a Bluetooth kernel and bluetoothd, as on a desktop. This machine needs neither.

    python -m firmware_bridge.simulator vm "COMMAND"      runs a command in it, for example `ble --vhci` for wearables

The kernel is Debian's, unpacked and not installed. The machine's disk is this computer's, read-only with changes in
memory, so that the same Python environment runs inside. QEMU emulates the processor: machines that run tests are often
virtual themselves, where KVM is missing or does not work.
"""

from __future__ import annotations

import gzip
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import platformdirs
import typer

HERE = Path(__file__).parent
KERNEL = "linux-image-amd64"
BLUETOOTHD = "/usr/libexec/bluetooth/bluetoothd"
DEBIAN = {
    "qemu-system-x86_64": "qemu-system-x86",
    BLUETOOTHD: "bluez",
    "dbus-daemon": "dbus",
    "/bin/busybox": "busybox-static",
    "cpio": "cpio",
    "/sbin/modprobe": "kmod",
    "/sbin/depmod": "kmod",
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
}
"""Program -> its Debian package."""

MODULES = (
    *("virtio_pci", "9pnet_virtio", "9p", "overlay"),  # the disk
    *("ecdh_generic", "cmac", "algif_hash", "algif_skcipher", "uhid", "hci_vhci"),  # Bluetooth
)
CPU = "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+cx16"  # the least that numpy's wheels take
CACHE = platformdirs.user_cache_path("mujo-edge", appauthor=False) / "vm"
LIMIT_S = 300.0


def missing() -> list[str]:
    """Missing Debian packages that a machine needs."""
    packages = sorted({package for program, package in DEBIAN.items() if shutil.which(program) is None})
    return packages or ([] if _kernel_package() else [f"{KERNEL} (run apt-get update)"])


def build(folder: Path) -> None:
    """Download the kernel and build the initial file system, unless `folder` has them.

    Raises `FileNotFoundError` if a program is missing, `OSError` if a step fails.
    """
    if packages := missing():
        raise FileNotFoundError(
            f"The machine needs packages that are not installed.\nOn Debian: apt-get install {' '.join(packages)}"
        )
    package = _kernel_package()
    recipe = f"{package} {sha256((HERE / 'init').read_bytes() + repr(MODULES).encode()).hexdigest()}"
    built = folder / "built"
    if built.exists() and built.read_text() == recipe:
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        work = Path(name)
        _run("apt-get", "download", package, cwd=work)
        _run("dpkg-deb", "-x", *map(str, work.glob("linux-image-*.deb")), str(work))
        (release,) = (path.name for path in (work / "lib" / "modules").iterdir())
        _run("/sbin/depmod", "-b", str(work), release)
        (folder / "initrd.gz").write_bytes(_initrd(work, release))
        (work / "boot" / f"vmlinuz-{release}").replace(folder / "vmlinuz")
    built.write_text(recipe)


def boot(folder: Path, command: str, *, stdout: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run a shell command as root in a new machine, in this folder, with D-Bus and bluetoothd.

    Args:
        folder: the output of `build`. stdout: as for `subprocess.run`; the command's standard error goes there too.

    Raises `OSError`, with the end of the kernel's messages, if the machine does not end within `LIMIT_S`.
    """
    with tempfile.TemporaryDirectory(prefix="mujo-edge-") as name:
        script, console = Path(name) / "script", Path(name) / "console"
        script.write_text(f"cd {shlex.quote(str(Path.cwd()))}\nexport PYTHONDONTWRITEBYTECODE=1\n{command}\n")
        machine = [
            *("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", CPU),
            *("-smp", "2", "-m", "2048", "-display", "none", "-no-reboot", "-nodefaults"),
            *("-kernel", str(folder / "vmlinuz"), "-initrd", str(folder / "initrd.gz")),
            *("-append", f"console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off mujo_script={script}"),
            *("-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"),
            *("-device", "virtio-9p-pci,fsdev=host,mount_tag=host", "-device", "virtio-rng-pci"),
            *("-serial", f"file:{console}", "-serial", "stdio"),
        ]
        try:
            done = subprocess.run(machine, stdin=subprocess.DEVNULL, stdout=stdout, text=True, timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            raise OSError(f"The machine did not end within {LIMIT_S:g} s:\n{_end(console)}") from None
        ended = re.search(r"mujo_exit=(\d+)", console.read_text(errors="replace") if console.exists() else "")
        if ended is None:
            raise OSError(f"The machine did not run:\n{_end(console)}")
        return subprocess.CompletedProcess(command, int(ended[1]), done.stdout, _end(console))


def command(
    run: Annotated[str, typer.Argument(metavar="COMMAND", help="Command to run in the machine, in this folder.")],
    folder: Annotated[Path, typer.Option(help="Cache folder of the kernel; about 10 MB.")] = CACHE,
) -> None:
    """A virtual machine with a kernel's own Bluetooth and the real bluetoothd, while COMMAND runs in it."""
    build(folder)
    sys.exit(boot(folder, run).returncode)


def _kernel_package() -> str:
    """The current package of `KERNEL`, empty if apt knows none."""
    shown = subprocess.run(["apt-cache", "depends", KERNEL], capture_output=True, text=True).stdout
    match = re.search(r"Depends: (linux-image-\S+)", shown)
    return match[1] if match else ""


def _initrd(unpacked: Path, release: str) -> bytes:
    """The kernel's initial file system: busybox, the modules in order of dependency, `init`."""
    root = unpacked / "initrd"
    for name in ("bin", "modules", "proc", "sys", "dev", "host", "memory", "system"):
        (root / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin")
    shutil.copy(HERE / "init", root)
    (root / "init").chmod(0o755)
    files: dict[str, None] = {}
    for module in MODULES:
        listed = _run("/sbin/modprobe", "-d", str(unpacked), "-S", release, "--show-depends", module)
        files |= dict.fromkeys(line.split()[1] for line in listed.splitlines() if line.startswith("insmod"))
    for file in files:
        shutil.copy(file, root / "modules")
    (root / "modules" / "order").write_text("".join(f"{Path(file).name}\n" for file in files))
    names = "\0".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    packed = subprocess.run(["cpio", "-o0", "-H", "newc"], cwd=root, input=names.encode(), capture_output=True)
    if packed.returncode:
        raise OSError(f"cpio: {packed.stderr.decode()}")
    return gzip.compress(packed.stdout, 1)


def _run(*arguments: str, cwd: Path | None = None) -> str:
    done = subprocess.run(arguments, cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout


def _end(console: Path) -> str:
    """The end of the messages of the kernel and bluetoothd."""
    return console.read_text(errors="replace")[-2000:] if console.exists() else "QEMU did not start"

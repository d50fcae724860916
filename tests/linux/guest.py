"""A throwaway machine with a kernel of Debian's under QEMU's own processor: for what this host's kernel cannot show.

Its root is an initramfs of busybox, Debian's Python and the folders that it is given; its processor is emulated (TCG), so that it
runs wherever QEMU does.
"""

from __future__ import annotations

import glob
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

PYTHON = "/usr/bin/python3"
BUSYBOX = "/bin/busybox"
SBIN = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
QEMU = "qemu-system-x86_64"
KERNELS = "/var/lib/nbcontainers-guest/boot/vmlinuz-*"
_LEFT_OUT = {"test", "tests", "idlelib", "lib2to3", "ensurepip", "tkinter", "turtledemo", "distutils", "pydoc_data"}
_INIT = """\
#!/bin/busybox sh
export PATH=/bin PYTHONPATH=/guest HOME=/tmp PYTHONDONTWRITEBYTECODE=1
if [ -z "$MOVED" ]; then # the first root of all cannot be left by pivot_root(2)
    /bin/busybox mkdir -p /moved; /bin/busybox mount -o bind / /moved; cd /moved; /bin/busybox mount -o move . /
    MOVED=1 exec /bin/busybox chroot . /init
fi
/bin/busybox mkdir -p /proc /sys /tmp /dev /bin
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mount -t tmpfs tmp /tmp
mount -t cgroup2 cgroup /sys/fs/cgroup; mount -t securityfs securityfs /sys/kernel/security
ip link set lo up
cd /guest
{command}
echo "guest ended with $?"
poweroff -f
"""


def kernel() -> str:
    """The newest kernel that was put there, empty where there is none."""
    return max(glob.glob(KERNELS), default="")


def missing() -> str:
    """What is not there of what a guest needs, in words."""
    needed = {
        "qemu-system-x86": shutil.which(QEMU),
        "busybox-static": os.path.exists(BUSYBOX),
        "python3": os.path.exists(PYTHON),
        "apparmor": shutil.which("apparmor_parser", path=SBIN),
    }
    lacking = [name for name, there in needed.items() if not there]
    if not kernel():
        lacking.append(f"a kernel at {KERNELS} (see .ci/run)")
    return ", ".join(lacking)


def run(command: Iterable[str], folders: Mapping[str, Path], work: Path, *, timeout: float) -> tuple[int, str]:
    """Run a command in a guest that is made for it: (exit code, all that was written).

    ``folders`` are shown at their names below /guest. AssertionError where the guest does not get to its end.
    """
    archive = work / "initramfs"
    with archive.open("wb") as file:
        _write(file.fileno(), shlex.join(command), folders)
    words = [QEMU, "-machine", "q35", "-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", "1024", "-display", "none"]
    words += ["-nodefaults", "-no-reboot", "-serial", "stdio", "-kernel", kernel(), "-initrd", str(archive)]
    words += ["-append", "console=ttyS0 quiet panic=-1 rdinit=/init psi=1 mitigations=off random.trust_cpu=on"]
    done = subprocess.run(
        words, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, timeout=timeout, check=False
    )
    said, ended, code = done.stdout.replace("\r", "").rpartition("guest ended with ")
    assert ended, done.stdout[-4000:] + done.stderr
    return int(code.split()[0]), said


def _write(archive: int, command: str, folders: Mapping[str, Path]) -> None:
    entries = _Entries(archive)
    entries.add("init", 0o100755, _INIT.replace("{command}", command).encode())
    entries.file("bin/busybox", BUSYBOX)
    library = max(glob.glob("/usr/lib/python3.*"), key=len)
    version = os.path.basename(os.path.realpath(PYTHON))
    entries.file(f"usr/bin/{version}", os.path.realpath(PYTHON))
    entries.add("usr/bin/python3", 0o120777, version.encode())
    entries.tree(library.lstrip("/"), Path(library))
    programs = [PYTHON, *glob.glob(f"{library}/lib-dynload/*.so")]
    linked = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=True).stdout
    for word in sorted({word for line in linked.splitlines() for word in line.split() if word.startswith("/")}):
        if not word.endswith(":"):
            entries.file(word.lstrip("/"), os.path.realpath(word))
    for name, folder in folders.items():
        if folder.is_dir():
            entries.tree(f"guest/{name}", folder)
        else:
            entries.file(f"guest/{name}", str(folder))
    entries.add("TRAILER!!!", 0, b"")


class _Entries:
    """Entries of a cpio archive in the "newc" form. Source: Documentation/driver-api/early-userspace/buffer-format.rst."""

    def __init__(self, archive: int) -> None:
        self._archive = archive
        self._number = 0
        self._folders = {""}

    def add(self, name: str, mode: int, data: bytes, mtime: int = 0) -> None:
        above = os.path.dirname(name)
        if above not in self._folders:
            self.add(above, 0o040755, b"")
        if mode & 0o170000 == 0o040000:
            if name in self._folders:
                return
            self._folders.add(name)
        self._number += 1
        path = name.encode() + b"\0"
        numbers = (self._number, mode, 0, 0, 1, mtime, len(data), 0, 0, 0, 0, len(path), 0)
        head = b"070701" + b"".join(b"%08X" % number for number in numbers) + path
        for part in (head, data):
            os.write(self._archive, part + b"\0" * (-len(part) % 4))

    def file(self, name: str, path: str) -> None:
        status = os.stat(path)  # its time tells Python whether what was compiled is of it
        self.add(name, 0o100000 | status.st_mode & 0o777, Path(path).read_bytes(), int(status.st_mtime))

    def tree(self, name: str, top: Path) -> None:
        for folder, folders, files in os.walk(top):
            folders[:] = [word for word in folders if word not in _LEFT_OUT or folder != str(top)]
            inside = os.path.normpath(f"{name}/{os.path.relpath(folder, top)}")
            for word in sorted(files):
                path = os.path.join(folder, word)
                if os.path.isfile(path):
                    self.file(f"{inside}/{word}", path)

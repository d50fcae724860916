"""Where the store lies: the first folder that can hold one, and why it is that one.

A store needs locks that hold, owners and extended attributes, and an upper directory for overlays: network file systems lack the
first ones, and an overlay (the root of most pods) cannot be the upper directory of another.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import HostError

VARIABLE = "NBCONTAINERS_ROOT"
# With less free than the first any other folder is better, for few images fit. Who has no other, or names it, may have small ones;
# with less than the second there is no room for a store's own files and the smallest image, and it would break while it is made.
_FAIR_SPACE, _LEAST_SPACE = 64 << 20, 4 << 20
_NETWORK = frozenset(
    {
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "fuse.glusterfs",
        "fuse.sshfs",
        "gpfs",
        "lustre",
        "nfs",
        "nfs4",
        "smb3",
        "virtiofs",
    }
)
_NO_UPPER = frozenset({"aufs", "ecryptfs", "fuse.fuse-overlayfs", "overlay", "vfat"})

Probe = Callable[[Path], str]
"""Tries an overlay whose upper directory lies below a folder; says why it cannot be, or nothing if it can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The chosen folder and, in words, why; ``refused`` are the better ones with what is wrong with each.

    Where ``overlay`` is false, containers get copies of their images' files.
    """

    path: Path
    reason: str
    overlay: bool
    refused: tuple[tuple[Path, str], ...] = ()


def by_file_system(folder: Path) -> str:
    """The probe that asks no kernel: only an overlay is known not to hold the upper directory of another."""
    kind = file_system(folder)
    return f"it is on a file system of the type {kind}" if kind in _NO_UPPER else ""


def choose(environ: Mapping[str, str], *, probe: Probe = by_file_system) -> Choice:
    """Choose the store's folder: the one that $NBCONTAINERS_ROOT names, else the first that can hold overlays, else any.

    The chosen folder is there afterwards, is this user's and nobody else's to read.

    Raises:
        HostError: the named folder, or every one of the usual ones, cannot hold a store; the hint says why.

    """
    if named := environ.get(VARIABLE):
        root = Path(named).expanduser().absolute()
        if why := _flaw(root, _LEAST_SPACE):
            raise HostError(f"{VARIABLE} names {root}, which cannot hold a store: {why}", hint="name another folder")
        why = probe(root)
        return Choice(path=root, reason=_words(f"{VARIABLE} names it", why), overlay=not why)
    choice, refused = _among(environ, probe, _FAIR_SPACE)
    if choice is None:
        choice, refused = _among(environ, probe, _LEAST_SPACE)
    if choice is None:
        raise HostError(
            "no folder can hold the store: " + "; ".join(f"{root}: {why}" for root, why in refused),
            hint=f"name a folder on a local disk in {VARIABLE}",
        )
    return choice


def _among(environ: Mapping[str, str], probe: Probe, space: int) -> tuple[Choice | None, list[tuple[Path, str]]]:
    """(the first of the usual folders with so much room that can hold overlays, else the first, what is wrong with the others)."""
    refused: list[tuple[Path, str]] = []
    without_overlay: list[tuple[Path, str, str]] = []
    for root, reason in _candidates(environ):
        if why := _flaw(root, space):
            refused.append((root, why))
        elif why := probe(root):
            without_overlay.append((root, reason, why))
            refused.append((root, f"no overlay: {why}"))
        else:
            return Choice(path=root, reason=reason, overlay=True, refused=tuple(refused)), refused
    for root, reason, why in without_overlay:
        rest = tuple(entry for entry in refused if entry[0] != root)
        return Choice(path=root, reason=_words(reason, why), overlay=False, refused=rest), refused
    return None, refused


def _words(reason: str, why: str) -> str:
    return f"{reason}; containers get copies of files, for an overlay cannot be there: {why}" if why else reason


def _candidates(environ: Mapping[str, str]) -> Iterator[tuple[Path, str]]:
    uid = os.geteuid()
    if uid == 0:
        yield Path("/var/lib/nbcontainers"), "the system's folder for a store of root"
    elif environ.get("XDG_DATA_HOME") or environ.get("HOME"):
        import platformdirs

        yield Path(platformdirs.user_data_dir("nbcontainers", appauthor=False)), "the user's data folder"
    yield Path(f"/var/tmp/nbcontainers-{uid}"), "a folder for temporary files that outlives a restart"
    yield (
        Path(tempfile.gettempdir()) / f"nbcontainers-{uid}",
        "a folder for temporary files, lost when the machine stops",
    )


def _flaw(root: Path, space: int) -> str:
    """Why a folder cannot hold a store; nothing if it can, and then it is there with the right owner and mode.

    ``space`` is how many bytes have to be free for a new one.
    """
    made = not root.exists()
    try:
        # In a folder that everybody may write to, whoever came first may have laid a link to one of our own folders.
        if root.is_symlink() and root.parent.stat().st_mode & stat.S_ISVTX:
            return "it is a symbolic link in a folder that everybody may write to"
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        why = _flaw_of_folder(root, space)
    except OSError as error:
        return f"{error.strerror or error}"
    if why and made:
        with contextlib.suppress(OSError):
            root.rmdir()
    return why


def _flaw_of_folder(root: Path, space: int) -> str:
    status = root.stat()
    if not stat.S_ISDIR(status.st_mode):
        return "it is no folder"
    if status.st_uid != os.geteuid():
        return f"it belongs to uid {status.st_uid}"
    if not (root / "blobs").exists() and set(os.listdir(root)) - {"lost+found"}:
        return "it holds other files, and a store wants a folder of its own"
    if (kind := file_system(root)) in _NETWORK:
        return f"it is on a network file system ({kind})"
    if stat.S_IMODE(status.st_mode) != 0o700:
        root.chmod(0o700)
    if (root / "version").exists():
        # A store that is there is kept, however full its disk: its images would seem lost, and nothing could be removed.
        if not os.access(root, os.W_OK):
            return "nothing can be written there"
        folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_SH | fcntl.LOCK_NB)  # does no harm to others who do the same
        finally:
            os.close(folder)
        return ""
    with tempfile.TemporaryFile(dir=root) as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.write(b"x")
    disk = os.statvfs(root)
    return "its disk is full" if disk.f_bavail * disk.f_frsize < space else ""


def file_system(path: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> str:
    """The type of the file system that a path lies on, as mount(8) calls it; empty where it cannot be told.

    Source: proc_pid_mountinfo(5).
    """
    whole = os.fsencode(path.resolve())
    longest, kind = b"", ""
    try:
        lines = mountinfo.read_bytes().splitlines()
    except OSError:
        return ""
    for line in lines:
        fields, _, rest = line.partition(b" - ")
        point = fields.split()[4]
        for code, sign in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
            point = point.replace(code, sign)
        inside = point in (b"/", whole) or whole.startswith(point + b"/")
        if inside and len(point) >= len(longest):  # of two mounts on one point the later one lies on top
            longest, kind = point, rest.split()[0].decode()
    return kind

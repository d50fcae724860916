"""The short folder for sockets: a Unix socket's path holds 107 bytes, so it never lies below the store."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import socket
import stat
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..errors import HostError
from .door import NEW, OPEN

LONGEST_SOCKET = 107  # sizeof(sun_path) - 1; see unix(7)
PLACES = ("/tmp", "/dev/shm", "/var/tmp")  # that everybody may write to
_NAME = 32  # of a container's id
HOLDERS = "net-"  # how the names of holders' sockets begin (see ``networks``)
_OLD_S = 10.0  # much longer than a shim takes to make its socket


def choose(environ: Mapping[str, str], places: Sequence[str] = PLACES) -> Path:
    """The user's own folder for sockets, made (0700) if it is not there: $XDG_RUNTIME_DIR/nbcontainers, else /tmp/nbc-UID.

    A pod whose root file system is read-only has no /tmp that can be written to, but a /dev/shm: ``places`` are tried one after another.

    Raises:
        HostError: no candidate can be had, for instance because somebody else has made it first.
    """
    reasons = []
    for path in _candidates(environ.get("XDG_RUNTIME_DIR", ""), places):
        try:
            return make(path)
        except (OSError, HostError) as error:
            reasons.append(f"{path}: {error}")
    raise HostError(
        "no folder for sockets: " + "; ".join(reasons), hint="set XDG_RUNTIME_DIR to a short folder that is your own"
    )


def known() -> list[Path]:
    """The folders of this user that sockets can be in: who has started a container may have had another XDG_RUNTIME_DIR, or none."""
    own = f"/run/user/{os.geteuid()}"  # pam_systemd(8)
    given = _candidates(os.environ.get("XDG_RUNTIME_DIR", ""), PLACES)
    return [path for path in dict.fromkeys((*given, *_candidates(own, ()))) if _is_ours(path)]


def _candidates(runtime: str, places: Sequence[str]) -> list[Path]:
    named = [Path(runtime) / "nbcontainers"] if runtime else []
    return [*named, *(Path(place) / f"nbc-{os.geteuid()}" for place in places)]


def _is_ours(path: Path) -> bool:
    """Nobody else may have put something there that looks like a shim's socket."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def make(path: Path) -> Path:
    """Make the folder if need be and return it, sure that it is ours alone; HostError where it is not, or is too long a name."""
    if len(os.fsencode(socket_path(path, "x" * _NAME))) > LONGEST_SOCKET:
        raise HostError(f"{path} is too long a name for a folder of sockets")
    path.mkdir(mode=0o700, exist_ok=True)
    if not _is_ours(path):
        raise HostError(f"{path} is not a folder of this user")
    if stat.S_IMODE(os.lstat(path).st_mode) & 0o077:
        path.chmod(0o700)
    if not os.access(path, os.W_OK):  # it is there, but on a file system that is read-only by now
        raise HostError(f"{path} cannot be written to")
    return path


def socket_path(folder: Path, container: str) -> str:
    """Where a container's shim listens."""
    return f"{folder}/{container[:_NAME]}{OPEN}"


def sweep(folders: Iterable[Path]) -> tuple[str, ...]:
    """Remove the sockets at which shims listened that are gone, of whichever store, and return their names.

    That of a shim which lives stays, also of one that is about to listen where another one did. Those of holders are for ``networks``.
    """
    swept = []
    for folder in folders:
        with contextlib.suppress(FileNotFoundError):
            for name in sorted(os.listdir(folder)):
                path = f"{folder}/{name}"
                with contextlib.suppress(OSError):  # its shim, or somebody who sweeps too, was faster
                    if not name.startswith(HOLDERS) and stat.S_ISSOCK(os.lstat(path).st_mode) and _sweep(path):
                        swept.append(name)
    return tuple(swept)


def _sweep(path: str) -> bool:
    """Remove a socket if it is a dead shim's; whether it was."""
    if path.endswith(NEW) and time.time() - os.lstat(path).st_mtime > _OLD_S:
        os.unlink(path)
        return True
    if not path.endswith(OPEN) or not _is_dead(path):
        return False
    # Between that answer and its removal a new shim of the container may put its own there: what is looked at again is not in its way.
    aside = f"{os.path.dirname(path)}/{secrets.token_hex(_NAME // 2)}{OPEN}"
    os.rename(path, aside)
    is_dead = _is_dead(aside)
    if not is_dead:
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
    os.unlink(aside)
    return is_dead


def _is_dead(path: str) -> bool:
    """Whether nobody will ever listen at a socket again; see ``door.OPEN``."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.setblocking(False)  # one that is stopped, with too many callers already, lives
        return caller.connect_ex(path) == errno.ECONNREFUSED

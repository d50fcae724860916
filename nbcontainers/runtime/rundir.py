"""The short folder for sockets: a Unix socket's path holds 107 bytes, so it never lies below the store."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import HostError

LONGEST_SOCKET = 107  # sizeof(sun_path) - 1; see unix(7)
PLACES = ("/tmp", "/dev/shm", "/var/tmp")  # that everybody may write to
_NAME = 32  # of a container's id


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
    return f"{folder}/{container[:_NAME]}.sock"

"""User namespaces that root gives its containers: ``--userns auto``, each with a range of ids that nothing else has.

On the disk their files are root's store's like all others: a container sees them through id-mapped mounts, so whatever reads or
writes them from outside (diff, commit, cp, export) finds the ids that the container sees.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Conflict, HostError, NBContainersError
from ..linux.idmap import Identity
from ..oci.runtime import IdMapping, Mount, RuntimeSpec
from ..results import Check, HostReport
from ..runtime import hints, idtrial
from ..runtime.mountplan import IDMAP
from .mounts import MountPoint

if TYPE_CHECKING:
    from ..runtime.host import Host
    from ..store.store import Store
    from ..store.worker import Worker
    from .names import ContainerNames

FIRST = 0x70000000
"""The first of the ids that are given out: from here to 2**31 - 2**16 no system gives any to users. Source: systemd, UIDS-GIDS."""
SIZE = 1 << 16
SLOTS = 4095
_KNOWN = "idmap.json"
RANGES = "ranges"
"""The folder of a store with a link for each range that is taken, to the container that has it."""
_WORDS = re.compile(r"(?P<kind>auto|private|keep-id|host)(?::(?P<rest>.+))?")
_IDS = re.compile(r"(size|uid|gid)=(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Userns:
    """What ``--userns`` asks for. ``size`` is the number of ids, ``user`` who runs the command where nobody else is named."""

    word: str = ""
    is_own: bool = False
    size: int = SIZE
    user: str = ""

    def identity(self, host: Host) -> Identity:
        """How the container sees ids; which range it has is not known before it is claimed."""
        return host.identity if not self.is_own else _identity(0, self.size)


def read(word: str, host: Host) -> Userns:
    """Read the word of ``--userns``: NBContainersError where it means nothing, HostError where this host cannot give it."""
    if not word:
        return Userns()
    match = _WORDS.fullmatch(word)
    kind, rest = (match["kind"], match["rest"] or "") if match else ("", "")
    numbers = {found[1]: found[2] for part in rest.split(",") if (found := _IDS.fullmatch(part))}
    known = {"auto": {"size"}, "keep-id": {"uid", "gid"}}.get(kind, set())
    if not kind or (rest and len(numbers) != rest.count(",") + 1) or not numbers.keys() <= known:
        raise NBContainersError(
            f"invalid --userns mode: {word!r}", hint="wanted: host, auto[:size=N], private or keep-id[:uid=N,gid=N]"
        )
    if kind == "host":
        if host.identity.userns:
            raise HostError(
                "--userns host: without privilege a container cannot be without a user namespace",
                tier=host.tier,
                hint=f"leave it out, or {hints.of_privilege()}",
            )
        return Userns(word=word)
    if kind == "keep-id":
        return _keeping(word, numbers, host)
    size = int(numbers.get("size", SIZE))
    if not 0 < size <= SIZE:
        raise NBContainersError(f"--userns {word}: a range has 1 to {SIZE} ids", hint="leave the size out")
    if host.identity.userns:
        if numbers:
            raise HostError(
                f"--userns {word}: without privilege the range is the one that this user has",
                tier=host.tier,
                hint="leave the size out",
            )
        return Userns(word=word)
    return Userns(word=word, is_own=True, size=size)


def _keeping(word: str, numbers: dict[str, str], host: Host) -> Userns:
    """Who runs the command has the caller's ids, inside and on the host: where there is one id, every user of the container's is
    the caller outside. Podman refuses it to root, too.
    """
    if not host.has_single_id:
        why = (
            "root keeps no id of its own inside; 'auto' gives a range"
            if not host.identity.userns
            else "here the caller is the container's root, and its other users are of /etc/subuid"
        )
        raise HostError(f"--userns {word}: {why}", tier=host.tier, hint="leave it out")
    uid, gid = numbers.get("uid", str(os.geteuid())), numbers.get("gid", str(os.getegid()))
    return Userns(word=word, user=f"{uid}:{gid}")


def claim(spec: RuntimeSpec, wanted: Userns, root: Path, container: str, names: ContainerNames) -> RuntimeSpec:
    """The specification with a range that no container of the store has, which is kept until ``release``.

    The links in ROOT/ranges say whose each is; one whose container is gone is taken over. Conflict where none is left.
    """
    folder = root / RANGES
    folder.mkdir(mode=0o700, exist_ok=True)
    for number in _slots(container):
        link = folder / str(number)
        while True:
            try:
                link.symlink_to(container)
                found = _identity(number, wanted.size)
                return replace(spec, uid_mappings=found.uid_mappings, gid_mappings=found.gid_mappings)
            except FileExistsError:
                with contextlib.suppress(FileNotFoundError):
                    if names.folder(os.readlink(link)).exists():
                        break
                    link.unlink()  # its container is gone: whoever sees it repairs it
    raise Conflict(f"all {SLOTS} ranges of ids are taken", hint="'nbcontainers container prune' removes containers")


def release(root: Path, container: str) -> None:
    """Let the range of a container go that is gone; nothing if it had none."""
    with contextlib.suppress(FileNotFoundError):
        for number in _slots(container):
            link = f"{root}/{RANGES}/{number}"
            if os.readlink(link) == container:
                os.unlink(link)
                break


def _slots(container: str) -> Iterator[int]:
    """Where a container's range is looked for: from a place that its ID says on."""
    first = int(container[:8], 16)
    return ((first + step) % SLOTS for step in range(SLOTS))


def check(points: Iterable[MountPoint], wanted: Userns, host: Host) -> None:
    """HostError where a mount is to be id-mapped and its container is not in a user namespace of root's."""
    for point in points:
        if point.idmap and not wanted.is_own:
            raise HostError(
                f"idmap of {point.source}: the ids of files are mapped by the host's root, for a container with a range of its own",
                tier=host.tier,
                hint="leave idmap out" if host.identity.userns else "add --userns auto",
            )


def _identity(slot: int, size: int) -> Identity:
    mappings = (IdMapping(container=0, host=FIRST + slot * SIZE, size=size),)
    return Identity(userns=True, uid_mappings=mappings, gid_mappings=mappings)


def is_mapped(spec: RuntimeSpec, host: Host) -> bool:
    """Whether a container sees its files by id-mapped mounts: in a user namespace of root's."""
    return spec.namespace("user") is not None and not host.identity.userns


def worker(store: Store, spec: RuntimeSpec) -> Worker:
    """One that has a container's ids: what runs it reaches by the process that has them, not by what lies on the disk."""
    from ..store.worker import Worker

    identity = Identity(userns=True, uid_mappings=spec.uid_mappings, gid_mappings=spec.gid_mappings)
    return Worker(store.root, identity)


def mapped(mounts: tuple[Mount, ...]) -> tuple[Mount, ...]:
    """The mounts with the container's ids."""
    return tuple(replace(mount, options=(*mount.options, IDMAP)) for mount in mounts)


def require(root: Path, word: str, host: Host) -> None:
    """HostError, with the reason, where root's containers can have no user namespace of their own."""
    why = refusal(root)
    if idtrial.MASKED in why:
        raise HostError(f"--userns {word}: {why}", tier=host.tier, hint="leave it out")
    if why:
        raise HostError(
            f"--userns {word}: the files of {root} cannot be shown with other ids ({why})",
            tier=host.tier,
            hint="put the store on ext4, xfs or btrfs (NBCONTAINERS_ROOT), or leave --userns out",
        )


def told(report: HostReport, host: Host, root: Path) -> HostReport:
    """A report with whether root's containers can have user namespaces, with the store where it is."""
    if host.identity.userns or host.is_viewed:
        return report
    why = refusal(root)
    return replace(report, checks=(*report.checks, Check(name="user namespaces of root's", holds=not why, detail=why)))


def refusal(root: Path) -> str:
    """Why root's containers, with their files in a store, can have no user namespaces; empty if they can. Found by trying once,
    and remembered until kernel, disk, mounts around us or user change.
    """
    status, known = os.stat(root), root / _KNOWN
    about = [os.uname().release, os.uname().version, status.st_dev, os.readlink("/proc/self/ns/mnt"), os.geteuid()]
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        told = json.loads(known.read_text())
        if told["about"] == about:
            return str(told["why"])
    from ..runtime import spawn

    process = spawn.start("idtrial", stdin=subprocess.PIPE, stdout=subprocess.PIPE, sealed=False)
    said, _ = process.communicate(os.fsencode(root / "ingest"), timeout=spawn.START_S)
    why = said.decode().strip() or ("" if process.returncode == 0 else f"status {process.returncode}")
    scratch = root / "ingest" / f"idmap-{os.getpid()}"
    scratch.write_text(json.dumps({"about": about, "why": why}))
    scratch.rename(known)
    return why

"""The mounts of a RUN made: trees, caches, memory, secrets and agents that a command sees while it runs, and then no more."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import DockerfileError
from ..events import Observer, Warned
from ..linux import mounts as trees
from ..linux.idmap import Identity
from ..linux.mounts import SUBPATH
from ..oci.descriptor import Digest
from ..oci.runtime import IdMapping, Mount
from ..store import filling
from ..store.store import Store
from . import agents, caches
from .context import Context, Selected
from .mounts import RunMount
from .steps import Node, Run

_SHM = Path("/dev/shm")
Snapshot = Callable[[int | None], AbstractContextManager[tuple[str, tuple[Mount, ...]]]]


@dataclass(frozen=True, slots=True)
class Offers:
    """What the caller of a build lends to its commands: contents of secrets, sockets of ssh agents, keys for such; by id."""

    secrets: Mapping[str, bytes] = field(default_factory=dict)
    agents: Mapping[str, Path] = field(default_factory=dict)
    keys: Mapping[str, Sequence[Path]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shown:
    """What a command gets: mounts, and variables that neither the cache nor the history knows."""

    mounts: tuple[Mount, ...]
    env: tuple[str, ...]


class Showing:
    """Makes the mounts of one step. ``snapshot`` is a writable tree on top of a node's (None: an empty one), while it is needed."""

    def __init__(
        self,
        node: Node,
        store: Store,
        identity: Identity,
        offers: Offers,
        contexts: Mapping[str, Context],
        chains: Mapping[int, Sequence[Digest]],
        snapshot: Snapshot,
        on_event: Observer,
    ) -> None:
        self._node = node
        self._store = store
        self._identity = identity
        self._offers = offers
        self._contexts = contexts
        self._chains = chains
        self._snapshot = snapshot
        self._on_event = on_event

    @contextlib.contextmanager
    def mounts(self, step: Run, mounted: Mapping[int, Selected]) -> Iterator[Shown]:
        """What a step's command sees; it is gone at the end, but for the caches.

        Raises:
            DockerfileError: a secret or agent that is required is not given, or a source is not in what it is taken from.

        """
        found: list[Mount] = []
        env: list[str] = []
        held_caches: dict[tuple[str, object], Path] = {}
        with contextlib.ExitStack() as stack:
            memory: Path | None = None
            for number, mount in enumerate(step.mounts):
                if mount.type in ("secret", "ssh") and memory is None:
                    memory = stack.enter_context(_memory())
                match mount.type:
                    case "bind":
                        found.append(self._bind(mount, mounted.get(number), stack))
                    case "cache":
                        found.append(self._cache(mount, stack, held_caches))
                    case "tmpfs":
                        size = (f"size={mount.size}",) if mount.size else ()
                        options = ("nosuid", "nodev", *size, *_access(mount))
                        found.append(Mount(destination=mount.target, type="tmpfs", source="tmpfs", options=options))
                    case "secret":
                        assert memory is not None
                        secret = self._secret(mount, memory / f"secret-{number}", env)
                        found += [secret] if secret else []
                    case "ssh":
                        assert memory is not None
                        index = sum(one.type == "ssh" for one in step.mounts[:number])
                        place = mount.target or f"/run/buildkit/ssh_agent.{index}"
                        # As in BuildKit, also where no agent is given; ENV and ARG say it better.
                        if not index and not any(word.startswith("SSH_AUTH_SOCK=") for word in step.env):
                            env.append(f"SSH_AUTH_SOCK={place}")
                        agent = self._agent(replace(mount, target=place), memory / str(number), stack)
                        found += [agent] if agent else []
            found.sort(key=lambda mount: mount.destination)  # none hides one below it, however they are written
            yield Shown(tuple(found), tuple(env))

    def _bind(self, mount: RunMount, selected: Selected | None, stack: contextlib.ExitStack) -> Mount:
        key, rootfs = stack.enter_context(self._snapshot(mount.origin))
        below = mount.source
        if selected is not None and mount.context is not None:
            context = self._contexts[mount.context]
            below = "/" if selected.folder else "/file"
            rows = context.rows(selected)
            if selected.folder:
                with tempfile.TemporaryDirectory(prefix=f"{key}-", dir=self._store.root / "snapshots") as empty:
                    call = filling.copy(rootfs, [(empty, ""), *rows], "/", directory=True)
                    self._store.worker.do(call, on_event=self._on_event)
            else:
                self._store.worker.do(filling.copy(rootfs, rows, below, directory=False), on_event=self._on_event)
        return _part(rootfs[0], mount, below)

    def _cache(self, mount: RunMount, stack: contextlib.ExitStack, held: dict[tuple[str, object], Path]) -> Mount:
        chain = self._chains[mount.origin] if mount.origin is not None else ()
        key = f"{chain[-1] if chain else ''}\0{mount.source}" if mount.origin is not None else ""
        # As in BuildKit: who wants another owner gets another cache.
        if any(wish is not None for wish in (mount.mode, mount.uid, mount.gid)):
            key += f"\0{0o755 if mount.mode is None else mount.mode:o} {mount.uid or 0} {mount.gid or 0}"

        def make(folder: Path) -> None:
            self._store.worker.make_folder(
                folder, 0o755 if mount.mode is None else mount.mode, mount.uid or 0, mount.gid or 0
            )
            if mount.origin is not None:
                with self._snapshot(mount.origin) as (_, theirs):
                    place = [trees.bind(str(folder))]
                    self._store.worker.do(filling.copy_from(place, theirs, [mount.source], "/", directory=True))

        place = held.get((mount.id, key))
        if place is None:
            place = stack.enter_context(caches.used(self._store.root, mount.id, mount.sharing, make, key))
            held[mount.id, key] = place
        return _part(trees.bind(str(place)), mount, "/" if mount.origin is not None else mount.source)

    def _secret(self, mount: RunMount, place: Path, env: list[str]) -> Mount | None:
        content = self._offers.secrets.get(mount.id)
        if content is None:
            if mount.required:
                raise self._missing(f"the secret {mount.id!r}", f"give it with --secret id={mount.id},src=FILE")
            if mount.env:
                env.append(f"{mount.env}=")
            return None
        if mount.env:
            env.append(f"{mount.env}={os.fsdecode(content)}")
        if not mount.target:
            return None
        place.write_bytes(content)
        self._own(place, mount, 0o400)
        options = ("bind", "ro", "nosuid", "nodev", "noexec")
        return Mount(destination=mount.target, type="bind", source=str(place), options=options)

    def _agent(self, mount: RunMount, folder: Path, stack: contextlib.ExitStack) -> Mount | None:
        folder.mkdir(mode=0o700)
        agent = self._offers.agents.get(mount.id)
        if agent is None and mount.id in self._offers.keys:
            agent = stack.enter_context(agents.of_keys(self._offers.keys[mount.id], folder))
        if agent is None:
            if mount.required:
                raise self._missing(f"the ssh agent {mount.id!r}", f"give it with --ssh {mount.id}")
            return None
        place = folder / "forwarded"
        stack.enter_context(agents.forwarded(agent, place))
        self._own(place, mount, 0o600)
        return Mount(destination=mount.target, type="bind", source=str(place), options=("bind", "nosuid", "nodev"))

    def _own(self, place: Path, mount: RunMount, mode: int) -> None:
        place.chmod(mode if mount.mode is None else mount.mode)
        uid, gid = mount.uid or 0, mount.gid or 0
        host = _host(self._identity.uid_mappings, uid), _host(self._identity.gid_mappings, gid)
        if self._identity.userns and None in host:
            message = f"{mount.id!r} cannot belong to {uid}:{gid} here, and is root's"
            self._on_event(
                Warned(message=message, hint="this host gives containers one id only", line=self._node.lines[0])
            )
        elif (uid, gid) != (0, 0):
            os.chown(place, *((uid, gid) if not self._identity.userns else (host[0] or 0, host[1] or 0)))

    def _missing(self, what: str, hint: str) -> DockerfileError:
        message = f"{self._node.place}: {what} is required, and it was not given"
        return DockerfileError(message, lines=self._node.lines, hint=hint)


def _part(tree: Mount, mount: RunMount, below: str) -> Mount:
    """A tree's mount (or what is below it) as one of the container's."""
    subpath = (f"{SUBPATH}={below}",) if below != "/" else ()
    return replace(tree, destination=mount.target, options=(*tree.options, *subpath, *_access(mount)))


def _access(mount: RunMount) -> tuple[str, ...]:
    return ("ro",) if mount.read_only else ("rw",)


def _host(mappings: Sequence[IdMapping], inside: int) -> int | None:
    for entry in mappings:
        if entry.container <= inside < entry.container + entry.size:
            return entry.host + inside - entry.container
    return None


@contextlib.contextmanager
def _memory() -> Iterator[Path]:
    """A folder for what should never be on a disk; in memory where this host has such a place."""
    place = _SHM if os.access(_SHM, os.W_OK | os.X_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="nbc-", dir=place))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)

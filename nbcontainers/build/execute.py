"""A step that no cache knows: a snapshot is prepared, something happens in it, and it becomes a layer, or nothing is left."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from ..errors import Conflict, DockerfileError, IntegrityError, NBContainersError, NotFound
from ..events import Observer
from ..linux import capabilities
from ..oci.descriptor import Descriptor
from ..oci.runtime import Mount, Rlimit, RuntimeSpec
from ..runtime import defaults, launch, log, namefiles, record
from ..runtime.host import Host
from ..runtime.process import Runtime
from ..store import filling
from ..store.durable import saying_when_full
from ..store.filling import Call
from ..store.stock import Kind
from ..store.store import Store
from . import commands, puts
from .context import Context
from .history import instant
from .inputs import Inputs
from .layers import Tree
from .records import Made
from .showing import Offers, Showing
from .steps import Copy, Node, Run

# An image that lacks these gets them with its first RUN, and keeps them: so BuildKit has it.
_KEPT = frozenset({"/dev", "/proc", "/sys"})
_CONTAINER = Kind(
    "command",
    files=((f".{record.NAME}", 0o644), *((name, 0o644) for name in namefiles.NAMES), (log.NAME, 0o640)),
)

Making = tuple[Made, Callable[[], None]]
"""A layer that was made, on which others can stand at once, and what then brings its blob to the disk: that takes longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the caller of a build says of all its commands: what it lends them, the size of /dev/shm in bytes (0: the usual), limits.

    ``insecure`` gives a command's specification all that --security=insecure means; without it no command may say that.
    """

    offers: Offers = field(default_factory=Offers)
    shm_size: int = 0
    rlimits: tuple[Rlimit, ...] = ()
    insecure: Callable[[RuntimeSpec], RuntimeSpec] | None = None


class Executor:
    """What executes the steps of one build. The caller holds a lease, which then names all that they stand on and make."""

    def __init__(self, store: Store, runtime: Runtime, host: Host, settings: Settings) -> None:
        self.store = store
        self.runtime = runtime
        self.host = host
        self.settings = settings
        self._keys: set[str] = set()  # of snapshots that are there, or are being made or removed

    def close(self) -> None:
        """Remove what an interrupt kept from being removed: it may come between any two instructions, also of a clean-up."""
        for key in tuple(self._keys):
            for running in self.runtime.foreground(self._folder(key)):
                running.hang_up()
                with contextlib.suppress(NBContainersError, TimeoutError):
                    running.wait(10)
                running.close()
            for path in (self.store.root / "snapshots").glob(f"{key}*"):  # also one that has not got its name yet
                self.store.worker.remove(path)
            self._keys.discard(key)

    def _folder(self, key: str) -> Path:
        """That of a command's container, beside its tree: it goes with the snapshot. A socket has its name, so no other has."""
        return Path(f"{self.store.root}/snapshots/{key}/{key}-run")

    @contextlib.contextmanager
    def snapshot(self, below: Tree, on_event: Observer) -> Iterator[tuple[str, tuple[Mount, ...]]]:
        """A writable tree on top of another: its key and mounts. What is not committed inside is removed."""
        key = f"build-{secrets.token_hex(8)}"
        self._keys.add(key)
        self.store.leases.protect(key, *below.chain, *(layer.digest for layer in below.layers))
        self.store.snapshots.unpack(below.image(), on_event)
        try:
            yield key, self.store.snapshots.prepare(key, below.chain, volatile=True)
        finally:
            self.store.snapshots.remove(key)
        self._keys.discard(key)

    def commit(self, key: str, epoch: int | None, first: Sequence[Call], on_event: Observer) -> Making:
        """Make the snapshot a layer, after what is to be done to it first."""
        files: list[tuple[Path, Descriptor, int]] = []
        try:
            layer = self.store.snapshots.commit(
                key, created=epoch, first=first, adopt=lambda *file: files.append(file), on_event=on_event
            )
        except BaseException:
            for path, _, handle in files:
                path.unlink(missing_ok=True)
                os.close(handle)
            raise
        made = Made(
            descriptor=layer.descriptor,
            diff_id=layer.diff_id,
            chain_id=layer.chain_id,
            created=instant(time.time() if epoch is None else epoch),
        )
        return made, partial(self.store.content.adopt, *files[0])

    # RUN -----------------------------------------------------------------------------------------------------------------

    def run(
        self,
        node: Node,
        step: Run,
        trees: Mapping[int, Tree],
        contexts: Mapping[str, Context],
        inputs: Inputs,
        number: int,
        on_event: Observer,
    ) -> Making:
        """Execute a command in a snapshot. BuildError if it fails or cannot be started.

        Args:
            node: the step's node.
            step: the step.
            trees: what the nodes made that it needs.
            contexts: where its mounts may take files from.
            inputs: what its mounts take.
            number: the step's number in the build.
            on_event: told of what it prints.

        """
        below = trees[node.parent] if node.parent is not None else Tree()
        chains = {index: tree.chain for index, tree in trees.items()}

        def tree(index: int | None) -> contextlib.AbstractContextManager[tuple[str, tuple[Mount, ...]]]:
            return self.snapshot(Tree() if index is None else trees[index], on_event)

        showing = Showing(node, self.store, self.host.identity, self.settings.offers, contexts, chains, tree, on_event)
        with self.snapshot(below, on_event) as (key, rootfs):
            folder = self._folder(key)
            with saying_when_full(folder):
                self.store.stock.take(_CONTAINER, str(folder))
            with showing.mounts(step, inputs.mounted) as shown:
                devices, others = _devices(shown.mounts)
                asked = (*_memory(step.shm_size), *others)
                spec = defaults.docker_spec(
                    args=step.args,
                    host=self.host,
                    env=(*step.env, *step.proxies, *shown.env),
                    cwd=step.workdir,
                    hostname=commands.hostname(step),
                    network="none" if step.network == "none" else "host",
                    mounts=(*commands.mounts(folder, step), *asked),
                    rlimits=step.limits,
                    capabilities=capabilities.ALL if step.insecure else capabilities.DOCKER,
                )
                spec = replace(spec, annotations={**spec.annotations, launch.WORKDIR: "user"})  # as BuildKit has it
                spec = replace(spec, mounts=tuple(_sized(mount, devices) for mount in spec.mounts))
                if step.insecure:
                    assert self.settings.insecure is not None
                    spec = self.settings.insecure(spec)
                commands.run(self.runtime, self.host, node, step, spec, rootfs, folder, commands.Tail(number, on_event))
            copied = self.store.snapshots.name == "copy"
            shows = [mount.destination for mount in (*asked, *shown.mounts)] + (["/dev/pipes"] if step.document else [])
            destinations = _stubs([mount.destination for mount in spec.mounts], shows)
            stubs = filling.clear_stubs(key, below.chain, destinations, copied=copied)
            return self.commit(key, step.epoch, [stubs], on_event)

    # COPY, ADD and WORKDIR -----------------------------------------------------------------------------------------------

    def copy(
        self,
        node: Node,
        step: Copy,
        trees: Mapping[int, Tree],
        contexts: Mapping[str, Context],
        inputs: Inputs,
        on_event: Observer,
    ) -> Making:
        """Put files into a snapshot. DockerfileError where a source or an owner is not there, or a file would be a folder."""
        below = trees[node.parent] if node.parent is not None and not step.link else Tree()
        origin = self.snapshot(trees[node.origin], on_event) if node.origin is not None else contextlib.nullcontext()
        with self.snapshot(below, on_event) as (key, mounts), origin as other:
            try:
                calls = puts.from_tree(step, mounts, other[1]) if other is not None else []
                beside = Path(f"{self.store.root}/snapshots/{key}")
                calls += puts.from_context(step, mounts, contexts.get(step.context), inputs, beside)
                return self.commit(key, step.epoch, calls, on_event)
            except (NotFound, Conflict, IntegrityError) as error:
                raise DockerfileError(f"{node.place}: {error.message}", lines=node.lines, hint=error.hint) from error


def _memory(size: int) -> tuple[Mount, ...]:
    """/dev/shm, where it is to have another size than the usual one."""
    if not size:
        return ()
    options = ("nosuid", "noexec", "nodev", "mode=1777", f"size={size}")
    return (Mount(destination="/dev/shm", type="tmpfs", source="shm", options=options),)


def _devices(mounts: Sequence[Mount]) -> tuple[Mount | None, tuple[Mount, ...]]:
    """The tmpfs that a command wants on /dev, and all else. Its own /dev is one, with the devices in it: in BuildKit too."""
    found = [mount for mount in mounts if mount.destination == "/dev" and mount.type == "tmpfs"]
    return found[-1] if found else None, tuple(mount for mount in mounts if mount not in found)


def _sized(mount: Mount, wanted: Mount | None) -> Mount:
    """A command's own /dev with the size that was wanted for it; another mount as it is."""
    if wanted is None or (mount.destination, mount.type) != ("/dev", "tmpfs"):
        return mount
    sizes = [option for option in wanted.options if option.startswith("size=")]
    own = [option for option in mount.options if not (sizes and option.startswith("size="))]
    return replace(mount, options=(*own, *sizes))


def _stubs(destinations: Sequence[str], shown: Sequence[str]) -> list[str]:
    """Of the places where something was mounted those that were made in the tree itself, and are to go: no earlier mount lies above.

    /dev and the like stay, as with BuildKit, but for those on or above which something is ``shown`` to this command alone.
    """
    kept = {place for place in _KEPT if not any(f"{one}/".startswith(f"{place}/") for one in shown)}
    return [
        one
        for number, one in enumerate(destinations)
        if one not in kept and not any(one.startswith(f"{place}/") for place in destinations[:number])
    ]

"""A step that no cache knows: a snapshot is prepared, something happens in it, and it becomes a layer, or nothing is left."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

from ..errors import BuildError, Conflict, DockerfileError, IntegrityError, LaunchError, NBContainersError, NotFound
from ..events import Event, Observer, Output
from ..linux import capabilities
from ..oci.descriptor import CONFIG, MANIFEST, Descriptor, Digest, Platform
from ..oci.image import Image, ImageConfig, Manifest, chain_ids
from ..oci.runtime import Mount, Rlimit, RuntimeSpec
from ..results import ContainerState
from ..runtime import defaults, namefiles
from ..runtime.host import Host
from ..runtime.process import Runtime
from ..runtime.running import Running
from ..store import filling, stopping
from ..store.filling import Call
from ..store.leases import Lease
from ..store.store import Store
from .context import Context, clean
from .history import instant
from .ignore import Ignore
from .inputs import EMPTY, Inputs
from .records import Made
from .showing import Offers, Showing
from .steps import Copy, Node, Run
from .wildcards import has_wildcards

HOSTNAME = "buildkitsandbox"
OUTPUT_KEPT = 64 << 10
# An image that lacks these gets them with its first RUN, and keeps them: so BuildKit has it.
_KEPT = frozenset({"/dev", "/proc", "/sys"})

Making = tuple[Made, Callable[[], None]]
"""A layer that was made, on which others can stand at once, and what then brings its blob to the disk: that takes longer."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree of files as the layers it is made of, from the base up."""

    layers: tuple[Descriptor, ...] = ()
    diff_ids: tuple[Digest, ...] = ()
    chain: tuple[Digest, ...] = ()

    @classmethod
    def of(cls, image: Image) -> Tree:
        """An image's."""
        return cls(image.layers, image.config.diff_ids, image.chain_ids)

    @property
    def chain_id(self) -> Digest:
        """What names the tree; a name of its own for the empty one."""
        return self.chain[-1] if self.chain else EMPTY

    def with_layer(self, made: Made) -> Tree:
        """The tree with one more layer."""
        diff_ids = (*self.diff_ids, made.diff_id)
        chain = (*self.chain, chain_ids((self.chain[-1], made.diff_id))[-1] if self.chain else made.diff_id)
        return Tree((*self.layers, made.descriptor), diff_ids, chain)

    def image(self) -> Image:
        """The tree as an image that no store has: for whoever unpacks its layers."""
        nothing = Descriptor(media_type=CONFIG, digest=EMPTY, size=0)
        return Image(
            reference=None,
            descriptor=Descriptor(media_type=MANIFEST, digest=EMPTY, size=0),
            manifest=Manifest(config=nothing, layers=self.layers),
            config=ImageConfig(platform=Platform.host(), diff_ids=self.diff_ids),
        )


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
    """What executes the steps of one build."""

    def __init__(self, store: Store, runtime: Runtime, host: Host, lease: Lease, settings: Settings) -> None:
        self.store = store
        self.runtime = runtime
        self.host = host
        self.lease = lease
        self.settings = settings
        self._keys: set[str] = set()  # of snapshots that are there, or are being made or removed

    def close(self) -> None:
        """Remove what an interrupt kept from being removed: it may come between any two instructions, also of a clean-up."""
        for key in tuple(self._keys):
            for running in self.runtime.foreground(self._beside(key, "run")):
                running.hang_up()
                with contextlib.suppress(NBContainersError, TimeoutError):
                    running.wait(10)
                running.close()
            for path in (self.store.root / "snapshots").glob(f"{key}*"):  # also one that has not got its name yet
                self.store.worker.remove(path)
            self._keys.discard(key)

    def _beside(self, key: str, name: str) -> Path:
        return self.store.root / "snapshots" / f"{key}-{name}"

    @contextlib.contextmanager
    def snapshot(self, below: Tree, on_event: Observer) -> Iterator[tuple[str, tuple[Mount, ...]]]:
        """A writable tree on top of another: its key and mounts. What is not committed inside is removed."""
        key = f"build-{secrets.token_hex(8)}"
        self._keys.add(key)
        self.lease.add(key, *below.chain, *(layer.digest for layer in below.layers))
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
            self.lease.add(layer.descriptor.digest, layer.chain_id)
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
            with (
                showing.mounts(step, inputs.mounted) as shown,
                self.folder(key, "files") as files,
                self.folder(key, "run") as folder,
            ):
                spec = defaults.docker_spec(
                    args=step.args,
                    host=self.host,
                    env=(*step.env, *step.proxies, *shown.env),
                    cwd=step.workdir,
                    hostname=HOSTNAME,
                    network="none" if step.network == "none" else "host",
                    mounts=(*_mounts(files, step), *self.memory(), *shown.mounts),
                    rlimits=self.settings.rlimits,
                    capabilities=capabilities.ALL if step.insecure else capabilities.DOCKER,
                )
                if step.insecure:
                    assert self.settings.insecure is not None
                    spec = self.settings.insecure(spec)
                self.command(node, step, spec, rootfs, folder, _Tail(number, on_event))
            copied = self.store.snapshots.name == "copy"
            destinations = _stubs([mount.destination for mount in spec.mounts])
            stubs = filling.clear_stubs(key, below.chain, destinations, copied=copied)
            return self.commit(key, step.epoch, [stubs], on_event)

    def memory(self) -> tuple[Mount, ...]:
        """/dev/shm, where it is to have another size than the usual one."""
        if not self.settings.shm_size:
            return ()
        options = ("nosuid", "noexec", "nodev", "mode=1777", f"size={self.settings.shm_size}")
        return (Mount(destination="/dev/shm", type="tmpfs", source="shm", options=options),)

    @contextlib.contextmanager
    def folder(self, key: str, name: str) -> Iterator[Path]:
        """A folder of this host beside a snapshot, while it is needed."""
        path = self._beside(key, name)
        path.mkdir(mode=0o700)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def command(
        self, node: Node, step: Run, spec: RuntimeSpec, rootfs: tuple[Mount, ...], folder: Path, tail: _Tail
    ) -> None:
        """Run a container to its end, which is to be good."""
        state = ContainerState(
            id=self.runtime.new_id(),
            name="",
            image="",
            image_id="",
            command=step.args,
            status="creating",
            created=time.time(),
            tier=self.host.tier,
        )
        try:
            running = self.runtime.start(folder, spec, rootfs, state=state, user=step.user)
        except LaunchError as error:
            message = f"{node.title!r} could not be started: {error.message}"
            code, hint = error.exit_code, error.hint or _launch_hint(step, error)
            raise BuildError(
                message, step=node.title, lines=node.lines, exit_code=code, output=b"", hint=hint
            ) from error
        code = _attended(running, tail)
        if code:
            ended = running.state
            why = ", for memory ran out" if ended.out_of_memory else f": {ended.error}" if ended.error else ""
            raise BuildError(
                f"{node.title!r} ended with exit code {code}{why}",
                step=node.title,
                lines=node.lines,
                exit_code=code,
                output=tail.bytes(),
                hint=_exit_hint(code) if not ended.error else "build again: it was not the command's own doing",
            )

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
        with self.snapshot(below, on_event) as (key, mounts), origin as other, self.folder(key, "files") as scratch:
            try:
                calls = _calls_from(step, mounts, other[1]) if other is not None else []
                calls += _calls_in(step, mounts, contexts.get(step.context), inputs, scratch)
                return self.commit(key, step.epoch, calls, on_event)
            except (NotFound, Conflict, IntegrityError) as error:
                raise DockerfileError(f"{node.place}: {error.message}", lines=node.lines, hint=error.hint) from error


def _calls_in(
    step: Copy, mounts: tuple[Mount, ...], context: Context | None, inputs: Inputs, scratch: Path
) -> list[Call]:
    """What puts in files of the context, what was fetched, and documents; with none of them, the folder itself."""
    groups: list[tuple[bool, bool, list[tuple[str, str]]]] = []
    if context is not None:
        groups += [(one.folder, step.unpack, context.rows(one)) for one in inputs.selected]
    for fetch in inputs.fetches:
        found = fetch()
        rows = _tree(found.path) if found.path.is_dir() else [(str(found.path), found.name)]
        groups.append((found.path.is_dir(), step.unpack_remotes, rows))
    groups += [(False, False, [(_document(scratch, name, text), name)]) for name, text in step.documents]
    if not (step.sources or step.documents or step.remotes):
        groups = [(True, False, [])]
    empty = scratch / "empty"
    empty.mkdir()
    return [
        filling.copy(
            mounts,
            # The destination itself is no copy of a folder: what is in that goes into it.
            [(str(empty), ""), *rows] if folder else rows,
            step.destination,
            directory=folder or step.destination.endswith("/"),
            chown=step.owner or None,
            chmod=step.mode,
            unpack=unpack and not folder,
        )
        for folder, unpack, rows in groups
    ]


def _calls_from(step: Copy, mounts: tuple[Mount, ...], theirs: tuple[Mount, ...]) -> list[Call]:
    """What puts in files of another tree."""
    calls = []
    for source in step.sources:
        place, include = source, Ignore()
        if step.parents:
            above, pivot, rest = source.partition("/./")
            place, include = clean(above if pivot else ""), Ignore.of([clean(rest if pivot else source) or "**"])
        calls.append(
            filling.copy_from(
                mounts,
                theirs,
                [f"/{place}"],
                step.destination,
                directory=step.destination.endswith("/"),
                chown=step.owner or None,
                chmod=step.mode,
                include=include.rules,
                exclude=Ignore.of(step.exclude).rules,
                must_match=not has_wildcards(source),
                may_miss=f"{source!r} matches nothing there" if has_wildcards(source) else "",
            )
        )
    return calls


class _Tail:
    """Tells the observer what a step prints, and keeps the end of it."""

    def __init__(self, number: int, on_event: Observer) -> None:
        self._number = number
        self._on_event = on_event
        self._kept = bytearray()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Output):
            self._kept += event.data
            del self._kept[:-OUTPUT_KEPT]
            event = replace(event, step=self._number)
        self._on_event(event)

    def bytes(self) -> bytes:
        return bytes(self._kept)


def _attended(running: Running, tail: _Tail) -> int:
    """The exit code of a container, once it has ended; whatever ends this ends the container too."""
    try:
        with stopping.ended_by(running.hang_up):
            code = running.attach(tail)
        stopping.check()
        return code
    except BaseException:
        running.hang_up()
        with contextlib.suppress(NBContainersError, TimeoutError):
            running.wait(10)
        raise
    finally:
        running.close()


def _stubs(destinations: Sequence[str]) -> list[str]:
    """Of the places where something was mounted those that were made in the tree itself, and are to go: no mount lies above."""
    above = {f"{place}/" for place in destinations}
    return [one for one in destinations if one not in _KEPT and not any(one.startswith(place) for place in above)]


def _document(folder: Path, name: str, text: str) -> str:
    """A document of the Dockerfile as a file."""
    path = folder / secrets.token_hex(8)
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    path.chmod(0o644)
    return str(path)


def _mounts(folder: Path, step: Run) -> tuple[Mount, ...]:
    """What a command sees of this host: its name servers, names, and the script of a heredoc."""
    network: Literal["none", "host"] = "none" if step.network == "none" else "host"
    written = namefiles.write(folder, HOSTNAME, network, read_only=True)
    found = [mount for mount in written if mount.destination != "/etc/hostname"]  # BuildKit shows none
    if step.hosts:
        with (folder / "hosts").open("a") as file:
            file.writelines(f"{line}\n" for line in step.hosts)
    if step.document is not None:
        name, text = step.document
        pipes = folder / "pipes"
        pipes.mkdir(mode=0o755)
        (pipes / name).write_bytes(text.encode("utf-8", "surrogateescape"))
        (pipes / name).chmod(0o755)
        found.append(Mount(destination="/dev/pipes", type="bind", source=str(pipes), options=("bind", "ro")))
    return tuple(found)


def _tree(folder: Path) -> list[tuple[str, str]]:
    """Everything below a folder of this host, a folder before what is in it."""
    found: list[tuple[str, str]] = []
    for above, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted((*folders, *files)):
            path = f"{above}/{name}"
            found.append((path, os.path.relpath(path, folder)))
    return sorted(found, key=lambda row: row[1].split("/"))


def _launch_hint(step: Run, error: LaunchError) -> str:
    if error.exit_code != 127:
        return ""
    return f"is there a {step.args[0]} in the image? FROM scratch has no files at all"


def _exit_hint(code: int) -> str:
    match code:
        case 126:
            return "126: the shell found the command and could not execute it"
        case 127:
            return "127: the shell did not find the command"
        case 137:
            return "137: the command was killed, as when memory runs out"
        case _:
            return "its output says why"

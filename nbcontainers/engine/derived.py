"""Images that no Dockerfile makes: of what a container changed, and of a root file system in an archive."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, cast

from ..build.amendments import amend
from ..build.history import instant
from ..errors import HostError, IntegrityError, NBContainersError, NotFound, reason
from ..events import Observer, Warned, ignore
from ..oci import platforms
from ..oci.descriptor import Platform
from ..oci.image import ContainerConfig, Healthcheck, History, Image, ImageConfig
from ..oci.reference import Reference
from ..oci.runtime import RuntimeSpec
from ..results import ContainerState
from ..runtime import state as states
from ..runtime.process import Runtime
from ..store import imports
from ..store.compression import Compression
from ..store.store import Store
from .asked import Asked

_PIECE = 1 << 20
_PATIENCE = 60.0  # seconds without a byte


def commit(
    store: Store,
    runtime: Runtime,
    folder: Path,
    state: ContainerState,
    spec: RuntimeSpec,
    reference: Reference | None,
    *,
    author: str,
    message: str,
    changes: Sequence[str],
    pause: bool,
    compression: Compression,
    on_event: Observer = ignore,
) -> Image:
    """Make an image of a container: that which it was made from, with one more layer of what it changed since."""
    with store.lease() as lease:
        lease.add(state.id)
        base = store.images.resolve(state.image_id)
        lease.add(base.descriptor.digest)
        config = amend(_config(base.config.config, state, spec, Asked.load(folder)), changes)
        with _still(runtime, folder, state, on_event) if pause else contextlib.nullcontext():
            layer = store.snapshots.commit(state.id, keep=True, compression=compression, on_event=on_event)
        now = instant(time.time())
        line = History(created=now, created_by=" ".join(spec.process.args), comment=message)
        written = ImageConfig(
            platform=base.config.platform,
            created=now,
            author=author,
            config=config,
            diff_ids=(*base.config.diff_ids, layer.diff_id),
            history=(*base.config.history, line),
        )
        image = store.images.create(written, (*base.layers, layer.descriptor))
        return store.images.tag(image, reference) if reference else image


def _config(image: ContainerConfig, state: ContainerState, spec: RuntimeSpec, asked: Asked) -> ContainerConfig:
    """What the container was made with, over what its image says."""
    check = asked.config.get("Healthcheck")
    args, command = spec.process.args, state.command
    entry = args[: len(args) - len(command)] if command and args[len(args) - len(command) :] == command else args
    return replace(
        image,
        healthcheck=Healthcheck.from_json(check) if check else image.healthcheck,
        user=state.user,
        exposed_ports=tuple(sorted(asked.config.get("ExposedPorts", image.exposed_ports) or ())),
        env=tuple(asked.config.get("Env", image.env)),
        entrypoint=image.entrypoint if entry == (image.entrypoint or ()) else entry,
        cmd=command or None,
        volumes=tuple(sorted(asked.config.get("Volumes", image.volumes) or ())),
        working_dir=spec.process.cwd if image.working_dir or spec.process.cwd != "/" else "",
        labels=dict(state.labels),
        stop_signal=spec.annotations.get("org.opencontainers.image.stopSignal", ""),
        args_escaped=False,  # Docker's containers do not have it, whatever their image says
    )


@contextlib.contextmanager
def _still(runtime: Runtime, folder: Path, state: ContainerState, on_event: Observer) -> Iterator[None]:
    """Keep a running container's processes from writing meanwhile; where that cannot be, say so."""
    if state.status != "running":
        yield
        return
    directories = states.load_extra(folder).get("cgroup_directories") or ()
    hierarchy = runtime.host.hierarchy
    try:
        hierarchy.freeze(state.id, directories=directories)
    except NotFound:  # it has ended meanwhile
        yield
        return
    except NBContainersError as error:
        on_event(Warned(message=f"the container goes on while it is committed: {error.message}", hint=error.hint))
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(NotFound):
            hierarchy.thaw(state.id, directories=directories)


def import_(
    store: Store,
    source: str | Path | IO[bytes],
    reference: Reference | None,
    *,
    changes: Sequence[str],
    message: str,
    platform: str,
    compression: Compression,
    on_event: Observer = ignore,
) -> Image:
    """Make an image of one layer from a root file system: of a tar in a file, a stream, or at an address."""
    config = amend(ContainerConfig(), changes)  # before anything is read
    target = platforms.parse(platform) if platform else Platform.host()
    made: set[str] = set()
    whole = False
    try:
        with store.lease() as lease, _opened(source) as (stream, called):
            layer, diff_id = imports.layer(store.content, stream, compression=compression, on_event=on_event)
            lease.add(layer.digest, diff_id)
            made |= {layer.digest, diff_id}
            now = instant(time.time())
            line = History(created=now, comment=message or f"Imported from {called}")
            written = ImageConfig(platform=target, created=now, config=config, diff_ids=(diff_id,), history=(line,))
            image = store.images.create(written, (layer,))
            made |= {image.descriptor.digest, image.id}
            store.snapshots.unpack(image, on_event)  # or it is no archive of files
            image = store.images.tag(image, reference) if reference else image
            whole = True
            return image
    finally:
        if not whole:
            with contextlib.suppress(IntegrityError):  # a damaged image elsewhere: what it shares cannot be told
                store.images.collect(only=made)


@contextlib.contextmanager
def _opened(source: str | Path | IO[bytes]) -> Iterator[tuple[IO[bytes], str]]:
    if isinstance(source, str) and source.startswith(("http://", "https://")):
        with _fetched(source) as stream:
            yield stream, source
    elif isinstance(source, str | Path):
        try:
            with Path(source).open("rb") as stream:
                yield stream, str(source)
        except (FileNotFoundError, IsADirectoryError) as error:
            raise NotFound(
                f"no archive at {source}: {error.strerror}",
                hint="name a tar file, an http address, or - for standard input",
            ) from None
    else:
        yield source, "-"


@contextlib.contextmanager
def _fetched(address: str) -> Iterator[IO[bytes]]:
    """What an address answers with, as a stream. The host's proxies and certificates are used."""
    import httpx

    try:
        with httpx.stream(
            "GET",
            address,
            follow_redirects=True,
            timeout=_PATIENCE,
            headers={"accept-encoding": "identity", "user-agent": "nbcontainers"},
        ) as answer:
            if answer.status_code != httpx.codes.OK:
                raise NotFound(
                    f"{address} answers {answer.status_code} {answer.reason_phrase}", hint="is the address right?"
                )
            yield cast("IO[bytes]", _Body(answer.iter_raw(_PIECE)))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise HostError(
            f"{address} cannot be fetched: {reason(error)}",
            hint="is the network there, and the address right?",
        ) from error


class _Body(io.RawIOBase):
    """Pieces as a stream."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count

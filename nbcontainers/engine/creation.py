"""A container is made: what docker's words and the image say becomes a specification, a state, a snapshot and a name."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace

from ..errors import NotFound
from ..linux import capabilities
from ..oci.image import ContainerConfig, Image
from ..oci.runtime import RuntimeSpec
from ..results import ContainerState
from ..runtime import defaults, namefiles
from ..runtime.host import Host
from ..runtime.process import Runtime
from ..store.store import Store
from . import options as words
from .container import Container
from .names import ContainerNames

STOP_SIGNAL = "org.opencontainers.image.stopSignal"  # OCI image spec, "Conversion to OCI Runtime Configuration"


def create(
    source: Image,
    called: str,
    command: Sequence[str],
    options: words.RunOptions,
    *,
    store: Store,
    names: ContainerNames,
    runtime: Runtime,
) -> Container:
    """Make a container of an image and leave it to be started; ``called`` is the image as the user named it."""
    identifier = secrets.token_hex(32)
    spec = specification(source, command, options, identifier, runtime.host)
    state = _state(source, called, command, options, identifier, runtime.host)
    container = Container(store, names, runtime, identifier)
    name = options.get("name") or ""
    if name and options.get("replace", False):
        with contextlib.suppress(NotFound):
            Container(store, names, runtime, names.find(name)).remove(force=True)
    folder = names.folder(identifier)
    try:
        with (
            store.lease() as lease
        ):  # the image is not collected while its container is made, nor what there is of that
            lease.add(source.descriptor.digest, identifier)
            folder.mkdir(mode=0o700)
            store.snapshots.unpack(source)
            store.snapshots.prepare(identifier, source.chain_ids)
            name = names.claim(identifier, name)
            own = namefiles.write(folder, spec.hostname, "none" if spec.namespace("network") else "host")
            given = {mount.destination for mount in spec.mounts}
            mounts = (*(mount for mount in own if mount.destination not in given), *spec.mounts)
            container.write(replace(spec, mounts=mounts), replace(state, name=name))
            return container
    except BaseException:  # all of it, or nothing
        store.snapshots.remove(identifier)
        shutil.rmtree(folder, ignore_errors=True)
        names.release(identifier, name)
        raise


def specification(
    source: Image, command: Sequence[str], options: words.RunOptions, identifier: str, host: Host
) -> RuntimeSpec:
    """What the kernel is to be asked for."""
    config = source.config.config
    no_new_privileges, filtered = words.security(options.get("security_opt", ()))
    spec = defaults.docker_spec(
        host=host,
        args=words.command(config, command, options.get("entrypoint")),
        env=_environment(config, options),
        cwd=options.get("workdir") or config.working_dir or "/",
        hostname=options.get("hostname") or identifier[:12],
        network=words.network(options.get("network") or "none"),
        capabilities=capabilities.adjust(capabilities.DOCKER, options.get("cap_add", ()), options.get("cap_drop", ())),
        resources=words.resources(options),
        mounts=(*map(words.bind, options.get("volumes", ())), *map(words.memory_folder, options.get("tmpfs", ()))),
        readonly_root=options.get("read_only", False),
        no_new_privileges=no_new_privileges,
    )
    annotations = {STOP_SIGNAL: config.stop_signal} if config.stop_signal else {}
    return replace(
        spec,
        seccomp=spec.seccomp if filtered else None,
        annotations=annotations,
        process=replace(spec.process, terminal=options.get("tty", False)),
    )


def _environment(config: ContainerConfig, options: words.RunOptions) -> tuple[str, ...]:
    """The variables; a program on a terminal is told of one that every image knows."""
    given = words.environment(config, options.get("env", ()))
    has_kind = not options.get("tty", False) or any(word.startswith("TERM=") for word in given)
    return given if has_kind else (*given, "TERM=xterm")


def _state(
    source: Image, called: str, command: Sequence[str], options: words.RunOptions, identifier: str, host: Host
) -> ContainerState:
    config = source.config.config
    return ContainerState(
        id=identifier,
        name="",
        image=called,
        image_id=str(source.id),
        command=tuple(command) or config.cmd or (),
        status="created",
        created=time.time(),
        tier=host.tier,
        user=options.get("user") or config.user,
        interactive=options.get("interactive", False),
        auto_remove=options.get("rm", False),
        labels=tuple(sorted({**config.labels, **words.pairs(options.get("labels", ()), "label")}.items())),
    )

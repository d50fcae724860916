"""A container is made: what docker's words and the image say becomes a specification, a state, a snapshot and a name."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace

from ..errors import HostError, NBContainersError, NotFound
from ..linux import capabilities
from ..oci.image import ContainerConfig, Image
from ..oci.runtime import RuntimeSpec
from ..results import ContainerState
from ..runtime import defaults, namefiles
from ..runtime.host import Host
from ..runtime.process import Runtime
from ..store.store import Store
from . import options as words
from . import policies
from .container import Container, signal_number
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
    init = (policies.init(),) if options.get("init", False) else ()
    no_new_privileges, filtered = words.security(options.get("security_opt", ()))
    spec = defaults.docker_spec(
        host=host,
        args=((policies.INIT, "--") if init else ()) + tuple(words.command(config, command, options.get("entrypoint"))),
        env=_environment(config, options),
        cwd=options.get("workdir") or config.working_dir or "/",
        hostname=options.get("hostname") or identifier[:12],
        network=words.network(options.get("network") or "none"),
        capabilities=capabilities.adjust(capabilities.DOCKER, options.get("cap_add", ()), options.get("cap_drop", ())),
        resources=words.resources(options),
        mounts=(
            *init,
            *map(words.bind, options.get("volumes", ())),
            *map(words.memory_folder, options.get("tmpfs", ())),
        ),
        readonly_root=options.get("read_only", False),
        no_new_privileges=no_new_privileges,
    )
    stop_signal = options.get("stop_signal") or config.stop_signal
    if stop_signal:
        signal_number(stop_signal)  # refused now, not when it is wanted
    annotations = {STOP_SIGNAL: stop_signal} if stop_signal else {}
    return replace(
        spec,
        seccomp=spec.seccomp if filtered else None,
        annotations=annotations,
        domainname=options.get("domainname") or "",
        process=replace(spec.process, terminal=options.get("tty", False)),
    )


def _environment(config: ContainerConfig, options: words.RunOptions) -> tuple[str, ...]:
    """The variables; a program on a terminal is told of one that every image knows."""
    asked = policies.merged(options.get("env_file", ()), options.get("env", ()), "variable")
    given = words.environment(config, asked)
    has_kind = not options.get("tty", False) or any(word.startswith("TERM=") for word in given)
    return given if has_kind else (*given, "TERM=xterm")


def _state(
    source: Image, called: str, command: Sequence[str], options: words.RunOptions, identifier: str, host: Host
) -> ContainerState:
    config = source.config.config
    labels = words.pairs(policies.merged(options.get("label_file", ()), options.get("labels", ()), "label"), "label")
    restart = policies.restart(options.get("restart") or "no")
    if restart[0] != "no" and options.get("rm", False):
        hint = "a container that is removed at its end cannot be started again"
        raise NBContainersError(f"both rm and restart {options.get('restart')!r}", hint=hint)
    groups = tuple(options.get("group_add", ()))
    if groups and host.identity.userns:
        raise HostError(
            f"further groups ({', '.join(groups)}) cannot be given on tier {host.tier}: its user namespace has one group only",
            tier=host.tier,
            hint="run as root, or leave --group-add out",
        )
    timeout = options.get("stop_timeout")
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
        labels=tuple(sorted({**config.labels, **labels}.items())),
        restart=restart,
        stop_timeout=None if timeout is None else float(timeout),
        check=policies.health(config, options),
        groups=groups,
        log_options=policies.logging(options.get("log_opt", ())),
    )

"""A container is made: what docker's words and the image say becomes a specification, a state, a snapshot and a name."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from ..errors import NBContainersError, NotFound
from ..oci.descriptor import Digest
from ..oci.image import ContainerConfig, Image
from ..oci.runtime import Mount, RuntimeSpec
from ..results import ContainerState
from ..runtime import defaults, launch, log, namefiles, record
from ..runtime.host import Host
from ..runtime.process import Runtime
from ..store.durable import saying_when_full
from ..store.stock import Kind
from ..store.store import Store
from . import (
    devices,
    imagemounts,
    limits,
    mounts,
    networking,
    networkwords,
    policies,
    profiles,
    requests,
    security,
    sharing,
    userns,
    viewed,
    volumes,
)
from . import options as words
from .asked import NAME as ASKED
from .asked import Asked
from .container import Container
from .kept import CONFIG
from .mounts import MountPoint
from .names import ContainerNames
from .networks import NetworkFiles

_FOLDER = Kind(
    "container",
    files=(
        *((f".{name}", 0o644) for name in (ASKED, CONFIG, record.NAME)),
        *((name, 0o644) for name in namefiles.NAMES),
        (log.NAME, 0o640),
    ),
)
Making = tuple[Container, networking.Networking, tuple[Digest, ...]]  # with its connection, and the layers below it
STOP_SIGNAL = "org.opencontainers.image.stopSignal"  # OCI image spec, "Conversion to OCI Runtime Configuration"


@contextlib.contextmanager
def making(
    source: Image,
    called: str,
    command: Sequence[str],
    options: words.RunOptions,
    *,
    attached: tuple[str, ...],
    store: Store,
    names: ContainerNames,
    runtime: Runtime,
    find: Callable[[str], Image],
) -> Iterator[Making]:
    """Make a container of an image, all but what ``Container.write`` writes; ``called`` is the image as the user named it, ``attached``
    the streams that its first client is to have, and ``find`` gives another that is to be mounted.

    Whoever makes it writes that, and then others know of it. An exception undoes all of it. What it is given with the container is
    written already.
    """
    identifier = runtime.new_id()
    host = runtime.host
    viewed.check(options, host)
    options = profiles.under(options, host, store.root)
    config = source.config
    requests.check_platform(options, config.platform)
    modes = sharing.read(options, names.find, host)
    if modes.userns.is_own:
        userns.require(store.root, modes.userns.word, host)
    elif modes.userns.user and not options.get("user"):
        options = {**options, "user": modes.userns.user}
    connection = networkwords.read(
        options, config.config.exposed_ports, files=NetworkFiles(store.root), names=names, host=host
    )
    points, images = imagemounts.found(
        volumes.combined(
            mounts.asked(options, config.config.volumes),
            volumes.inherited(options.get("volumes_from", ()), lambda word: names.folder(names.find(word))),
        ),
        find,
    )
    userns.check(points, modes.userns, host)
    env, own_env, unset = _environment(config.config, options)
    missing = (
        *security.missing(options, host, modes.userns.identity(host)),
        *profiles.missing(options, host, store.root),
        *viewed.missing(options, host),
    )
    asked = Asked(
        mounts=points,
        host_config=requests.host_config(options, modes) | {"NetworkMode": networking.first(connection)},
        config=requests.config(options, config.config) | {"Env": own_env},
        log=policies.described(options.get("log_opt", ())),
        missing=missing,
    )
    asked_name = options.get("hostname") or ""
    if connection.other and not asked_name:
        hostname = sharing.hostname_of(Container(store, names, runtime, connection.other).spec, connection.other)
    else:
        hostname = sharing.hostname(asked_name, identifier, of_host=connection.mode == "host")
    variables = _with_defaults(env, unset, hostname, tty=options.get("tty", False))
    # They lie on a disk of the host: who cannot write to his root cannot write to them, as in Docker.
    files = namefiles.mounts(names.folder(connection.other or identifier), read_only=options.get("read_only", False))
    if modes.userns.is_own:
        files = userns.mapped(files)
    spec = specification(
        source, command, variables, hostname, options, identifier, host, modes, connection, points, files
    )
    if options.get("strict"):
        found = (
            *missing,
            *launch.not_enforced(spec, host),
            *networking.not_enforced(connection, NetworkFiles(store.root)),
            *networkwords.lacking(options, connection, host),
            *(host.notes()[:1] if host.is_viewed else ()),  # nobody is strict who does without a boundary
        )
        if found:
            raise launch.refusal(found, host)
        spec = replace(spec, annotations={**spec.annotations, launch.STRICT: "true"})
    stated = _state(source, called, command, options, identifier, host, missing, attached=attached)
    container = Container(store, names, runtime, identifier)
    name = options.get("name") or ""
    if name and options.get("replace", False):
        with contextlib.suppress(NotFound):
            Container(store, names, runtime, names.find(name)).remove(force=True)
    folder = names.folder(identifier)
    try:
        # The image is not collected while its container is made, nor one that it mounts, nor what there is of that.
        held = (source.descriptor.digest, identifier, *source.chain_ids, *imagemounts.needed(images))
        with store.lease(*held), saying_when_full(folder):
            if connection.other:  # whose files of names it has
                folder.mkdir(mode=0o700)
            else:
                store.stock.take(_FOLDER, str(folder))
            if modes.userns.is_own:
                spec = userns.claim(spec, modes.userns, store.root, identifier, names)
            for image in (source, *images):
                store.snapshots.unpack(image)
            rootfs = store.snapshots.prepare(identifier, source.chain_ids)
            name = names.claim(identifier, name)
            if connection != networking.NONE:
                connection.save(folder)
            if not connection.other:
                known = connection.mode == "host" and not asked_name  # its hosts file is the host's
                namefiles.write(folder, "" if known else hostname, connection.kind, connection.names)
            if points:
                with store.volumes.shared():
                    users = volumes.provide(store, identifier, points, rootfs, is_mapped=modes.userns.is_own)
                    asked.save(folder)  # by this others know that it has them
                spec = replace(spec, mounts=_with_users(spec.mounts, files, users))
            container.asked, container.spec = asked, spec
            container.last_state = stated(name=name)
            yield container, connection, source.chain_ids
    except BaseException:  # all of it, or nothing
        store.snapshots.remove(identifier)
        userns.release(store.root, identifier)
        store.rubbish.take(str(folder))
        names.release(identifier, name)
        volumes.forget(store, names, points)
        raise


def specification(
    source: Image,
    command: Sequence[str],
    env: Sequence[str],
    hostname: str,
    options: words.RunOptions,
    identifier: str,
    host: Host,
    modes: sharing.Modes,
    connection: networking.Networking,
    points: Sequence[MountPoint],
    files: Sequence[Mount],
) -> RuntimeSpec:
    """What the kernel is to be asked for, but for the mounts that the user wants, at ``points``; the last are ``files``, if those
    do not take their places.
    """
    config = source.config.config
    # Like Docker not where process 1 is another container's or the host's: it could not be it, and no orphan would come to it. Without
    # namespaces the parent of each command adopts its orphans.
    init = (policies.init(),) if options.get("init", False) and not modes.pid and not host.is_viewed else ()
    identity = modes.userns.identity(host)
    given = devices.give(
        options.get("device", ()), options.get("device_cgroup_rule", ()), bound=identity.userns or host.is_viewed
    )
    resources = limits.resources(options)
    secured = security.read(options.get("security_opt", ()))
    covered = {point.destination for point in points}
    added = (*(mount for mount in init if mount.destination not in covered), *given.binds)
    taken = covered.union(mount.destination for mount in added)
    annotations = words.pairs(options.get("annotation", ()), "annotation") | limits.bounds(options)
    stop_signal = options.get("stop_signal") or config.stop_signal
    if stop_signal:
        words.signal_number(stop_signal)  # refused now, not when it is wanted
        annotations[STOP_SIGNAL] = stop_signal
    spec = defaults.docker_spec(
        host=host,
        args=((policies.INIT, "--") if init else ()) + tuple(words.command(config, command, options.get("entrypoint"))),
        env=env,
        cwd=words.workdir(options.get("workdir") or "") or config.working_dir or "/",
        hostname=hostname,
        domainname=options.get("domainname") or "",
        network=connection.kind,
        capabilities=security.held(options),
        resources=replace(resources, devices=given.rules) if given.rules else resources,
        mounts=(*added, *(mount for mount in files if mount.destination not in taken)),
        covered=covered,
        devices=given.devices,
        readonly_root=options.get("read_only", False),
        rlimits=limits.rlimits(options.get("ulimit", ())),
        oom_score_adj=limits.oom_score(options.get("oom_score_adj")),
        shm_size=words.size(options.get("shm_size") or 0) or defaults.SHM_SIZE,
        cgroups_path=f"{options['cgroup_parent']}/{identifier}" if options.get("cgroup_parent") else "",
        identity=identity,
        annotations=annotations,
        terminal=options.get("tty", False),
        no_new_privileges=secured.no_new_privileges,
        apparmor_profile=secured.apparmor,
    )
    return profiles.apply(security.apply(sharing.apply(spec, modes), secured, options), options, host)


def _with_users(mounts: Sequence[Mount], files: Sequence[Mount], users: Sequence[Mount]) -> tuple[Mount, ...]:
    """The mounts, with those that the user wants among ``files``: outer ones first."""
    outer_first = sorted((*filter(files.__contains__, mounts), *users), key=lambda mount: mount.destination.count("/"))
    return (*(mount for mount in mounts if mount not in files), *outer_first)


def _environment(config: ContainerConfig, options: words.RunOptions) -> tuple[list[str], list[str], set[str]]:
    """(the variables, those of the image and those that were asked for alone, the names that are to have no value)."""
    asked = policies.merged(options.get("env_file", ()), options.get("env", ()), "variable")
    whole = list(words.environment(config, asked))
    given = {*words.pairs(config.env, "variable"), *words.variables(asked)}
    return whole, [word for word in whole if word.partition("=")[0] in given], words.unset(asked)


def _with_defaults(env: Sequence[str], unset: set[str], hostname: str, *, tty: bool) -> tuple[str, ...]:
    """With those that every container has, in Docker's order; on a terminal a kind of it that every image knows."""
    names = unset | {word.partition("=")[0] for word in env}
    given = {"HOSTNAME": hostname, **({"TERM": "xterm"} if tty else {})}
    return (*env[:1], *(f"{name}={value}" for name, value in given.items() if name not in names), *env[1:])


def _state(
    source: Image,
    called: str,
    command: Sequence[str],
    options: words.RunOptions,
    identifier: str,
    host: Host,
    missing: tuple[str, ...],
    *,
    attached: tuple[str, ...],
) -> partial[ContainerState]:
    """The state that it begins with, but for its name, which is claimed once nothing else is wrong."""
    config = source.config.config
    labels = words.pairs(policies.merged(options.get("label_file", ()), options.get("labels", ()), "label"), "label")
    restart = policies.restart(options.get("restart") or "no")
    if restart[0] != "no" and options.get("rm", False):
        hint = "a container that is removed at its end cannot be started again"
        raise NBContainersError(f"both rm and restart {options.get('restart')!r}", hint=hint)
    timeout, entrypoint = options.get("stop_timeout"), options.get("entrypoint")
    return partial(
        ContainerState,
        id=identifier,
        image=called,
        image_id=str(source.id),
        entrypoint=(config.entrypoint or ()) if entrypoint is None else tuple(filter(None, (entrypoint,))),
        command=tuple(command) or (config.cmd if entrypoint is None else None) or (),
        status="created",
        created=time.time(),
        tier=host.tier,
        not_enforced=missing,
        lacks=host.notes(),
        user=options.get("user") or config.user,
        interactive=options.get("interactive", False),
        attached=attached,
        auto_remove=options.get("rm", False),
        labels=tuple(sorted({**config.labels, **labels}.items())),
        restart=restart,
        stop_timeout=None if timeout is None else float(timeout),
        check=policies.health(config, options),
        log_options=policies.logging(options.get("log_opt", ())),
    )

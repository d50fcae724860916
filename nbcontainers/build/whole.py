"""A build from its Dockerfile to the image: planned, solved, and written. It is not tagged here."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from ..errors import NBContainersError, NotFound
from ..events import Observer, ignore
from ..oci import image as oci
from ..oci.descriptor import Platform
from ..results import BuildResult
from ..runtime.host import Host
from ..runtime.process import Runtime
from ..store.store import Store
from . import interrupts
from .context import Context
from .earlier import Earlier
from .execute import Executor, Settings
from .inputs import Sources
from .plan import Plan, plan
from .records import Records
from .runs import Network
from .sharing import Sharing
from .solver import Solver
from .source import did_you_mean
from .steps import Configure

TOOLBOX = ("toolbox", "toolbox:latest")


def build(
    dockerfile: str,
    *,
    store: Store,
    runtime: Runtime,
    host: Host,
    resolve_toolbox: Callable[[], oci.Image],
    find: Callable[[str], oci.Image] | None = None,
    contexts: Mapping[str, Context] | None = None,
    aliases: Mapping[str, str] | None = None,
    arguments: Mapping[str, str] | None = None,
    target: str = "",
    platform: Platform | None = None,
    network: Network = "default",
    labels: Mapping[str, str] | None = None,
    hosts: Sequence[str] = (),
    settings: Settings | None = None,
    no_cache: bool = False,
    no_cache_stages: Collection[str] = (),
    called: Sequence[str] = (),
    epoch: int | None = None,
    sharing: Sharing | None = None,
    on_event: Observer = ignore,
) -> BuildResult:
    """Build a Dockerfile's image, or that of one of its stages; the caller tags it, and holds a lease until then.

    Args:
        dockerfile: its text.
        resolve_toolbox: makes the offline base where the store has no ``toolbox`` and a FROM asks for it.
        find: gives the other images; without it those of the store.
        contexts: where files are taken from, by name; "" is the build's own context.
        aliases: names of contexts that are images, each with its image.
        arguments: build arguments by name.
        target: the stage to build, by name or number; the last one when empty.
        platform: what is built for; this host's when None.
        network: what RUN has where it says nothing.
        labels: labels of the image beside the Dockerfile's.
        hosts: lines for the /etc/hosts of commands.
        settings: what else is said of all commands.
        no_cache: make every layer anew.
        no_cache_stages: make every layer of these stages anew.
        called: what tells this Dockerfile's builds from those of others: its file, the image's names.
        epoch: SOURCE_DATE_EPOCH, seconds: every new file and line of the history gets this time; a build argument of that
            name counts where it is None.
        sharing: what comes from caches elsewhere, and gathers what may go there.
        on_event: told of each step as it begins and ends, and of what it prints. It runs in the caller's thread; what it
            raises ends the build.

    Raises:
        DockerfileError: the Dockerfile, or what it takes from the context, is not as it should be; with the lines.
        BuildError: a command failed; with the end of its output.
        NotFound: there is no such target, or no such stage.

    Layers that were made before an error stay in the cache; nothing else of the build is left.
    """
    begun = time.monotonic()
    epoch = _epoch(arguments or {}) if epoch is None else epoch

    def resolve(name: str) -> oci.Image:
        if name not in TOOLBOX:
            return find(name) if find else store.images.resolve(name)
        try:
            return store.images.resolve(TOOLBOX[0])
        except NotFound:
            return resolve_toolbox()

    settings = settings or Settings()
    with interrupts.one(), _tidied(store):
        opened = contexts or {}
        made = plan(
            dockerfile,
            resolve=resolve,
            arguments=arguments,
            target=target,
            platform=platform,
            epoch=epoch,
            network=network,
            labels=labels,
            hosts=tuple(hosts),
            folders=frozenset(opened) - {""},
            aliases=aliases,
            ignore=opened[""].ignore if "" in opened else None,
            insecure=settings.insecure is not None,
            shm_size=settings.shm_size,
            limits=settings.rlimits,
        )
        for warning in made.warnings:
            on_event(warning)
        unused = _stages(made, no_cache_stages)
        records = Records(store)
        total = [(node.stage, node.title) for node in made.nodes if not isinstance(node.step, Configure)]
        earlier = Earlier(store.root, tuple(called), tuple(total))
        executor = Executor(store, runtime, host, settings)
        with contextlib.closing(executor), contextlib.closing(Sources(store, opened)) as sources:
            uncached = frozenset(node.stage for node in made.nodes) if no_cache else unused
            solver = Solver(
                made,
                store,
                records,
                executor,
                sources,
                earlier,
                on_event,
                uncached=uncached,
                sharing=sharing or Sharing(),
            )
            try:
                solver.solve()
            finally:
                solver.land()
                earlier.ended()
                store.worker.rest()
            image = solver.image(epoch)
    return BuildResult(
        image=image,
        steps=tuple(solver.steps[index] for index in sorted(solver.steps)),
        warnings=tuple(warning.message for warning in made.warnings),
        seconds=time.monotonic() - begun,
    )


@contextlib.contextmanager
def _tidied(store: Store) -> Iterator[None]:
    """Whatever ends a build early leaves nothing half made."""
    try:
        yield
    except BaseException:
        store.tidy()
        raise


def _stages(made: Plan, words: Collection[str]) -> frozenset[str]:
    """The stages that ``--no-cache-filter`` names, in whatever case, as nodes have their names."""
    known = {name.lower(): name for name in made.stages}
    for word in words:
        if word.lower() not in known:
            raise NotFound(f"there is no stage {word!r} to do without the cache", hint=did_you_mean(word, made.stages))
    return frozenset(known[word.lower()] for word in words)


def _epoch(arguments: Mapping[str, str]) -> int | None:
    given = arguments.get("SOURCE_DATE_EPOCH", "")
    if not given:
        return None
    if not (given.isascii() and given.isdecimal()):
        raise NBContainersError(f"SOURCE_DATE_EPOCH is {given!r}", hint="it is a number of seconds since 1970")
    return int(given)

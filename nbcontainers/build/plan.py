"""A Dockerfile becomes a graph of steps: all that can be known before anything is executed, and every error that can be seen."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from ..errors import DockerfileError
from ..events import Warned
from ..oci.descriptor import Platform
from ..oci.image import ImageConfig
from ..oci.runtime import Rlimit
from . import grammar, lint, parser
from . import instructions as ins
from .ignore import Ignore
from .lint import Finding, Linter
from .planner import Planner
from .runs import Network, Surroundings
from .scope import Arguments, Scope
from .stages import Resolve, find, needed, platform_arguments, split
from .steps import Node

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
_CHECK = "BUILDKIT_DOCKERFILE_CHECK"
# Build arguments that mean something to the builder itself.
_HOSTNAME = "BUILDKIT_SANDBOX_HOSTNAME"
_SILENT = ("SOURCE_DATE_EPOCH", _CHECK, "BUILDKIT_INLINE_CACHE", "BUILDKIT_SYNTAX", _HOSTNAME)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The steps in an order in which each can be executed. ``target`` is the last node of the stage to build.

    ``config`` is the image's configuration; its layers and its own history are added when they are made. ``stages`` are the names of
    all stages, needed or not.
    """

    nodes: tuple[Node, ...]
    target: int
    config: ImageConfig
    warnings: tuple[Warned, ...]
    findings: tuple[Finding, ...] = ()
    stages: tuple[str, ...] = ()

    def line(self, index: int) -> tuple[int, ...]:
        """The nodes from the Source up to one, each the parent of the next."""
        found: list[int] = []
        left: int | None = index
        while left is not None:
            found.append(left)
            left = self.nodes[left].parent
        return tuple(reversed(found))


def plan(
    text: str,
    *,
    resolve: Resolve,
    arguments: Mapping[str, str] | None = None,
    target: str = "",
    platform: Platform | None = None,
    epoch: int | None = None,
    network: Network = "default",
    labels: Mapping[str, str] | None = None,
    hosts: tuple[str, ...] = (),
    folders: Collection[str] = (),
    aliases: Mapping[str, str] | None = None,
    ignore: Ignore | None = None,
    everything: bool = False,
    insecure: bool = False,
    shm_size: int = 0,
    limits: tuple[Rlimit, ...] = (),
) -> Plan:
    """Plan the build of a Dockerfile.

    Args:
        text: the Dockerfile.
        resolve: finds an image by the name in a FROM or --from (not ``scratch``); raises NotFound.
        arguments: build arguments by name.
        target: the stage to build, by name or number; the last one when empty.
        platform: what is built for; this host's when None.
        epoch: SOURCE_DATE_EPOCH, the time that new files get.
        network: what RUN has where it says nothing.
        hosts: lines for the /etc/hosts of commands.
        labels: labels of the image beside the Dockerfile's.
        folders: names of contexts that are folders: stages and images of such a name are that folder.
        aliases: names of contexts that are images, each with its image.
        ignore: what the build's own context leaves out.
        everything: plan all stages, also those that the target does not need, and let no check be an error.
        insecure: RUN --security=insecure is allowed.
        shm_size: the bytes of /dev/shm of commands, 0 for the usual.
        limits: limits of resources of commands.

    Raises:
        DockerfileError: with the lines at fault.
        NotFound: there is no such target.

    """
    syntax = parser.parse(text)
    read = grammar.read(syntax)
    before, stages = split(read)
    host = Platform.host()
    platform = platform or host
    given = dict(arguments or {})
    chosen = find(stages, target)
    known = Arguments(
        given, _overridden(platform_arguments(host, platform, target or chosen.begin.stage or "default"), given)
    )
    linter = Linter.configured(syntax, given.get(_CHECK, ""))
    lint.check_text(linter, text, syntax, read)
    defaults = Arguments({}, dict(known.everywhere))
    _before(before, known, syntax.escape)
    with contextlib.suppress(DockerfileError):  # a default that names an argument that has to be given
        _before(before, defaults, syntax.escape)
    begins = [stage.begin for stage in stages]
    lint.check_from(linter, begins, _declared(before, known.everywhere), defaults.everywhere, syntax.escape)
    order = needed(
        stages,
        stages if everything else [chosen],
        arguments=known,
        escape=syntax.escape,
        platform=platform,
        resolve=resolve,
        folders=folders,
        aliases=aliases,
    )
    around = Surroundings(
        network=network,
        hosts=hosts,
        proxies=_proxies(given),
        epoch=epoch,
        insecure=insecure,
        hostname=given.get(_HOSTNAME, ""),
        shm_size=shm_size,
        limits=limits,
    )
    planner = Planner(known, syntax.escape, platform, linter, ignore or Ignore(), around)
    for stage in order:
        planner.stage(stage)
    scope = planner.scopes[chosen.index]
    base = planner.bases[chosen.index]
    if not everything:
        linter.settle()
    warnings = [
        Warned(message=one.message, hint=one.hint, line=one.range.line, rule=one.rule)
        for one in sorted(linter.found, key=lambda finding: finding.range.line)
    ]
    warnings += planner.warnings
    unused = sorted(set(given) - known.used - {name for proxy in PROXIES for name in (proxy, proxy.lower())})
    unused = [name for name in unused if name not in _SILENT]
    if unused:
        message = f"no ARG takes the build argument{'s' * (len(unused) > 1)} {', '.join(unused)}"
        warnings.append(Warned(message=message, hint="an ARG with that name has to stand in the Dockerfile"))
    return Plan(
        nodes=tuple(planner.nodes),
        target=planner.ends[chosen.index],
        config=ImageConfig(
            platform=base.platform if base else platform,
            author=scope.author,
            config=replace(scope.config, labels={**scope.config.labels, **(labels or {})}),
            diff_ids=(),
            history=base.history if base else (),
        ),
        warnings=tuple(warnings),
        findings=tuple(sorted(linter.found, key=lambda finding: (finding.range.line, finding.rule))),
        stages=tuple(stage.name for stage in stages),
    )


def _overridden(values: dict[str, str], given: Mapping[str, str]) -> dict[str, str]:
    return {name: given.get(name, value) for name, value in values.items()}


def _declared(before: list[ins.Arg], values: Mapping[str, str]) -> dict[str, str]:
    """The arguments that FROM can name, with a value or not."""
    return {**{name: "" for one in before for name, _ in one.pairs}, **values}


def _before(before: list[ins.Arg], known: Arguments, escape: str) -> None:
    """Arguments before the first FROM: each sees those above it, and none is part of any stage."""
    from ..oci.image import ContainerConfig

    scope = Scope(ContainerConfig(), "", escape, known, env=known.everywhere)
    for instruction in before:
        for name, default in instruction.pairs:
            scope.argument(name, default, instruction.range)


def _proxies(given: Mapping[str, str]) -> tuple[str, ...]:
    found = {name.upper(): value for name, value in sorted(given.items()) if name.upper() in PROXIES}
    return tuple(f"{spelt}={value}" for name, value in found.items() if value for spelt in (name, name.lower()))

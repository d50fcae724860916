"""A Dockerfile becomes a graph of steps: all that can be known before anything is executed, and every error that can be seen."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from ..events import Warned
from ..oci.descriptor import Platform
from ..oci.image import ImageConfig
from ..store import modes
from . import grammar, lint, mounts, parser, transfers
from . import instructions as ins
from .context import clean
from .ignore import Ignore
from .lint import Finding, Linter
from .mounts import RunMount
from .parser import Heredoc, heredoc_name
from .scope import Arguments, Scope
from .source import Range, wrong
from .stages import UNKNOWN, Resolve, Stage, find, needed, platform_arguments, split
from .steps import Configure, Copy, Node, Run, Source, Step

Network = Literal["default", "host", "none"]
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
_NUMBERS = re.compile(r"\d+(:\d+)?")
_PIPES = "/dev/pipes/"
_CHECK = "BUILDKIT_DOCKERFILE_CHECK"
# Build arguments that mean something to the builder itself.
_SILENT = ("SOURCE_DATE_EPOCH", _CHECK, "BUILDKIT_INLINE_CACHE", "BUILDKIT_SYNTAX")


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
    _before(before, defaults, syntax.escape)
    _before(before, known, syntax.escape)
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
    planner = _Planner(
        known, syntax.escape, platform, epoch, _proxies(given), network, hosts, linter, ignore or Ignore(), insecure
    )
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
    return tuple(f"{spelt}={value}" for name, value in found.items() for spelt in (name, name.lower()))


class _Planner:
    """The nodes so far, and where each stage ends."""

    def __init__(
        self,
        arguments: Arguments,
        escape: str,
        platform: Platform,
        epoch: int | None,
        proxies: tuple[str, ...],
        network: Network,
        hosts: tuple[str, ...],
        linter: Linter,
        ignore: Ignore,
        insecure: bool,
    ) -> None:
        self.arguments = arguments
        self.escape = escape
        self.platform = platform
        self.epoch = epoch
        self.proxies = proxies
        self.network = network
        self.hosts = hosts
        self.linter = linter
        self.ignore = ignore
        self.insecure = insecure
        self.nodes: list[Node] = []
        self.ends: dict[int, int] = {}
        self.scopes: dict[int, Scope] = {}
        self.bases: dict[int, ImageConfig | None] = {}

    def add(self, stage: str, written: ins.Instruction, step: Step, created_by: str, **links: int | None) -> int:
        self.nodes.append(
            Node(
                step=step,
                parent=links.get("parent"),
                origin=links.get("origin"),
                title=written.title,
                lines=written.range.lines,
                stage=stage,
                created_by=created_by,
            )
        )
        return len(self.nodes) - 1

    def stage(self, stage: Stage) -> None:
        self.check_platform_word(stage)
        if stage.base is not None:
            scope, end, base = self.scopes[stage.base].child(), self.ends[stage.base], self.bases[stage.base]
        else:
            scope, end, base = self.begin(stage)
        for instruction in stage.body:
            end = self.instruction(stage, scope, instruction, end)
        if not scope.is_unknown:
            for name, place in dict.fromkeys(scope.unset):
                lint.undefined(self.linter, name, scope.env, place)
        self.scopes[stage.index], self.ends[stage.index], self.bases[stage.index] = scope, end, base

    def check_platform_word(self, stage: Stage) -> None:
        """FROM --platform: what is needless, and what binds a Dockerfile to one platform."""
        word, place = stage.begin.platform, stage.begin.range
        if word in ("$TARGETPLATFORM", "${TARGETPLATFORM}"):
            self.linter.report("RedundantTargetPlatform", f"--platform={word} is the default", place)
        elif word and "$" not in word and stage.platform:
            name = stage.begin.stage
            if not (name and (stage.platform.os in name or stage.platform.architecture in name)):
                self.linter.report("FromPlatformFlagConstDisallowed", f"--platform={word} is always the same", place)

    def begin(self, stage: Stage) -> tuple[Scope, int, ImageConfig | None]:
        image = stage.image
        end = self.add(stage.name, stage.begin, Source(image=image), "")
        if image is None:
            from ..oci.image import ContainerConfig

            if stage.folder is not None:
                end = self.add(stage.name, stage.begin, _folder(stage.folder, self.epoch), "", parent=end)
            scope = Scope.begin(ContainerConfig(working_dir="/"), "", self.escape, self.arguments)
            return scope, end, None
        theirs, wanted = image.config.platform, stage.platform or self.platform
        if (theirs.os, theirs.architecture) != (wanted.os, wanted.architecture):
            message = f"{stage.begin.image} is an image for {theirs}, and {wanted} is built for"
            self.linter.report("InvalidBaseImagePlatform", message, stage.begin.range)
        scope = Scope.begin(image.config.config, image.config.author, self.escape, self.arguments)
        scope.is_unknown = image is UNKNOWN
        return scope, end, image.config

    def instruction(self, stage: Stage, scope: Scope, instruction: ins.Instruction, end: int) -> int:
        name = stage.name
        match instruction:
            case ins.Run():
                self.check_platform(stage, instruction)
                command, line = self.run(stage, scope, instruction)
                return self.add(name, instruction, command, line, parent=end)
            case ins.Workdir():
                self.check_workdir(scope, instruction)
                written = scope.workdir(scope.word(instruction.path, instruction.range))
                if written == "/":
                    return self.add(name, instruction, Configure(), "WORKDIR /", parent=end)
                path, user = scope.directory, scope.config.user
                folder = Copy(sources=(), documents=(), destination=path, owner=user, mode="", epoch=self.epoch)
                return self.add(name, instruction, folder, f"WORKDIR {written}", parent=end)
            case ins.Copy() | ins.Add():
                step, line = self.copy(scope, instruction)
                origin = None
                if isinstance(instruction, ins.Copy) and instruction.origin:
                    origin, context = self.origin(stage, instruction.origin, instruction)
                    step = step if context is None else replace(step, context=context)
                return self.add(name, instruction, step, line, parent=end, origin=origin)
            case ins.From():
                raise AssertionError("a FROM begins a stage and is never inside one")
            case _:
                self.check(scope, instruction)
                line = scope.apply(instruction)
                return self.add(name, instruction, Configure(), line, parent=end)

    def check_workdir(self, scope: Scope, instruction: ins.Workdir) -> None:
        """The first WORKDIR of a line of stages counts from what the base image happens to have."""
        if not scope.has_workdir and not scope.word(instruction.path, instruction.range).startswith("/"):
            message = f"WORKDIR {instruction.path} counts from the base image's working directory"
            self.linter.report("WorkdirRelativePath", message, instruction.range)
        scope.has_workdir = True

    def check(self, scope: Scope, instruction: ins.Instruction) -> None:
        """Report what is dubious in an instruction that changes the configuration."""
        place = instruction.range
        match instruction:
            case ins.Env(pairs=pairs):
                lint.secrets(self.linter, "ENV", (name for name, _ in pairs), place)
            case ins.Arg(pairs=defaults):
                lint.secrets(self.linter, "ARG", (name for name, _ in defaults), place)
            case ins.Cmd(command=command) | ins.Entrypoint(command=command):
                if command.shell and not scope.config.shell:
                    keyword = instruction.text.split()[0].upper()
                    self.linter.report("JSONArgsRecommended", f"{keyword} is given to a shell", place)

    def origin(self, stage: Stage, name: str, at: ins.Instruction) -> tuple[int | None, str | None]:
        """What a name stands for beside a stage: the node whose tree it is, or the name of a context that is a folder."""
        if name in stage.takes:
            return self.ends[stage.takes[name]], None
        image = stage.images[name]
        if isinstance(image, str):
            return None, image
        for index, node in enumerate(self.nodes):
            if isinstance(node.step, Source) and node.step.image == image:
                return index, None
        source = ins.From(text=f"FROM {name}", range=at.range, image=name, stage="", platform="")
        return self.add(name, source, Source(image=image), ""), None

    def check_platform(self, stage: Stage, instruction: ins.Instruction) -> None:
        """Nothing here can execute another platform's programs."""
        host, wanted = Platform.host(), stage.platform or self.platform
        if (wanted.os, wanted.architecture) != (host.os, host.architecture):
            raise wrong(
                f"RUN in a stage for {wanted}, and this host is {host}",
                instruction.range,
                hint=f"programs of another platform need an emulator: build on {wanted}, or copy from a stage for {host}",
            )

    def mounts(self, stage: Stage, scope: Scope, instruction: ins.Run) -> Iterator[RunMount]:
        """What a command sees while it runs, with the origins of binds and caches."""
        for flag in instruction.flags:
            if flag.name != "mount":
                continue
            found = mounts.read(flag, partial(scope.word, place=flag.range), scope.directory)
            name = mounts.origin_of(flag)
            if found.type not in ("bind", "cache"):
                yield found
            elif name:
                origin, context = self.origin(stage, name, instruction)
                yield replace(found, origin=origin, context=context)
            else:
                yield replace(found, context="" if found.type == "bind" else None)

    def run(self, stage: Stage, scope: Scope, instruction: ins.Run) -> tuple[Run, str]:
        network: Network = self.network
        for flag in instruction.flags:
            match flag.name, flag.value:
                case "network", "default":
                    pass
                case "network", "none" | "host":
                    network = "none" if flag.value == "none" else "host"
                case "network", _:
                    raise wrong(f"RUN has --network={flag.value}", flag.range, hint="known are default, host and none")
                case "security", "insecure" if not self.insecure:
                    raise wrong(
                        "RUN has --security=insecure, which is not allowed",
                        flag.range,
                        hint="--allow security.insecure lends the command every capability and device: see who wrote it",
                    )
                case "security", value if value not in ("sandbox", "insecure"):
                    raise wrong(f"RUN has --security={value}", flag.range, hint="known are sandbox and insecure")
                case "device", _:
                    raise wrong(
                        "RUN has --device, and this engine knows no CDI devices",
                        flag.range,
                        hint="leave it out: the command sees only the usual devices",
                    )
        words, document = instruction.command.words, None
        if instruction.heredocs:
            words, document = _script(words[0], instruction.heredocs)
        if instruction.command.shell and document is None:
            words = (*scope.shell, *words)
        elif document is not None:
            words = (*scope.shell, _PIPES + document[0])
        step = Run(
            args=words,
            env=tuple(f"{key}={value}" for key, value in scope.env.items()),
            user=scope.config.user,
            workdir=scope.directory,
            network=network,
            document=document,
            proxies=self.proxies,
            mounts=tuple(self.mounts(stage, scope, instruction)),
            hosts=self.hosts,
            epoch=self.epoch,
            arguments=tuple(scope.declared),
            insecure=any((flag.name, flag.value) == ("security", "insecure") for flag in instruction.flags),
        )
        return step, scope.run_history(words)

    def copy(self, scope: Scope, written: ins.Copy | ins.Add) -> tuple[Copy, str]:
        place, keyword = written.range, "ADD" if isinstance(written, ins.Add) else "COPY"
        sources = [scope.word(source, place) for source in written.sources]
        destination = scope.word(written.destination, place)
        owner, mode = scope.word(written.owner, place), scope.word(written.mode, place)
        if mode:
            _check_mode(mode, keyword, place)
        documents = tuple(
            (one.name, scope.expansion(one.text, place, quotes=False).text if one.expand else one.text)
            for one in written.documents
        )
        switches = {flag.name: flag.value == "true" for flag in written.flags}
        parents = switches.get("parents", False)
        files, addresses = transfers.split(sources, written, scope)
        if not (isinstance(written, ins.Copy) and written.origin):
            lint.ignored(self.linter, keyword, map(clean, files), self.ignore, place)
        step = Copy(
            sources=tuple(files) if parents else tuple(map(clean, files)),
            documents=documents,
            destination=_destination(scope.directory, destination),
            owner=owner,
            mode=mode,
            remotes=tuple(addresses),
            unpack=switches.get("unpack", keyword == "ADD"),
            unpack_remotes=switches.get("unpack", False),
            parents=parents,
            exclude=tuple(scope.word(pattern, place) for pattern in written.exclude),
            # A name is looked up in the tree below, so that with one the layer is not the same on all.
            link=switches.get("link", False) and (not owner or _NUMBERS.fullmatch(owner) is not None),
            epoch=self.epoch,
        )
        words = [keyword]
        words += ["--parents"] if parents else []
        words += [f"--chown={owner}"] if owner else []
        words += [f"--chmod={mode}"] if mode else []
        words += [*sources, *(f"<<{name}" for name, _ in documents), destination, "# buildkit"]
        return step, " ".join(words)


def _folder(name: str, epoch: int | None) -> Copy:
    """All that a named context has, as a tree to begin with."""
    return Copy(sources=("",), documents=(), destination="/", owner="", mode="", context=name, epoch=epoch)


def _script(word: str, heredocs: tuple[Heredoc, ...]) -> tuple[tuple[str, ...], tuple[str, str] | None]:
    """What the shell gets of a RUN with heredocs: the document itself where there is nothing else, else all as written.

    A document that begins with ``#!`` is a program of its own.
    """
    if heredoc_name(word) is None:
        parts = [word, *(f"{one.content}{one.name}" for one in heredocs)]
        return ("\n".join(parts),), None
    # BuildKit looks for "#!" before the tabs of <<- are gone: behind one it is no program, but a shell's comment.
    program, text = heredocs[0].content.startswith("#!"), heredocs[0].text
    return ((), (heredocs[0].name, text)) if program else ((text,), None)


def _destination(directory: str, path: str) -> str:
    folder = path in ("", ".") or path.endswith(("/", "/."))
    joined = "/" + posixpath.normpath(posixpath.join("/", directory, path)).lstrip("/")
    return joined + "/" if folder and joined != "/" else joined


def _check_mode(text: str, keyword: str, place: Range) -> None:
    try:
        modes.parse(text)
    except ValueError:
        raise wrong(
            f"{keyword} has --chmod={text}",
            place,
            hint="a mode is octal from 0 to 7777, as in 755, or symbolic, as in u=rwX,go=rX",
        ) from None

"""A Dockerfile becomes a graph of steps: all that can be known before anything is executed, and every error that can be seen."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import DockerfileError
from ..events import Warned
from ..oci.descriptor import Platform
from ..oci.image import ImageConfig
from . import grammar, parser
from . import instructions as ins
from .context import clean
from .parser import Heredoc, heredoc_name
from .scope import Arguments, Scope
from .source import Range, wrong
from .stages import Resolve, Stage, find, needed, platform_arguments, split
from .steps import Configure, Copy, Node, Run, Source, Step

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
_SCHEMES = ("http://", "https://", "git@", "git://", "ssh://")
_PIPES = "/dev/pipes/"
_INSTEAD = {
    "mount": "leave it out: what the command writes is then part of the layer",
    "network": "known are default, host and none",
    "security": "leave it out: the command runs with the defaults",
    "device": "leave it out: the command sees only the usual devices",
    "parents": "copy each folder to a destination of its own",
    "exclude": "name what is left out in .dockerignore",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The steps in an order in which each can be executed. ``target`` is the last node of the stage to build.

    ``config`` is the image's configuration; its layers and its own history are added when they are made.
    """

    nodes: tuple[Node, ...]
    target: int
    config: ImageConfig
    warnings: tuple[Warned, ...]

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
) -> Plan:
    """Plan the build of a Dockerfile.

    Args:
        text: the Dockerfile.
        resolve: finds an image by the name in a FROM or --from (not ``scratch``); raises NotFound.
        arguments: build arguments by name.
        target: the stage to build, by name or number; the last one when empty.
        platform: what this host executes.
        epoch: SOURCE_DATE_EPOCH, the time that new files get.

    Raises:
        DockerfileError: with the lines at fault.
        NotFound: there is no such target.

    """
    syntax = parser.parse(text)
    before, stages = split(grammar.read(syntax))
    platform = platform or Platform.host()
    given = dict(arguments or {})
    chosen = find(stages, target)
    known = Arguments(given, _overridden(platform_arguments(platform, chosen.begin.stage), given))
    _before(before, known, syntax.escape)
    order = needed(stages, chosen, arguments=known, escape=syntax.escape, platform=platform, resolve=resolve)
    planner = _Planner(known, syntax.escape, platform, epoch, _proxies(given))
    for stage in order:
        planner.stage(stage)
    scope = planner.scopes[chosen.index]
    base = planner.bases[chosen.index]
    warnings = [
        Warned(
            message="an empty line inside an instruction", hint="end the instruction, or take the line out", line=line
        )
        for line in syntax.empty_continuations
    ]
    warnings += planner.warnings
    unused = sorted(set(given) - known.used - {name for proxy in PROXIES for name in (proxy, proxy.lower())})
    unused = [name for name in unused if name != "SOURCE_DATE_EPOCH"]
    if unused:
        message = f"no ARG takes the build argument{'s' * (len(unused) > 1)} {', '.join(unused)}"
        warnings.append(Warned(message=message, hint="an ARG with that name has to stand in the Dockerfile"))
    return Plan(
        nodes=tuple(planner.nodes),
        target=planner.ends[chosen.index],
        config=ImageConfig(
            platform=base.platform if base else platform,
            author=scope.author,
            config=scope.config,
            diff_ids=(),
            history=base.history if base else (),
        ),
        warnings=tuple(warnings),
    )


def _overridden(values: dict[str, str], given: Mapping[str, str]) -> dict[str, str]:
    return {name: given.get(name, value) for name, value in values.items()}


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
        self, arguments: Arguments, escape: str, platform: Platform, epoch: int | None, proxies: tuple[str, ...]
    ) -> None:
        self.arguments = arguments
        self.escape = escape
        self.platform = platform
        self.epoch = epoch
        self.proxies = proxies
        self.nodes: list[Node] = []
        self.ends: dict[int, int] = {}
        self.scopes: dict[int, Scope] = {}
        self.bases: dict[int, ImageConfig | None] = {}
        self.warnings: list[Warned] = []

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
        if stage.base is not None:
            scope, end, base = self.scopes[stage.base].child(), self.ends[stage.base], self.bases[stage.base]
        else:
            scope, end, base = self.begin(stage)
        for instruction in stage.body:
            end = self.instruction(stage, scope, instruction, end)
        for name, place in dict.fromkeys(scope.unset):
            self.warnings.append(Warned(message=f"the variable ${name} has no value here", line=place.line))
        self.scopes[stage.index], self.ends[stage.index], self.bases[stage.index] = scope, end, base

    def begin(self, stage: Stage) -> tuple[Scope, int, ImageConfig | None]:
        image = stage.image
        end = self.add(stage.name, stage.begin, Source(image=image), "")
        if image is None:
            from ..oci.image import ContainerConfig

            scope = Scope.begin(ContainerConfig(working_dir="/"), "", self.escape, self.arguments)
            return scope, end, None
        theirs = image.config.platform
        if theirs.architecture != self.platform.architecture:
            message = f"{stage.begin.image} is an image for {theirs}, and this host is {self.platform}"
            self.warnings.append(
                Warned(message=message, hint="its programs will not start here", line=stage.begin.range.line)
            )
        scope = Scope.begin(image.config.config, image.config.author, self.escape, self.arguments)
        return scope, end, image.config

    def instruction(self, stage: Stage, scope: Scope, instruction: ins.Instruction, end: int) -> int:
        name = stage.name
        match instruction:
            case ins.Run():
                command, line = self.run(scope, instruction)
                return self.add(name, instruction, command, line, parent=end)
            case ins.Workdir():
                path = scope.workdir(scope.word(instruction.path, instruction.range))
                if path == "/":
                    return self.add(name, instruction, Configure(), "WORKDIR /", parent=end)
                user = scope.config.user
                folder = Copy(sources=(), documents=(), destination=path, owner=user, mode=None, epoch=self.epoch)
                return self.add(name, instruction, folder, f"WORKDIR {path}", parent=end)
            case ins.Copy() | ins.Add():
                step, line = self.copy(scope, instruction)
                origin = self.origin(stage, instruction) if isinstance(instruction, ins.Copy) else None
                return self.add(name, instruction, step, line, parent=end, origin=origin)
            case ins.From():
                raise AssertionError("a FROM begins a stage and is never inside one")
            case _:
                line = scope.apply(instruction)
                return self.add(name, instruction, Configure(), line, parent=end)

    def origin(self, stage: Stage, copy: ins.Copy) -> int | None:
        if not copy.origin:
            return None
        if copy.origin in stage.takes:
            return self.ends[stage.takes[copy.origin]]
        image = stage.images[copy.origin]
        for index, node in enumerate(self.nodes):
            if isinstance(node.step, Source) and node.step.image == image:
                return index
        source = ins.From(text=f"FROM {copy.origin}", range=copy.range, image=copy.origin, stage="", platform="")
        return self.add(copy.origin, source, Source(image=image), "")

    def run(self, scope: Scope, instruction: ins.Run) -> tuple[Run, str]:
        network = "host"
        for flag in instruction.flags:
            if flag.name == "network" and flag.value in ("default", "host", "none"):
                network = "none" if flag.value == "none" else "host"
            elif not (flag.name == "security" and flag.value == "sandbox"):
                raise _not_executed(f"RUN --{flag.name}={flag.value}", flag.range, hint=_INSTEAD[flag.name])
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
            workdir=scope.config.working_dir or "/",
            network=network,
            document=document,
            proxies=self.proxies,
            epoch=self.epoch,
        )
        return step, scope.run_history(words)

    def copy(self, scope: Scope, written: ins.Copy | ins.Add) -> tuple[Copy, str]:
        place, keyword = written.range, "ADD" if isinstance(written, ins.Add) else "COPY"
        for flag in written.flags:
            if flag.name not in ("from", "chown", "chmod", "link") and flag.value != "false":
                raise _not_executed(
                    f"{keyword} --{flag.name}", flag.range, hint=_INSTEAD.get(flag.name, "leave it out")
                )
        sources = [scope.word(source, place) for source in written.sources]
        for source in sources:
            if source.startswith(_SCHEMES):
                if keyword == "COPY":
                    raise wrong(f"COPY has the address {source}", place, hint="ADD fetches addresses; COPY takes files")
                raise _not_executed(
                    f"ADD of the address {source}", place, hint="fetch it with RUN, or add the file to the context"
                )
        destination = scope.word(written.destination, place)
        owner, mode = scope.word(written.owner, place), scope.word(written.mode, place)
        documents = tuple(
            (one.name, scope.expansion(one.text, one.range, quotes=False).text if one.expand else one.text)
            for one in written.documents
        )
        step = Copy(
            sources=tuple(map(clean, sources)),
            documents=documents,
            destination=_destination(scope.config.working_dir, destination),
            owner=owner,
            mode=_mode(mode, keyword, place) if mode else None,
            refuse_archives=keyword == "ADD",
            epoch=self.epoch,
        )
        words = [keyword]
        words += [f"--chown={owner}"] if owner else []
        words += [f"--chmod={mode}"] if mode else []
        words += [*sources, *(f"<<{name}" for name, _ in documents), destination, "# buildkit"]
        return step, " ".join(words)


def _script(word: str, heredocs: tuple[Heredoc, ...]) -> tuple[tuple[str, ...], tuple[str, str] | None]:
    """What the shell gets of a RUN with heredocs: the document itself where there is nothing else, else all as written.

    A document that begins with ``#!`` is a program of its own.
    """
    if heredoc_name(word) is None:
        parts = [word, *(f"{one.content}{one.name}" for one in heredocs)]
        return ("\n".join(parts),), None
    text = heredocs[0].text
    return ((), (heredocs[0].name, text)) if text.startswith("#!") else ((text,), None)


def _destination(directory: str, path: str) -> str:
    folder = path in ("", ".") or path.endswith("/")
    joined = "/" + posixpath.normpath(posixpath.join("/", directory, path)).lstrip("/")
    return joined + "/" if folder and joined != "/" else joined


def _mode(text: str, keyword: str, place: Range) -> int:
    if text.isascii() and text.isdecimal() and not set(text) & {"8", "9"} and int(text, 8) <= 0o7777:
        return int(text, 8)
    if not text[:1].isdecimal():
        raise _not_executed(f"{keyword} --chmod={text}, a symbolic mode,", place, hint="write it in octal, as in 755")
    raise wrong(f"{keyword} has --chmod={text}", place, hint="a mode is octal, from 0 to 7777, as in 755")


def _not_executed(what: str, place: Range, *, hint: str) -> DockerfileError:
    return wrong(f"{what} is not executed by this version of nbcontainers", place, hint=hint)

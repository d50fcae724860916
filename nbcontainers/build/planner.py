"""The instructions of the needed stages become nodes, one after another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from ..events import Warned
from ..oci.descriptor import Platform
from ..oci.image import ImageConfig
from . import copies, lint, mounts, runs
from . import instructions as ins
from .expand import expand
from .ignore import Ignore
from .lint import Linter
from .mounts import RunMount
from .runs import Surroundings
from .scope import Arguments, Scope
from .source import marking, wrong
from .stages import UNKNOWN, Stage
from .steps import Configure, Copy, Node, Source, Step


class Planner:
    """The nodes so far, and where each stage ends."""

    def __init__(
        self,
        arguments: Arguments,
        escape: str,
        platform: Platform,
        linter: Linter,
        ignore: Ignore,
        around: Surroundings,
    ) -> None:
        self.arguments = arguments
        self.escape = escape
        self.platform = platform
        self.linter = linter
        self.ignore = ignore
        self.around = around
        self.nodes: list[Node] = []
        self.ends: dict[int, int] = {}
        self.scopes: dict[int, Scope] = {}
        self.bases: dict[int, ImageConfig | None] = {}
        self.warnings: list[Warned] = []

    def add(self, stage: str, written: ins.Instruction, step: Step, created_by: str, **links: int | None) -> int:
        """Put a node behind the others; its index."""
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
        """The nodes of one stage, once those that it needs are there."""
        self.check_platform_word(stage)
        if stage.base is not None:
            scope, end, base = self.scopes[stage.base].child(), self.ends[stage.base], self.bases[stage.base]
        else:
            scope, end, base = self.begin(stage)
        for instruction in stage.body:
            with marking(instruction.range):
                end = self.instruction(stage, scope, instruction, end)
        if not scope.is_unknown:
            for name, place in dict.fromkeys(scope.unset):
                lint.undefined(self.linter, name, scope.env.keys() - {name}, place)
        self.scopes[stage.index], self.ends[stage.index], self.bases[stage.index] = scope, end, base

    def check_platform_word(self, stage: Stage) -> None:
        """FROM --platform: what is needless, and what binds a Dockerfile to one platform."""
        word, place = stage.begin.platform, stage.begin.range
        target = self.arguments.everywhere["TARGETPLATFORM"]
        meant = expand(word, {"TARGETPLATFORM": target}, escape=self.escape) if "TARGETPLATFORM" in word else None
        if meant and not meant.unset and meant.text == target:
            self.linter.report("RedundantTargetPlatform", f"--platform={word} is the default", place)
        elif word and "$" not in word and stage.platform:
            name = stage.begin.stage
            if not (name and (stage.platform.os in name or stage.platform.architecture in name)):
                self.linter.report("FromPlatformFlagConstDisallowed", f"--platform={word} is always the same", place)

    def begin(self, stage: Stage) -> tuple[Scope, int, ImageConfig | None]:
        """What a stage that stands on no other begins with: its scope, the node of its base, and the configuration of that."""
        image = stage.image
        end = self.add(stage.name, stage.begin, Source(image=image), "")
        if image is None:
            from ..oci.image import ContainerConfig

            if stage.folder is not None:
                end = self.add(stage.name, stage.begin, copies.folder(stage.folder, self.around.epoch), "", parent=end)
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
        """The node of one instruction, behind the one where the stage has come to; where it has come to then."""
        name = stage.name
        match instruction:
            case ins.Run():
                self.check_platform(stage, instruction)
                command, line = runs.step(scope, instruction, self.mounts(stage, scope, instruction), self.around)
                return self.add(name, instruction, command, line, parent=end)
            case ins.Workdir():
                self.check_workdir(scope, instruction)
                written = scope.workdir(scope.word(instruction.path, instruction.range))
                if written == "/":
                    return self.add(name, instruction, Configure(), "WORKDIR /", parent=end)
                path, user = scope.directory, scope.config.user
                folder = Copy(sources=(), documents=(), destination=path, owner=user, mode="", epoch=self.around.epoch)
                return self.add(name, instruction, folder, f"WORKDIR {written}", parent=end)
            case ins.Copy() | ins.Add():
                step, line = copies.step(
                    scope, instruction, ignore=self.ignore, linter=self.linter, epoch=self.around.epoch
                )
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

            case ins.Onbuild(fault=fault) if fault:
                message = f"the ONBUILD will be an error of every build that begins with this image: {fault}"
                self.warnings.append(Warned(message=message, line=place.line))

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

    def warn(self, flag: ins.Flag, message: str) -> None:
        """Tell of a flag."""
        self.warnings.append(Warned(message=message, line=flag.range.line))

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
            found = mounts.read(flag, partial(scope.word, place=flag.range), scope.directory, partial(self.warn, flag))
            name = mounts.origin_of(flag)
            if found.type not in ("bind", "cache"):
                yield found
            elif name:
                origin, context = self.origin(stage, name, instruction)
                yield replace(found, origin=origin, context=context)
            else:
                yield replace(found, context="" if found.type == "bind" else None)

"""Stages: which there are, what each begins with and takes from, and which the target needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import DockerfileError, InvalidReference, NotFound
from ..oci.descriptor import Platform
from ..oci.image import Image
from . import grammar
from . import instructions as ins
from .expand import BadExpansion, expand
from .scope import Arguments
from .source import Range, did_you_mean, wrong

_ARCHITECTURES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armhf": "arm", "armel": "arm"}
Resolve = Callable[[str], Image]


@dataclass
class Stage:
    """One stage. ``base`` is the stage it begins with, or ``image`` the image (both None: scratch).

    ``triggers`` are the ONBUILD instructions of its base, executed before its own ones. ``takes`` are the stages that its
    COPY --from name, by what is written there; ``images`` the images.
    """

    index: int
    begin: ins.From
    instructions: list[ins.Instruction] = field(default_factory=list)
    base: int | None = None
    image: Image | None = None
    triggers: list[ins.Instruction] = field(default_factory=list)
    takes: dict[str, int] = field(default_factory=dict)
    images: dict[str, Image] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its name, or ``stage-N`` by its number from 0 on."""
        return self.begin.stage or f"stage-{self.index}"

    @property
    def body(self) -> list[ins.Instruction]:
        """All that it executes."""
        return self.triggers + self.instructions


def platform_arguments(platform: Platform, target: str) -> dict[str, str]:
    """The automatic arguments: the platform that builds and the one that is built for are both this host's."""
    found = {"TARGETSTAGE": target}
    for side in ("BUILD", "TARGET"):
        found[f"{side}PLATFORM"] = str(platform)
        found[f"{side}OS"] = platform.os
        found[f"{side}ARCH"] = platform.architecture
        found[f"{side}VARIANT"] = platform.variant
    return found


def split(read: Sequence[ins.Instruction]) -> tuple[list[ins.Arg], list[Stage]]:
    """The arguments before the first FROM, and the stages. DockerfileError where something else stands there."""
    before: list[ins.Arg] = []
    stages: list[Stage] = []
    for instruction in read:
        if isinstance(instruction, ins.From):
            stages.append(Stage(len(stages), instruction))
        elif stages:
            stages[-1].instructions.append(instruction)
        elif isinstance(instruction, ins.Arg):
            before.append(instruction)
        else:
            keyword = instruction.text.split()[0].upper()
            raise wrong(
                f"{keyword} stands before the first FROM", instruction.range, hint="only ARG may: begin with FROM"
            )
    if not stages:
        place = Range(1, 1, read[-1].range.end_line, 1)
        raise wrong("there is no FROM", place, hint="a stage begins with FROM and an image, or with FROM scratch")
    return before, stages


def find(stages: Sequence[Stage], target: str) -> Stage:
    """The stage that a target names, by name or number; the last one for an empty target."""
    if not target:
        return stages[-1]
    for stage in reversed(stages):
        if target.lower() == stage.begin.stage or target == str(stage.index):
            return stage
    names = [stage.begin.stage or str(stage.index) for stage in stages]
    raise NotFound(f"there is no stage {target!r} to build", hint=did_you_mean(target, names))


def needed(
    stages: Sequence[Stage], target: Stage, *, arguments: Arguments, escape: str, platform: Platform, resolve: Resolve
) -> list[Stage]:
    """The stages that the target needs, in the order of the Dockerfile, with all that they begin with and take from.

    Raises:
        DockerfileError: an image that is not there, a stage that takes from a later one, a platform that is not this host's.

    """
    named = {stage.begin.stage: stage.index for stage in stages if stage.begin.stage}
    reached: dict[int, Stage] = {}
    left = [target]
    while left:
        stage = left.pop()
        if stage.index in reached:
            continue
        reached[stage.index] = stage
        _begin(stage, stages, arguments.everywhere, escape, platform, resolve)
        for instruction in stage.body:
            if isinstance(instruction, ins.Copy) and instruction.origin:
                _take(stage, instruction, stages, named, resolve)
        left += [stages[index] for index in (*stage.takes.values(), *((stage.base,) if stage.base is not None else ()))]
    return [reached[index] for index in sorted(reached)]


def _begin(
    stage: Stage, stages: Sequence[Stage], values: Mapping[str, str], escape: str, platform: Platform, resolve: Resolve
) -> None:
    begin = stage.begin
    try:
        name = expand(begin.image, values, escape=escape).text
        wanted = expand(begin.platform, values, escape=escape).text
    except BadExpansion as error:
        raise wrong(str(error), begin.range, hint=error.hint) from error
    if not name:
        raise wrong(
            f"FROM {begin.image} is empty when its variables are replaced",
            begin.range,
            hint="FROM knows only arguments that stand before the first FROM; give them a default there",
        )
    if begin.platform:
        check_platform(wanted, platform, begin)
    before = {earlier.begin.stage: earlier for earlier in stages[: stage.index] if earlier.begin.stage}
    base = before.get(name.lower())
    if base is not None:
        stage.base = base.index
        triggers = [other for other in base.instructions if isinstance(other, ins.Onbuild)]
        stage.triggers = [grammar.trigger(other.trigger, escape, begin.range) for other in triggers]
    elif name != "scratch":
        stage.image = _image(name, begin.range, resolve, before)
        stage.triggers = [grammar.trigger(text, "\\", begin.range) for text in stage.image.config.config.on_build]


def check_platform(wanted: str, platform: Platform, begin: ins.From) -> None:
    """DockerfileError for a platform that is not this host's: nothing here can execute its programs."""
    os, *rest = wanted.lower().split("/")
    if not rest and os not in ("linux", "windows", "darwin", "freebsd"):
        os, rest = platform.os, [os]
    architecture = _ARCHITECTURES.get(rest[0], rest[0]) if rest else platform.architecture
    variant = rest[1] if len(rest) > 1 else ""
    if (os, architecture) == ("linux", "arm64") and variant == "v8":
        variant = ""
    if not wanted or len(rest) > 2:
        raise wrong(f"FROM has the platform {wanted!r}", begin.range, hint=f"a platform reads {platform}")
    if (os, architecture, variant) != (platform.os, platform.architecture, platform.variant):
        raise wrong(
            f"FROM wants the platform {wanted}, and this host is {platform}",
            begin.range,
            hint=f"programs of another platform need an emulator: leave --platform out, or build on {wanted}",
        )


def _take(stage: Stage, copy: ins.Copy, stages: Sequence[Stage], named: Mapping[str, int], resolve: Resolve) -> None:
    origin = copy.origin
    if "$" in origin:
        raise wrong(
            f"COPY has a variable in --from={origin}",
            copy.range,
            hint="it cannot be replaced there: name a stage with FROM and the variable, and copy from that stage",
        )
    index = int(origin) if origin.isascii() and origin.isdecimal() else named.get(origin.lower())
    if index is None:
        names = {other.begin.stage: other for other in stages[: stage.index] if other.begin.stage}
        stage.images[origin] = _image(origin, copy.range, resolve, names)
        return
    if index >= len(stages):
        raise wrong(
            f"COPY has --from={origin}, and the last stage is {len(stages) - 1}", copy.range, hint="stages count from 0"
        )
    if index >= stage.index:
        what = "itself" if index == stage.index else f"the later stage {stages[index].name}"
        raise wrong(
            f"the stage {stage.name} copies from {what}",
            copy.range,
            hint="a stage takes from those that stand before it",
        )
    stage.takes[origin] = index


def _image(name: str, place: Range, resolve: Resolve, stages: Mapping[str, Stage]) -> Image:
    try:
        return resolve(name)
    except (NotFound, InvalidReference) as error:
        near = did_you_mean(name, stages) if stages else ""
        hint = f"{near.rstrip('?')} (a stage)?" if near.startswith("did") else error.hint
        raise DockerfileError(f"{place}: {error.message}", lines=place.lines, hint=hint) from error

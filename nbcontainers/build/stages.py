"""Stages: which there are, what each begins with and takes from, and which the target needs."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import DockerfileError, InvalidReference, NBContainersError, NotFound
from ..oci.descriptor import CONFIG, MANIFEST, Descriptor, Digest, Platform
from ..oci.image import Image, ImageConfig, Manifest
from ..oci.reference import Reference
from . import grammar
from . import instructions as ins
from .expand import BadExpansion, expand
from .mounts import origin_of
from .scope import Arguments
from .source import Range, did_you_mean, marking, wrong

_ARCHITECTURES = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "aarch64": "arm64",
    "armhf": "arm",
    "armel": "arm",
    "i386": "386",
}
# Those that may stand alone.
_KNOWN = frozenset("386 amd64 arm arm64 loong64 mips mips64 mips64le mipsle ppc64 ppc64le riscv64 s390x wasm".split())
_SYSTEMS = ("linux", "windows", "darwin", "freebsd")
_WORD = re.compile(r"[a-z0-9_.-]+")  # a part of a platform
Resolve = Callable[[str], Image]
# What stands for an image that is not there, where nothing is built.
UNKNOWN = Image(
    reference=None,
    descriptor=Descriptor(media_type=MANIFEST, digest=Digest.of(b""), size=0),
    manifest=Manifest(config=Descriptor(media_type=CONFIG, digest=Digest.of(b""), size=0), layers=()),
    config=ImageConfig(platform=Platform.host(), diff_ids=()),
)


def context_name(name: str) -> str:
    """A name as named contexts are compared: an image's without the registry, library and tag that it has anyhow."""
    try:
        reference = Reference.parse(name)
    except InvalidReference:
        return name.lower()
    if reference.digest:
        return reference.familiar
    return reference.familiar.removesuffix(":latest")


@dataclass
class Stage:
    """One stage. ``origin`` is what FROM names, its variables replaced: ``base`` the stage it begins with, or ``image`` the image
    or ``folder`` the context (all None: scratch).

    ``triggers`` are the ONBUILD instructions of its base, executed before its own ones. ``takes`` are the stages that it copies
    or mounts from, by what is written there; ``images`` the images, contexts (their names) and, as None, ``scratch``.
    """

    index: int
    begin: ins.From
    instructions: list[ins.Instruction] = field(default_factory=list)
    origin: str = ""
    base: int | None = None
    image: Image | None = None
    folder: str | None = None
    platform: Platform | None = None
    triggers: list[ins.Instruction] = field(default_factory=list)
    takes: dict[str, int] = field(default_factory=dict)
    images: dict[str, Image | str | None] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its name, or ``stage-N`` by its number from 0 on."""
        return self.begin.stage or f"stage-{self.index}"

    @property
    def body(self) -> list[ins.Instruction]:
        """All that it executes."""
        return self.triggers + self.instructions


@dataclass(frozen=True, slots=True)
class Known:
    """What names can mean while stages are looked at: stages, named contexts that are ``folders`` or images (``aliases``),
    and images by ``resolve``.
    """

    stages: Sequence[Stage]
    named: Mapping[str, int]
    folders: Collection[str]
    aliases: Mapping[str, str]
    resolve: Resolve

    def image(self, name: str, place: Range, stages: Mapping[str, Stage]) -> Image | str | None:
        """The image, the name of a context that is a folder, or None for ``scratch``."""
        if name == "scratch":
            return None
        if (folder := context_name(name)) in self.folders:
            return folder
        named = self.aliases.get(folder, name)
        if named == "scratch":
            return None
        try:
            return self.resolve(named)
        except (NotFound, InvalidReference) as error:
            raise self.failed(error, name, place, stages) from error

    def before(self, stage: Stage) -> dict[str, Stage]:
        """The stages above one, by their names."""
        return {earlier.begin.stage: earlier for earlier in self.stages[: stage.index] if earlier.begin.stage}

    @staticmethod
    def failed(error: NBContainersError, name: str, place: Range, stages: Mapping[str, Stage]) -> DockerfileError:
        """A name that is no image's: the error with its place, and perhaps the stage that was meant."""
        near = did_you_mean(name, stages) if stages else ""
        hint = f"{near.rstrip('?')} (a stage)?" if near.startswith("did") else error.hint
        return DockerfileError(f"{place}: {error.message}", lines=place.lines, hint=hint)


def platform_arguments(host: Platform, wanted: Platform, target: str) -> dict[str, str]:
    """The automatic arguments: of the platform that builds, and of the one that is built for."""
    found = {"TARGETSTAGE": target}
    for side, platform in (("BUILD", host), ("TARGET", wanted)):
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
    stages: Sequence[Stage],
    targets: Sequence[Stage],
    *,
    arguments: Arguments,
    escape: str,
    platform: Platform,
    resolve: Resolve,
    folders: Collection[str] = (),
    aliases: Mapping[str, str] | None = None,
) -> list[Stage]:
    """The stages that the targets need, in the order of the Dockerfile, with all that they begin with and take from.

    Args:
        folders: names of contexts that are folders; a stage or image of such a name is that context.
        aliases: the same for contexts that are images: the image of each name.

    Raises:
        DockerfileError: an image that is not there, a stage that takes from a later one, a platform that is not this host's.

    """
    named = {stage.begin.stage: stage.index for stage in stages if stage.begin.stage}
    known = Known(stages, named, folders, aliases or {}, resolve)
    for stage in stages:
        _replaced(stage, known, arguments.everywhere, escape, platform)
    reached: dict[int, Stage] = {}
    left = list(targets)
    while left:
        stage = left.pop()
        if stage.index in reached:
            continue
        reached[stage.index] = stage
        _begin(stage, known, escape)
        for instruction in stage.body:
            with marking(instruction.range):
                for origin, place, words in origins(instruction):
                    _take(stage, origin, place, words, known)
        left += [stages[index] for index in (*stage.takes.values(), *((stage.base,) if stage.base is not None else ()))]
    return [reached[index] for index in sorted(reached)]


def _replaced(stage: Stage, known: Known, values: Mapping[str, str], escape: str, platform: Platform) -> None:
    """The variables of a FROM are replaced, and what it has then can be read, also where nobody needs the stage."""
    begin = stage.begin
    try:
        stage.origin = expand(begin.image, values, escape=escape).text
        wanted = expand(begin.platform, values, escape=escape).text
    except BadExpansion as error:
        raise wrong(str(error), begin.range, hint=error.hint) from error
    if not stage.origin:
        raise wrong(
            f"FROM {begin.image} is empty when its variables are replaced",
            begin.range,
            hint="FROM knows only arguments that stand before the first FROM; give them a default there",
        )
    if begin.platform:
        try:
            stage.platform = read_platform(wanted, platform)
        except ValueError:
            raise wrong(f"FROM has the platform {wanted!r}", begin.range, hint=f"a platform reads {platform}") from None
    if not {begin.stage, context_name(stage.origin)} & {*known.folders, *known.aliases}:
        earlier = known.before(stage)
        if stage.origin not in ("scratch", *earlier):
            try:
                Reference.parse(stage.origin)
            except InvalidReference as error:
                raise known.failed(error, stage.origin, begin.range, earlier) from error


def _begin(stage: Stage, known: Known, escape: str) -> None:
    begin, name = stage.begin, stage.origin
    before = known.before(stage)
    base = before.get(name)  # stages have lower-case names, and only COPY, RUN and a target may write them otherwise
    if begin.stage in known.folders:
        stage.folder, stage.instructions = begin.stage, []
    elif begin.stage in known.aliases:
        found = known.image(begin.stage, begin.range, {})
        stage.image, stage.instructions = found if isinstance(found, Image) else None, []
    elif base is not None:
        stage.base = base.index
        triggers = [other for other in base.instructions if isinstance(other, ins.Onbuild)]
        stage.triggers = [grammar.trigger(other.trigger, escape, begin.range) for other in triggers]
    else:
        found = known.image(name, begin.range, before)
        stage.folder = found if isinstance(found, str) else None
        if isinstance(found, Image):
            stage.image = found
            stage.triggers = [grammar.trigger(text, "\\", begin.range) for text in found.config.config.on_build]


def read_platform(wanted: str, default: Platform) -> Platform:
    """The platform that a word means (``linux/arm64``, ``amd64`` …), with what it leaves out as ``default`` has it. ValueError."""
    os, *rest = wanted.lower().split("/")
    if not rest and os not in _SYSTEMS:
        if _ARCHITECTURES.get(os, os) not in _KNOWN:
            raise ValueError(wanted)
        os, rest = default.os, [os]
    if len(rest) > 2 or not all(map(_WORD.fullmatch, (os, *rest))):
        raise ValueError(wanted)
    architecture = _ARCHITECTURES.get(rest[0], rest[0]) if rest else default.architecture
    variant = rest[1] if len(rest) > 1 else ""
    if (architecture, variant) in (("arm64", "v8"), ("amd64", "v1")):
        variant = ""
    return Platform(os=os, architecture=architecture, variant=variant)


def origins(instruction: ins.Instruction) -> list[tuple[str, Range, str]]:
    """What an instruction takes files from beside its own stage and the context: names, places, and the flag in words."""
    if isinstance(instruction, ins.Copy) and instruction.origin:
        flag = instruction.flag("from")
        return [(instruction.origin, flag.range if flag else instruction.range, "COPY has --from=")]
    if isinstance(instruction, ins.Run):
        named = [(origin_of(flag), flag.range) for flag in instruction.flags if flag.name == "mount"]
        return [(origin, place, "RUN --mount has from=") for origin, place in named if origin]
    return []


def _take(stage: Stage, origin: str, place: Range, words: str, known: Known) -> None:
    if "$" in origin:
        raise wrong(
            f"{words.replace('has ', 'has a variable in ', 1)}{origin}",
            place,
            hint="it cannot be replaced there: name a stage with FROM and the variable, and copy from that stage",
        )
    stages = known.stages
    index = int(origin) if origin.isascii() and origin.isdecimal() else known.named.get(origin.lower())
    if index is None:
        stage.images[origin] = known.image(origin, place, known.before(stage))
        return
    if index >= len(stages):
        raise wrong(f"{words}{origin}, and the last stage is {len(stages) - 1}", place, hint="stages count from 0")
    if index >= stage.index:
        what = "itself" if index == stage.index else f"the later stage {stages[index].name}"
        raise wrong(
            f"the stage {stage.name} {'copies' if words.startswith('COPY') else 'mounts'} from {what}",
            place,
            hint="a stage takes from those that stand before it",
        )
    stage.takes[origin] = index

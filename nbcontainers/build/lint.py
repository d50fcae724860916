"""Build checks: what in a Dockerfile is allowed and yet hardly meant, under the names that BuildKit gives the rules.

``# check=skip=RULE,RULE;error=true`` at the top leaves rules out (``skip=all``: every one) or makes findings errors;
``experimental=RULE`` adds one that is off otherwise.

Source: docs.docker.com, "Build checks".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import InvalidReference
from ..oci.reference import Reference
from . import instructions as ins
from .expand import BadExpansion, expand
from .ignore import Ignore
from .parser import Syntax
from .source import Range, did_you_mean, wrong

RULES: Mapping[str, str] = {
    "ConsistentInstructionCasing": "write all instructions in capitals, or all in small letters",
    "CopyIgnoredFile": "take it out of .dockerignore, or do not copy it",
    "DuplicateStageName": "give each stage a name of its own",
    "ExposeInvalidFormat": "name the container's port alone: which of the host's leads there is said when it is run",
    "ExposeProtoCasing": "write tcp, udp or sctp in small letters",
    "FromAsCasing": "write AS as FROM is written",
    "FromPlatformFlagConstDisallowed": "use $BUILDPLATFORM or $TARGETPLATFORM, or name the stage after the platform",
    "InvalidBaseImagePlatform": "name an image of the platform that is built for",
    "InvalidDefaultArgInFrom": "give the ARG before FROM a default that makes an image's name",
    "InvalidDefinitionDescription": "begin the comment with the name, or put an empty line below it",
    "JSONArgsRecommended": 'write ["program", "argument"]: a shell in between does not pass signals on',
    "LegacyKeyValueFormat": "write NAME=VALUE",
    "MaintainerDeprecated": "write LABEL org.opencontainers.image.authors=…",
    "MultipleInstructionsDisallowed": "keep the last one: only that counts",
    "NoEmptyContinuation": "end the instruction, or take the line out",
    "RedundantTargetPlatform": "leave it out: it is the platform anyhow",
    "ReservedStageName": "choose another name: this one has a meaning of its own",
    "SecretsUsedInArgOrEnv": "everybody who has the image can read it: use RUN --mount=type=secret",
    "StageNameCasing": "write the stage's name in small letters",
    "UndefinedArgInFrom": "declare it with ARG before the first FROM",
    "UndefinedVar": "declare it with ARG or ENV before it is used",
    "WorkdirRelativePath": "begin with /: what it counts from may change with the base image",
}
EXPERIMENTAL = frozenset({"CopyIgnoredFile", "InvalidDefinitionDescription"})
_SECRET = re.compile(
    r"(?:_|^)(?:apikey|auth|credentials?|key|password|pword|passwd|secret|token)(?:_|$)", re.IGNORECASE
)
_NO_SECRET = re.compile(r"(?:_|^)(?:public|file|version)(?:_|$)", re.IGNORECASE)
_ONCE = (ins.Cmd, ins.Entrypoint, ins.Healthcheck)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something dubious: a rule, what it found, and where."""

    rule: str
    message: str
    range: Range

    @property
    def hint(self) -> str:
        """What to do about it."""
        return RULES[self.rule]


@dataclass
class Linter:
    """What was found so far, without what is to be left out."""

    skipped: frozenset[str] = frozenset()
    experimental: frozenset[str] = frozenset()
    is_error: bool = False
    found: list[Finding] = field(default_factory=list)

    @classmethod
    def configured(cls, syntax: Syntax, given: str = "") -> Linter:
        """As the directive ``check`` has it; ``given`` (of the caller) counts instead. DockerfileError for what it cannot mean."""
        text = given or dict(syntax.directives).get("check", "").split(" ")[0]  # what follows is a comment
        words = {"skip": "", "error": "", "experimental": ""}
        place = Range(1, 1, 1, 1)
        for part in filter(None, text.split(";")):
            name, given_value, value = part.strip().partition("=")
            if name.lower() not in words:
                raise wrong(f"the check directive has {name!r}", place, hint=did_you_mean(name, words))
            if not given_value:
                raise wrong(f"the check directive has {name} without a value", place, hint=f"write {name}=…")
            words[name.lower()] = value
        rules = {
            name: {rule.strip().lower() for rule in words[name].split(",") if rule.strip()}
            for name in ("skip", "experimental")
        }
        if words["error"].lower() not in ("", "true", "false", "1", "0"):
            raise wrong(f"the check directive has error={words['error']}", place, hint="it is true or false")
        return cls(
            skipped=frozenset(rule for rule in RULES if {rule.lower(), "all"} & rules["skip"]),
            experimental=frozenset(rule for rule in EXPERIMENTAL if {rule.lower(), "all"} & rules["experimental"]),
            is_error=words["error"].lower() in ("true", "1"),
        )

    def report(self, rule: str, message: str, place: Range) -> None:
        """Something was found; it counts unless its rule is left out, and once."""
        if rule in self.skipped or (rule in EXPERIMENTAL and rule not in self.experimental):
            return
        finding = Finding(rule, message, place)
        if finding not in self.found:
            self.found.append(finding)

    def settle(self) -> None:
        """DockerfileError with the first finding, where findings are to be errors."""
        if self.is_error and self.found:
            first = min(self.found, key=lambda finding: finding.range.line)
            count = f" (and {len(self.found) - 1} more)" if len(self.found) > 1 else ""
            raise wrong(f"{first.rule}: {first.message}{count}", first.range, hint=first.hint)


def check_text(linter: Linter, text: str, syntax: Syntax, read: Sequence[ins.Instruction]) -> None:
    """Report what can be seen without knowing any image or argument."""
    for first, *more in syntax.empty_continuations:
        message = "an empty line inside an instruction"
        if more:
            message = f"empty lines inside an instruction: {', '.join(map(str, (first, *more)))}"
        linter.report("NoEmptyContinuation", message, Range(first, 1, first, 1))
    begun = next((index for index, one in enumerate(read) if isinstance(one, ins.From)), 0)
    _casing(linter, read[begun:])
    names: set[str] = set()
    once: dict[type, ins.Instruction] = {}
    for instruction in read:
        match instruction:
            case ins.From():
                _from(linter, instruction, names)
                once.clear()
            case ins.Maintainer():
                linter.report("MaintainerDeprecated", "MAINTAINER is no longer meant to be used", instruction.range)
            case ins.Env(legacy=True) | ins.Label(legacy=True):
                keyword = instruction.text.split()[0].upper()
                linter.report("LegacyKeyValueFormat", f"{keyword} with a space instead of '='", instruction.range)
            case ins.Expose(ports=ports):
                _ports(linter, ports, instruction.range)
        if isinstance(instruction, _ONCE):
            before = once.get(type(instruction))
            if before is not None:
                keyword = before.text.split()[0].upper()
                linter.report(
                    "MultipleInstructionsDisallowed", f"this {keyword} is replaced by a later one", before.range
                )
            once[type(instruction)] = instruction
    _descriptions(linter, text.split("\n"), read)


def check_from(
    linter: Linter, read: Iterable[ins.From], known: Mapping[str, str], defaults: Mapping[str, str], escape: str
) -> None:
    """Report what FROM has of variables: ``known`` are the arguments that it can see, ``defaults`` their values if none is given."""
    for begin in read:
        for word in (begin.image, begin.platform):
            try:
                unset = expand(word, known, escape=escape).unset
            except BadExpansion:
                continue
            for name in sorted(unset):
                near = did_you_mean(name, known)
                message = f"FROM has the argument ${name}, which is not declared"
                linter.report(
                    "UndefinedArgInFrom", message + (f" ({near})" if near.startswith("did") else ""), begin.range
                )
        try:
            Reference.parse(expand(begin.image, defaults, escape=escape).text)
        except InvalidReference:
            message = f"without build arguments {begin.image} is no image's name"
            linter.report("InvalidDefaultArgInFrom", message, begin.range)
        except BadExpansion:
            continue


def undefined(linter: Linter, name: str, known: Iterable[str], place: Range) -> None:
    """Report a variable without a value."""
    near = did_you_mean(name, known)
    message = f"the variable ${name} has no value here"
    linter.report(
        "UndefinedVar",
        message + (f" ({near.replace('did you mean ', 'did you mean $')})" if near.startswith("did") else ""),
        place,
    )


def sounds_secret(name: str) -> bool:
    """Whether a variable's name says that its value is to be kept secret."""
    return bool(_SECRET.search(name)) and not _NO_SECRET.search(name)


def secrets(linter: Linter, keyword: str, names: Iterable[str], place: Range) -> None:
    """Report names that sound as if their values were to be kept secret."""
    for name in names:
        if sounds_secret(name):
            linter.report("SecretsUsedInArgOrEnv", f"{keyword} {name} looks like a secret", place)


def ignored(linter: Linter, keyword: str, sources: Iterable[str], ignore: Ignore, place: Range) -> None:
    """Report sources that the context leaves out; where exceptions take some in again, nothing can be said."""
    if any(pattern.exception for pattern in ignore.patterns):
        return
    for source in filter(None, sources):
        if ignore.ignores(source):
            linter.report("CopyIgnoredFile", f"{keyword} takes {source}, which .dockerignore leaves out", place)


def _casing(linter: Linter, read: Sequence[ins.Instruction]) -> None:
    keywords = [(one.text.split()[0], one.range) for one in read]
    lower = sum(keyword.islower() for keyword, _ in keywords)
    is_lower = lower > sum(keyword.isupper() for keyword, _ in keywords)
    for keyword, place in keywords:
        if keyword != (keyword.lower() if is_lower else keyword.upper()):
            wanted = "small letters" if is_lower else "capitals"
            linter.report("ConsistentInstructionCasing", f"{keyword} where most instructions are in {wanted}", place)


def _from(linter: Linter, begin: ins.From, names: set[str]) -> None:
    if not begin.stage:
        return
    words = begin.text.split()
    keyword, conjunction, name = words[0], words[-2], words[-1]
    if name != name.lower():
        linter.report("StageNameCasing", f"the stage's name {name} has capitals", begin.range)
    if (keyword.islower() and not conjunction.islower()) or (keyword.isupper() and not conjunction.isupper()):
        linter.report("FromAsCasing", f"{keyword} and {conjunction} are written differently", begin.range)
    if begin.stage in ("scratch", "context"):
        linter.report("ReservedStageName", f"a stage cannot well be called {begin.stage}", begin.range)
    if begin.stage in names:
        linter.report("DuplicateStageName", f"there is a stage {begin.stage} already", begin.range)
    names.add(begin.stage)


def _ports(linter: Linter, ports: Iterable[str], place: Range) -> None:
    for port in ports:
        numbers, _, protocol = port.partition("/")
        if protocol and "$" not in protocol and protocol != protocol.lower():
            linter.report("ExposeProtoCasing", f"EXPOSE has the protocol {protocol} in {port}", place)
        if ":" in re.sub(r"\$\{[^}]*\}", "", numbers):
            linter.report("ExposeInvalidFormat", f"EXPOSE has {port}, with an address or a port of the host", place)


def _descriptions(linter: Linter, lines: Sequence[str], read: Iterable[ins.Instruction]) -> None:
    """A comment right above an instruction describes it, by its last line, unless that is empty."""
    for one in read:
        above = lines[one.range.line - 2].lstrip() if one.range.line > 1 else ""
        first, *_ = above.removeprefix("#").strip().split(" ")
        if not above.startswith("#") or not first:
            continue
        match one:
            case ins.From(stage=name) if name:
                kind, names = "stage", [name]
            case ins.Arg(pairs=pairs):
                kind, names = "argument", [name for name, _ in pairs]
            case _:
                continue
        if first not in names:
            told = f"the comment above the {kind} {names[0]} does not begin with it"
            if len(names) > 1:
                told = f"the comment above the {kind}s {', '.join(names)} does not begin with one of them"
            linter.report("InvalidDefinitionDescription", told, one.range)

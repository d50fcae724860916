"""What each instruction takes: lines become typed instructions, or an error that says what was wanted and what was got."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from ..errors import DockerfileError
from ..oci.image import Healthcheck as HealthSettings
from . import instructions as ins
from . import mounts
from .context import clean
from .expand import BadExpansion
from .gowords import nanoseconds
from .parser import Heredoc, Line, Syntax, heredoc_name, parse
from .source import SPACE, Malformed, Range, did_you_mean, marking, unplaced, wrong
from .words import BLANKS, NotStrings, Word, blank_separated, json_array, quoted

_Kind = Literal["text", "switch", "list"]
_COPY: dict[str, _Kind] = {"chown": "text", "chmod": "text", "link": "switch", "exclude": "list"}
FLAGS: dict[str, dict[str, _Kind]] = {
    "FROM": {"platform": "text"},
    "COPY": {**_COPY, "from": "text", "parents": "switch"},
    "ADD": {**_COPY, "keep-git-dir": "switch", "checksum": "text", "unpack": "switch"},
    "RUN": {"mount": "list", "network": "text", "security": "text", "device": "list"},
    "HEALTHCHECK": {
        "interval": "text",
        "timeout": "text",
        "start-period": "text",
        "start-interval": "text",
        "retries": "text",
    },
}
# BuildKit takes a stage's name for a context's too, which is that of an image.
_STAGE = re.compile(r"[a-z][a-z0-9]*(([._]|__|-+)[a-z0-9]+)*")
_COMMENT = "has only a comment behind it"


def read(syntax: Syntax) -> tuple[ins.Instruction, ...]:
    """The instructions of a parsed Dockerfile. DockerfileError names the first that is malformed, else the first that does not fit."""
    found, errors = list[ins.Instruction](), list[DockerfileError]()
    for line in syntax.lines:
        try:
            found.append(instruction(line, syntax.escape))
        except Malformed:
            raise
        except DockerfileError as error:
            errors.append(error)
    if errors:
        raise errors[0]
    return tuple(found)


def instruction(line: Line, escape: str) -> ins.Instruction:
    """One instruction of one line. An error marks all its lines, and names the one where the fault is."""
    try:
        with marking(line.range):
            return _read(line, escape)
    except NotStrings as error:
        message = f"{line.keyword.text.upper()} has a JSON array with {error} in it"
        hint = "every element is a string in double quotes"
        raise Malformed.of(wrong(message, line.range, hint=hint)) from error


def _read(line: Line, escape: str) -> ins.Instruction:
    """The same, with NotStrings for a JSON array that has something else."""
    keyword = line.keyword.text.upper()
    reader = _READERS.get(keyword)
    if reader is None:
        word = line.keyword.text
        raise wrong(f"unknown instruction {word!r}", line.range, hint=did_you_mean(word, _READERS))
    return reader(_Reading(line, escape, keyword))


def trigger(text: str, escape: str, place: Range) -> ins.Instruction:
    """The instruction of an ONBUILD, read when a build begins with its image; its place is that of the FROM."""
    if _is_comment(text):
        raise wrong(f"ONBUILD {_COMMENT}", place, hint="it takes one instruction")
    line = _trigger_line(text, escape, place)
    try:
        return replace(instruction(line, escape), range=place)
    except DockerfileError as error:
        raise wrong(f"ONBUILD {unplaced(error)}", place, hint=error.hint) from error


def _is_comment(trigger: str) -> bool:
    return trigger.lstrip(SPACE).startswith("#")


def _trigger_line(text: str, escape: str, place: Range) -> Line:
    syntax = parse(text if escape == "\\" else f"# escape={escape}\n{text}")
    if len(syntax.lines) != 1:
        raise wrong(f"ONBUILD has {len(syntax.lines)} instructions behind it: {text!r}", place, hint="it takes one")
    return syntax.lines[0]


class _Reading:
    """One line being read: what its reader asks for, with the errors that every instruction shares."""

    def __init__(self, line: Line, escape: str, keyword: str) -> None:
        self.line = line
        self.escape = escape
        self.keyword = keyword
        self.rest = line.rest
        self.text = line.span.text.strip(SPACE)
        self.range = line.range

    def fail(self, message: str, hint: str = "", word: Word | None = None) -> DockerfileError:
        return wrong(f"{self.keyword} {message}", self.line.place(word) if word else self.range, hint=hint)

    def flags(self) -> tuple[ins.Flag, ...]:
        known = FLAGS.get(self.keyword, {})
        found: dict[str, ins.Flag] = {}
        every: list[ins.Flag] = []
        for word in self.line.flags:
            name, equals, value = word.text[2:].partition("=")
            kind = known.get(name)
            if kind is None:
                hint = did_you_mean(name, known).replace("did you mean ", "did you mean --")
                raise self.fail(f"has no flag --{name}", hint if known else f"{self.keyword} takes no flags", word)
            if name in found and kind != "list":
                raise self.fail(f"has the flag --{name} twice", "once is allowed", word)
            if kind == "switch":
                value = value.lower() if equals else "true"
                if value not in ("true", "false"):
                    raise self.fail(f"has --{name}={value}", "it is true or false", word)
            elif not equals:
                raise self.fail(f"has --{name} without a value", f"it reads --{name}=VALUE", word)
            found[name] = ins.Flag(name, value, self.line.place(word))
            every.append(found[name])
        return tuple(every)

    def some(self, what: str) -> str:
        if not self.rest:
            raise self.fail("stands alone", f"it takes {what}")
        return self.rest

    def pairs(self) -> tuple[tuple[str, str], ...]:
        self.flags()
        self.some("NAME=VALUE, or several of them")
        words = quoted(self.line.span.text, self.line.arguments, self.line.end, self.escape)
        if words and "=" not in words[0].text:
            name, *value = BLANKS.split(self.rest, maxsplit=1)
            if not value:
                hint = f"it reads {self.keyword} {name}=VALUE"
                raise Malformed.of(self.fail(f"has the name {name!r} and no value", hint, words[0]))
            return ((name, value[0]),)
        for word in words:
            if "=" not in word.text:
                hint = "every pair reads NAME=VALUE; a value with spaces stands in quotes"
                raise Malformed.of(self.fail(f"has {word.text!r} without '='", hint, word))
        for word in words:
            if word.text.startswith("="):
                raise self.fail(f"has a value without a name: {word.text!r}", "every pair reads NAME=VALUE", word)
        return tuple(word.text.partition("=")[::2] for word in words)

    def is_legacy(self) -> bool:
        """Whether the name stands before its value with no ``=`` between them."""
        words = quoted(self.line.span.text, self.line.arguments, self.line.end, self.escape)
        return bool(words) and "=" not in words[0].text

    def command(self) -> ins.Command:
        if not self.rest:
            return ins.Command((), True)
        words = json_array(self.rest)
        return ins.Command((self.rest,), True) if words is None else ins.Command(words, False)

    def paths(self) -> tuple[str, ...]:
        words = json_array(self.rest)
        if words is not None:
            return words
        return tuple(word.text for word in blank_separated(self.line.span.text, self.line.arguments, self.line.end))


def _from(at: _Reading) -> ins.From:
    words = at.paths() if at.rest else ()
    platform = next((flag.value for flag in at.flags()), "")
    if len(words) == 1:
        return ins.From(text=at.text, range=at.range, image=words[0], stage="", platform=platform)
    if len(words) != 3 or words[1].lower() != "as":
        got = "no image" if not words else f"{len(words)} words: {at.rest!r}"
        raise at.fail(f"has {got}", "it reads FROM IMAGE, or FROM IMAGE AS NAME")
    name = words[2].lower()
    if not _STAGE.fullmatch(name):
        raise at.fail(
            f"names the stage {words[2]!r}",
            "a name begins with a letter and has letters and digits, with '-', '.', '_' or '__' between them",
        )
    return ins.From(text=at.text, range=at.range, image=words[0], stage=name, platform=platform)


def _arg(at: _Reading) -> ins.Arg:
    at.flags()
    at.some("NAME, or NAME=DEFAULT")
    pairs: list[tuple[str, str | None]] = []
    for word in quoted(at.line.span.text, at.line.arguments, at.line.end, at.escape):
        name, equals, default = word.text.partition("=")
        if not name:
            raise at.fail(f"has a default without a name: {word.text!r}", "it reads ARG NAME=DEFAULT", word)
        pairs.append((name, default if equals else None))
    return ins.Arg(text=at.text, range=at.range, pairs=tuple(pairs))


def _run(at: _Reading) -> ins.Run:
    found = at.flags()
    command = at.command() if at.rest else ins.Command(("",), True)  # a shell that is told nothing, as in BuildKit
    if not command.words:
        raise at.fail("has an empty JSON array", "it takes a command")
    for flag in found:
        if flag.name == "mount":
            mounts.origin_of(flag)
    return ins.Run(text=at.text, range=at.range, command=command, heredocs=at.line.heredocs, flags=found)


def _transfer(at: _Reading) -> tuple[tuple[str, ...], tuple[Heredoc, ...], str, dict[str, str], tuple[ins.Flag, ...]]:
    words = at.paths() if at.rest else ()
    if len(words) < 2:
        got = f"only {words[0]!r}" if words else "no paths"
        raise at.fail(f"has {got}", f"it reads {at.keyword} SOURCE... DESTINATION")
    found = at.flags()
    if _opened(at, words[-1]):
        raise at.fail(f"has the heredoc {words[-1]!r} for a destination", "the last word is a path")
    documents = {document.name: document for document in at.line.heredocs}
    sources, contents = [], []
    for word in words[:-1]:
        opened = _opened(at, word)
        if opened and opened[0] in documents:
            if clean(opened[0]) == "" or "/" in clean(opened[0]):
                raise at.fail(f"has a heredoc named {opened[0]!r}", "the file gets its name: use one without a path")
            contents.append(documents[opened[0]])
        else:
            sources.append(word)
    named = {flag.name: flag.value for flag in found}
    return tuple(sources), tuple(contents), words[-1], named, found


def _opened(at: _Reading, word: str) -> tuple[str, bool, bool] | None:
    try:
        return heredoc_name(word)
    except BadExpansion as error:
        raise at.fail(f"has the heredoc {word!r} that cannot be read", error.hint) from error


def _copy(at: _Reading) -> ins.Copy:
    sources, documents, destination, named, found = _transfer(at)
    return ins.Copy(
        text=at.text,
        range=at.range,
        sources=sources,
        documents=documents,
        destination=destination,
        origin=named.get("from", ""),
        owner=named.get("chown", ""),
        mode=named.get("chmod", ""),
        flags=found,
    )


def _add(at: _Reading) -> ins.Add:
    sources, documents, destination, named, found = _transfer(at)
    return ins.Add(
        text=at.text,
        range=at.range,
        sources=sources,
        documents=documents,
        destination=destination,
        owner=named.get("chown", ""),
        mode=named.get("chmod", ""),
        flags=found,
    )


def _expose(at: _Reading) -> ins.Expose:
    at.flags()
    at.some("ports, as in 80 or 53/udp")
    words = blank_separated(at.line.span.text, at.line.arguments, at.line.end)
    return ins.Expose(text=at.text, range=at.range, ports=tuple(sorted(word.text for word in words)))


def _volume(at: _Reading) -> ins.Volume:
    at.flags()
    at.some("paths")
    paths = tuple(path.strip(SPACE) for path in at.paths())
    if not paths or not all(paths):
        raise at.fail("has an empty path", "a path is absolute, as in /data")
    return ins.Volume(text=at.text, range=at.range, paths=paths)


def _shell(at: _Reading) -> ins.Shell:
    at.flags()
    words = json_array(at.some('a JSON array, as in ["/bin/sh", "-c"]'))
    if not words:
        raise at.fail(f"has {at.rest!r}", 'it takes a JSON array, as in ["/bin/sh", "-c"]')
    return ins.Shell(text=at.text, range=at.range, words=words)


def _healthcheck(at: _Reading) -> ins.Healthcheck:
    values = {flag.name: flag for flag in at.flags()}
    kind, *tail = re.split(r"[\t\n\v\f\r \x85\xa0]+", at.some("CMD and a command, or NONE"), maxsplit=1)
    rest = tail[0] if tail else ""
    if kind.upper() == "NONE":
        if rest:
            raise at.fail(f"NONE has {rest!r} behind it", "NONE stands alone")
        return ins.Healthcheck(text=at.text, range=at.range, settings=HealthSettings(test=("NONE",)))
    if kind.upper() != "CMD":
        raise at.fail(f"has {kind!r}", "it takes CMD and a command, or NONE")
    words = json_array(rest)
    if not rest or words == ():
        raise at.fail("CMD has no command", "it reads HEALTHCHECK CMD COMMAND")
    times = {}
    for name in ("interval", "timeout", "start-period", "start-interval"):
        if (flag := values.get(name)) and flag.value:
            try:
                times[name] = nanoseconds(flag.value)
            except ValueError:
                raise wrong(
                    f"HEALTHCHECK has --{name}={flag.value}", flag.range, hint="a duration reads 30s, 1m30s or 500ms"
                ) from None
            if 0 < times[name] < 10**6:
                raise wrong(f"HEALTHCHECK has --{name}={flag.value}", flag.range, hint="1ms is the least")
    retries = values.get("retries")
    if retries and retries.value and not (retries.value.isascii() and retries.value.isdecimal()):
        raise wrong(f"HEALTHCHECK has --retries={retries.value}", retries.range, hint="it is a whole number from 0 on")
    return ins.Healthcheck(
        text=at.text,
        range=at.range,
        settings=HealthSettings(
            test=("CMD-SHELL", rest) if words is None else ("CMD", *words),
            interval=times.get("interval", 0),
            timeout=times.get("timeout", 0),
            start_period=times.get("start-period", 0),
            start_interval=times.get("start-interval", 0),
            retries=int(retries.value) if retries and retries.value else 0,
        ),
    )


def _onbuild(at: _Reading) -> ins.Onbuild:
    at.flags()
    inner = BLANKS.split(at.some("an instruction"), maxsplit=1)[0].upper()
    if inner in ("ONBUILD", "FROM", "MAINTAINER"):
        raise at.fail(f"has {inner} behind it", "ONBUILD, FROM and MAINTAINER cannot be triggers")
    written = at.line.span.text[at.line.arguments :]  # with the blanks behind it, which are kept too
    text = written + "".join(f"\n{document.content}{document.name}" for document in at.line.heredocs)
    return ins.Onbuild(text=at.text, range=at.range, trigger=text, fault=_fault(text, at))


def _fault(text: str, at: _Reading) -> str:
    """What is wrong with a trigger, in words: an error only of builds that begin with the image, but for what BuildKit minds at once.

    That is DockerfileError for the pairs of ENV and LABEL, NotStrings for a JSON array.
    """
    if _is_comment(text):
        return _COMMENT
    line = _trigger_line(text, at.escape, at.range)
    try:
        _read(line, at.escape)
    except DockerfileError as error:
        if line.keyword.text.upper() in ("ENV", "LABEL") and line.rest and not line.flags:
            raise Malformed.of(wrong(f"ONBUILD {unplaced(error)}", at.range, hint=error.hint)) from error
        return unplaced(error)
    return ""


_READERS: dict[str, Callable[[_Reading], ins.Instruction]] = {
    "FROM": _from,
    "ARG": _arg,
    "ENV": lambda at: ins.Env(text=at.text, range=at.range, pairs=at.pairs(), legacy=at.is_legacy()),
    "LABEL": lambda at: ins.Label(text=at.text, range=at.range, pairs=at.pairs(), legacy=at.is_legacy()),
    "RUN": _run,
    "COPY": _copy,
    "ADD": _add,
    "WORKDIR": lambda at: ins.Workdir(text=at.text, range=at.range, path=_single(at, "a path")),
    "USER": lambda at: ins.User(text=at.text, range=at.range, user=_single(at, "a user, as in www-data or 1000:1000")),
    "EXPOSE": _expose,
    "VOLUME": _volume,
    "CMD": lambda at: ins.Cmd(text=at.text, range=at.range, command=_optional(at)),
    "ENTRYPOINT": lambda at: ins.Entrypoint(text=at.text, range=at.range, command=_optional(at)),
    "SHELL": _shell,
    "STOPSIGNAL": lambda at: ins.StopSignal(
        text=at.text, range=at.range, signal=_single(at, "a signal, as in SIGTERM")
    ),
    "MAINTAINER": lambda at: ins.Maintainer(text=at.text, range=at.range, name=_single(at, "a name")),
    "HEALTHCHECK": _healthcheck,
    "ONBUILD": _onbuild,
}


def _single(at: _Reading, what: str) -> str:
    at.flags()
    return at.some(what)


def _optional(at: _Reading) -> ins.Command:
    at.flags()
    return at.command()

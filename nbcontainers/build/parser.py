"""The text of a Dockerfile becomes lines of instructions, each with its place: the whole syntax, no meaning yet.

The meaning of each instruction is in ``instructions``. Checked against BuildKit's own parser in the tests.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import InvalidReference
from ..oci.reference import Reference
from .expand import BadExpansion, expand
from .source import SPACE, Range, Span, wrong
from .words import NotStrings, Word, flags, json_array

_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*")
_DIRECTIVES = frozenset({"syntax", "escape", "check"})
_HEREDOC = re.compile(r"(\d*)<<(-?)([^<]*)")
_LOOSE = re.compile(r"<<[\t\n\v\f\r ]+")
_HELD = "\0"  # for spaces behind <<: BuildKit lets the word go on there, and a "-" behind them belongs to the name
_KEYWORD_END = re.compile(r"[\t\v\f\r ]")
_TABS = re.compile(r"^\t+", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heredoc:
    """A document below an instruction. ``expand`` where its name was not quoted; ``chomp`` for ``<<-``: leading tabs go."""

    name: str
    content: str
    expand: bool
    chomp: bool
    range: Range

    @property
    def text(self) -> str:
        """The content without the leading tabs that ``<<-`` takes away."""
        return _TABS.sub("", self.content) if self.chomp else self.content


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One instruction as it is written: joined from its lines, without comments.

    ``arguments`` is the offset in ``span.text`` behind the flags; ``heredocs`` are the documents that follow it; ``range``
    is the place of it all.
    """

    keyword: Word
    flags: tuple[Word, ...]
    arguments: int
    span: Span
    heredocs: tuple[Heredoc, ...]
    range: Range

    @property
    def end(self) -> int:
        """The offset behind the last argument, spaces not counted."""
        return max(self.arguments, len(self.span.text.rstrip(SPACE)))

    @property
    def rest(self) -> str:
        """The arguments as text."""
        return self.span.text[self.arguments : self.end]

    def place(self, word: Word) -> Range:
        """Where a word of it stands."""
        return self.span.at(word.start, word.end)


@dataclass(frozen=True, slots=True, kw_only=True)
class Syntax:
    """A parsed Dockerfile: its lines, its escape character, its directives, and the empty lines in each instruction that has some."""

    lines: tuple[Line, ...]
    escape: str
    directives: tuple[tuple[str, str], ...]
    empty_continuations: tuple[tuple[int, ...], ...]


def parse(text: str) -> Syntax:
    """Read the text of a Dockerfile.

    Raises:
        DockerfileError: no instruction at all, a directive twice or with a wrong value, a heredoc that does not end.

    """
    return _Parser(text).parse()


def heredoc_name(word: str) -> tuple[str, bool, bool] | None:
    """The name of a heredoc that a word opens, whether it chomps and whether it expands; None for any other word."""
    found = _HEREDOC.fullmatch(word)
    if not found or not found[3]:
        return None
    written = found[3].removeprefix("\ufeff")  # Go's scanner passes over one
    plain = expand(written, {}, keep_unset=True)
    if len(plain.words) != 1:
        return None
    raw = expand(written, {}, keep_unset=True, keep_quotes=True)
    name = plain.words[0]
    quoted = sum(map(name.count, "'\"")) != sum(map(raw.words[0].count, "'\""))
    return name, found[2] == "-", not quoted


class _Parser:
    """One pass over the lines; ``number`` is the last line read."""

    def __init__(self, text: str) -> None:
        self.lines = text.removeprefix("\ufeff").split("\n")
        if self.lines[-1] == "":
            self.lines.pop()
        self.number = 0
        self.escape = "\\"
        self.directives: dict[str, str] = {}
        self.empty: list[tuple[int, ...]] = []

    def parse(self) -> Syntax:
        found: list[Line] = []
        self.read_directives()
        while self.number < len(self.lines):
            span = self.join()
            if span is not None:
                found.append(self.instruction(span))
        if not found:
            count = max(1, len(self.lines))
            raise wrong(
                "a Dockerfile with no instructions", Range(1, 1, count, 1), hint="it begins with FROM and an image"
            )
        return Syntax(
            lines=tuple(found),
            escape=self.escape,
            directives=tuple(self.directives.items()),
            empty_continuations=tuple(self.empty),
        )

    def read_directives(self) -> None:
        """``# name=value`` lines at the very top; the first other line ends them, and stays to be read.

        Below a line ``#!…`` there may be some too, but ``escape`` is none there.
        """
        if self.lines and self.lines[0].startswith("#!"):
            self.number = 1
        below, places = self.number, dict[str, int]()
        for line in self.lines[below:]:
            found = _DIRECTIVE.fullmatch(line.lstrip(SPACE).rstrip("\r"))
            name = found[1].lower() if found else ""
            if not found or name not in _DIRECTIVES:
                return
            self.number += 1
            if below and name == "escape":
                continue
            place = Range(self.number, 1, self.number, len(line) + 1)
            if name in self.directives:
                first = Range(places[name], 1, places[name], len(self.lines[places[name] - 1]) + 1)
                again = f"the directive {name!r} stands here, and a second time in line {self.number}"
                raise wrong(again, first, hint="once is allowed")
            self.directives[name], places[name] = found[2], self.number
            if name == "syntax":
                _check_frontend(found[2], place)
            if name == "escape":
                if found[2] not in ("\\", "`"):
                    raise wrong(f"the escape character is {found[2]!r}", place, hint="it is \\ or `")
                self.escape = found[2]

    def next(self) -> str:
        line = self.lines[self.number]
        self.number += 1
        return line.rstrip("\r")

    def join(self) -> Span | None:
        """The next instruction with its continuations, or None for a blank line or comment."""
        line = self.next()
        first = self.number
        stripped = line.lstrip(SPACE)
        if not stripped or stripped[0] == "#":
            return None
        text, goes_on = self.continued(stripped)
        parts, starts, places = [text], [0], [(first, len(line) - len(stripped) + 1)]
        length = len(text)
        empty: list[int] = []
        while goes_on and self.number < len(self.lines):
            line = self.next()
            stripped = line.lstrip(SPACE)
            if not stripped:
                empty.append(self.number)
            if not stripped or stripped[0] == "#":
                continue
            text, goes_on = self.continued(line)
            parts.append(text)
            starts.append(length)
            places.append((self.number, 1))
            length += len(text)
        if empty:
            self.empty.append(tuple(empty))
        last = self.lines[self.number - 1].rstrip("\r")
        return Span("".join(parts), tuple(starts), tuple(places), Range(*places[0], self.number, len(last) + 1))

    def continued(self, line: str) -> tuple[str, bool]:
        """The line without an escape character at its end, and whether there was one (a doubled one is none)."""
        text = line.rstrip(" \t")
        if text.endswith(self.escape) and not text.endswith(self.escape * 2):
            return text[:-1], True
        return line, False

    def instruction(self, span: Span) -> Line:
        text = span.text
        begin = len(text) - len(text.lstrip(SPACE))
        stop = len(text.rstrip(SPACE))
        gap = _KEYWORD_END.search(text, begin, stop)
        keyword_end = gap.start() if gap else max(begin, stop)
        keyword = Word(text[begin:keyword_end], begin, keyword_end)
        if not keyword.text:
            raise wrong("a continuation of nothing", span.range, hint="an instruction begins the line")
        found, position = flags(text[:stop], keyword_end)
        documents = self.heredocs(span, keyword.text.upper(), text[position:stop])
        place = span.range
        if documents:
            ends = documents[-1].range
            place = Range(place.line, place.column, ends.end_line, ends.end_column)
        return Line(keyword=keyword, flags=found, arguments=position, span=span, heredocs=documents, range=place)

    def heredocs(self, span: Span, keyword: str, rest: str) -> tuple[Heredoc, ...]:
        """The documents that the words of a RUN, COPY or ADD open (behind an ONBUILD too), read in their order."""
        if "<<" not in rest:
            return ()
        if keyword == "ONBUILD":
            keyword, _, rest = _KEYWORD_END.sub(" ", rest, count=1).partition(" ")
            keyword = keyword.upper()
            _, position = flags(rest, 0)
            rest = rest[position:]
        if keyword not in ("RUN", "COPY", "ADD") or (rest.startswith("[") and _is_json(rest)):
            return ()
        try:
            # BuildKit takes the whole line, with quotes and escapes in place, and knows only the backslash here.
            words = expand(
                _LOOSE.sub("<<" + _HELD, span.text), {}, keep_quotes=True, keep_escapes=True, keep_unset=True
            ).words
            names = [found for word in words if (found := heredoc_name(word.replace(_HELD, " ")))]
        except BadExpansion:
            return ()
        return tuple(self.document(span, *name) for name in names)

    def document(self, span: Span, name: str, chomp: bool, expands: bool) -> Heredoc:
        first, content = self.number + 1, list[str]()
        while self.number < len(self.lines):
            raw = self.lines[self.number]
            line = self.next()
            if (line.lstrip("\t") if chomp else line) == name:
                place = Range(first, 1, self.number, len(line) + 1)
                return Heredoc(name=name, content="".join(content), expand=expands, chomp=chomp, range=place)
            content.append(raw + "\n")
        hint = f"a line {name!r} ends it"
        if any(line.strip(SPACE) == name for line in content):
            hint += ", with no spaces around it"
        raise wrong(
            f"the heredoc {name!r} does not end",
            Range(span.range.line, span.range.column, max(self.number, span.range.line), 1),
            hint=hint,
        )


def _check_frontend(value: str, place: Range) -> None:
    """None is downloaded, but a name has to be one."""
    name = value.partition(" ")[0]
    try:
        Reference.parse(name)
    except InvalidReference as error:
        raise wrong(
            f"the syntax is {name!r}, which names no image", place, hint="it reads docker/dockerfile:1"
        ) from error


def _is_json(text: str) -> bool:
    try:
        return json_array(text) is not None
    except NotStrings:
        return True

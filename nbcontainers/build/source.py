"""Places in a Dockerfile: where each word stands, also in an instruction that goes on over several lines."""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..errors import DockerfileError

# What Go's unicode.IsSpace holds for space; str.isspace counts U+001C to U+001F too.
SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"


@dataclass(frozen=True, slots=True)
class Range:
    """Some text's place: lines and columns count from 1, in characters; ``end_column`` is the first behind it."""

    line: int
    column: int
    end_line: int
    end_column: int

    @property
    def lines(self) -> tuple[int, int]:
        """The first and the last line."""
        return self.line, self.end_line

    def __str__(self) -> str:
        return f"line {self.line}" if self.line == self.end_line else f"lines {self.line} to {self.end_line}"


@dataclass(frozen=True, slots=True)
class Span:
    """Text joined from several lines, that still knows where each character stood.

    ``starts`` are the offsets at which a new piece begins and ``places`` the line and column of each; ``range`` is the
    place of all of it.
    """

    text: str
    starts: tuple[int, ...]
    places: tuple[tuple[int, int], ...]
    range: Range

    def at(self, offset: int, end: int) -> Range:
        """The place of ``text[offset:end]``."""
        line, column = self._place(offset)
        last, behind = self._place(max(offset, end - 1))
        return Range(line, column, last, behind + (end > offset))

    def _place(self, offset: int) -> tuple[int, int]:
        piece = max(0, bisect_right(self.starts, offset) - 1)
        line, column = self.places[piece]
        return line, column + offset - self.starts[piece]


def wrong(message: str, place: Range, *, hint: str = "") -> DockerfileError:
    """The error for a place in the Dockerfile; its message begins with the line."""
    return DockerfileError(f"{place}: {message}", lines=place.lines, hint=hint)


class Malformed(DockerfileError):
    """What BuildKit minds while it takes the text apart: told before all that is wrong with instructions, wherever those stand."""

    @classmethod
    def of(cls, error: DockerfileError) -> Malformed:
        """The same error as one of this kind."""
        return cls(error.message, lines=error.lines, hint=error.hint)


@contextlib.contextmanager
def marking(place: Range) -> Iterator[None]:
    """What is wrong in an instruction marks all its lines, as in BuildKit, though the message names a line of them."""
    try:
        yield
    except DockerfileError as error:
        error.lines = place.lines
        raise


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint that names the nearest of the known words, or lists all of them."""
    from difflib import get_close_matches

    known = sorted(known)
    near = get_close_matches(word.lower(), [name.lower() for name in known], n=1, cutoff=0.6)
    if near:
        return f"did you mean {next(name for name in known if name.lower() == near[0])}?"
    return f"known are {', '.join(known)}" if known else ""


def unplaced(error: DockerfileError) -> str:
    """An error's message without the line that it begins with: for saying it of another place."""
    return error.message.split(": ", 1)[1]

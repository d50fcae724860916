"""What programs write for a terminal, made safe for a place that is none: colours stay, every other escape goes.

Sources: ECMA-48, sections 5 and 8.3.117 (SGR); console_codes(4).
"""

from __future__ import annotations

import codecs
import re
from collections import deque
from collections.abc import Iterator

Run = tuple[str, str]
"""A piece of text and its style: words out of bold, dim, italic, underline and a colour from ``0`` to ``15``."""

LONGEST = 4096  # characters that an escape may take before it is no escape any more

_ESCAPE = re.compile(
    r"\x1b\[(?P<colour>[0-9;:]*)m"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # control sequences: cursor, screen, modes
    r"|\x1b[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)"  # strings: titles, links, device control
    r"|\x1b[ -/]*[0-~]"  # short escapes
    r"|[\x00-\x07\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f]"  # all controls but backspace, tab, line feed and carriage return
    r"|\x1b"
)
_UNFINISHED = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*\Z|\x1b[\]PX^_][^\x07\x1b\n]*\x1b?\Z|\x1b[ -/]*\Z")
_LINES = re.compile(r"[^\n]*\n|[^\n]+")


class Cleaner:
    """Turns the bytes of one stream into text that may be shown: UTF-8 decoded, colours kept, all other escapes dropped.

    Pieces may end anywhere, also within a character or an escape.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._coloured = False

    def feed(self, data: bytes) -> str:
        """The text of what is whole by now."""
        return self._clean(self._rest + self._decoder.decode(data), final=False)

    def close(self) -> str:
        """The text of what was left, with the colours set back."""
        text = self._clean(self._rest + self._decoder.decode(b"", final=True), final=True)
        return text + ("\x1b[0m" if self._coloured else "")

    def _clean(self, text: str, *, final: bool) -> str:
        self._rest = ""
        unfinished = None if final else _UNFINISHED.search(text, max(0, len(text) - LONGEST))
        if unfinished:
            text, self._rest = text[: unfinished.start()], unfinished[0]
        return _ESCAPE.sub(self._kept, text)

    def _kept(self, match: re.Match[str]) -> str:
        colour = match["colour"]
        if colour is None:
            return ""
        self._coloured = colour.strip("0;") != ""
        return match[0]


def plain(data: bytes) -> str:
    """The text of some output without any escape; of a line that was overwritten only what was last to be seen."""
    return "\n".join("".join(text for _, text in line) for line in lines(Cleaner().feed(data)))


class Tail:
    """The last lines of an output, whatever its length; a carriage return starts the line anew, as on a screen."""

    def __init__(self, limit: int = 200, width: int = 2000) -> None:
        self._lines: deque[str] = deque(maxlen=limit)
        self._width = width
        self._open = False
        self._cleaner = Cleaner()
        self.dropped = 0

    def feed(self, data: bytes) -> None:
        """Take in what was written."""
        for match in _LINES.finditer(self._cleaner.feed(data)):
            piece = match[0]
            if self._open:
                piece = self._lines.pop() + piece
            elif len(self._lines) == self._lines.maxlen:
                self.dropped += 1
            self._open = not piece.endswith("\n")
            piece = piece.rstrip("\n").removesuffix("\r") if not self._open else piece
            head, back, last = piece.rpartition("\r")
            # what stood in the line before is overwritten, but a return at the very end overwrites nothing yet
            kept = last if last or not back else head.rpartition("\r")[2] + back
            self._lines.append(kept[-self._width :])

    def runs(self) -> list[list[Run]]:
        """The lines, each as runs of one style."""
        return lines("\n".join(self._lines))

    def __bool__(self) -> bool:
        return bool(self._lines)


def lines(text: str) -> list[list[Run]]:
    """Cleaned text as lines of runs; a style that is not set back goes on in the next line."""
    style: dict[str, str] = {}
    shown = []
    for line in text.removesuffix("\n").split("\n"):
        seen = line.removesuffix("\r").rpartition("\r")[2]
        shown.append([run for run in _runs(seen, style) if run[1]])
    return shown


def _runs(line: str, style: dict[str, str]) -> Iterator[Run]:
    place = 0
    for match in _ESCAPE.finditer(line):
        yield " ".join(style.values()), _rubbed(line[place : match.start()])
        place = match.end()
        if match["colour"] is not None:
            _restyle(style, match["colour"])
    yield " ".join(style.values()), _rubbed(line[place:])


def _rubbed(text: str) -> str:
    """Each backspace takes the character before it away."""
    while "\b" in text:
        text = re.sub("[^\b]\b|^\b+", "", text)
    return text


_WORDS = {1: "bold", 2: "dim", 3: "italic", 4: "underline"}
_ENDS = {22: ("bold", "dim"), 23: ("italic",), 24: ("underline",), 39: ("colour",)}


def _restyle(style: dict[str, str], codes: str) -> None:
    numbers = iter([int(code or 0) for code in re.split("[;:]", codes)])
    for number in numbers:
        if number == 0:
            style.clear()
        elif number in _WORDS:
            style[_WORDS[number]] = _WORDS[number]
        elif number in _ENDS:
            for key in _ENDS[number]:
                style.pop(key, None)
        elif 30 <= number <= 37:
            style["colour"] = str(number - 30)
        elif 90 <= number <= 97:
            style["colour"] = str(number - 90 + 8)
        elif number in (38, 48):
            found = _wide(numbers)
            if number == 38 and found is not None:
                style["colour"] = str(found)


def _wide(numbers: Iterator[int]) -> int | None:
    """The nearest of sixteen colours to one of 256 (``5;n``) or of all (``2;r;g;b``): a theme can then keep all readable."""
    kind = next(numbers, 0)
    if kind == 5:
        index = next(numbers, 0)
        if index < 16:
            return index
        if index >= 232:
            return 8 if index < 244 else 7
        cube = index - 16
        parts = (cube // 36 * 51, cube // 6 % 6 * 51, cube % 6 * 51)
    elif kind == 2:
        parts = (next(numbers, 0), next(numbers, 0), next(numbers, 0))
    else:
        return None
    least, most = min(parts), max(parts)
    if most - least < 48:
        return 0 if most < 64 else 8 if most < 160 else 7
    middle = (least + most) / 2
    hue = sum(1 << bit for bit, part in enumerate(parts) if part > middle)
    return hue + (8 if most > 200 else 0)

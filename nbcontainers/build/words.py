"""How an instruction's text falls into flags, words, name=value pairs and JSON: BuildKit's rules, each with its offset."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple, NoReturn

from .source import SPACE

BLANKS = re.compile(r"[\t\v\f\r ]+")


class Word(NamedTuple):
    """A word as it is written (quotes and escapes still in it) and where it stands in the instruction's text."""

    text: str
    start: int
    end: int


class NotStrings(ValueError):
    """A JSON array that holds something else than strings: BuildKit refuses it instead of taking it for a command."""


def flags(text: str, start: int) -> tuple[tuple[Word, ...], int]:
    """The leading ``--flag`` words from an offset on, unquoted, and the offset of what follows them.

    A lone ``--`` ends the flags. Quotes and backslashes are taken away here, whatever the escape character is.
    """
    found: list[Word] = []
    position, end, ended = start, len(text), False
    while True:
        while position < end and text[position] in SPACE:
            position += 1
        if ended or not text.startswith("--", position):
            return tuple(found), position
        begin, quote, word = position, "", ""
        while position < end and (quote or text[position] not in SPACE):
            sign = text[position]
            if quote and sign == quote:
                quote = ""
            elif not quote and sign in "'\"":
                quote = sign
            elif sign == "\\":
                position += 1
                word += text[position : position + 1]
            else:
                word += sign
            position += 1
        position = min(position, end)
        ended = word == "--"
        if not ended:
            found.append(Word(word, begin, position))


def blank_separated(text: str, start: int, end: int) -> tuple[Word, ...]:
    """Words between blanks; quotes mean nothing."""
    found, position = [], start
    for gap in BLANKS.finditer(text, start, end):
        found.append(Word(text[position : gap.start()], position, gap.start()))
        position = gap.end()
    found.append(Word(text[position:end], position, end))
    return tuple(found) if start < end else ()


def quoted(text: str, start: int, end: int, escape: str) -> tuple[Word, ...]:
    """Words between spaces, where quotes and escapes hold spaces together; both stay in the words."""
    found: list[Word] = []
    position = start
    while position < end:
        if text[position] in SPACE:
            position += 1
            continue
        begin, word, quote, blank = position, "", "", False
        while position < end and (quote or text[position] not in SPACE):
            sign = text[position]
            if sign == escape and quote != "'":
                position += 1
                if position == end:  # an escape at the very end is dropped
                    break
                word += sign
                sign = text[position]
            elif quote:
                quote = "" if sign == quote else quote
            elif sign in "'\"":
                quote, blank = sign, True
            word += sign
            position += 1
        if word or blank:
            found.append(Word(word, begin, position))
    return tuple(found)


def json_array(text: str) -> tuple[str, ...] | None:
    """The strings of a JSON array, or None where the text is none, so that it is a command for the shell.

    Raises:
        NotStrings: it is an array of other things.

    """
    text = text.lstrip(SPACE)
    if not text.startswith("["):
        return None
    try:
        values: Any = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    for value in values:
        if not isinstance(value, str):
            raise NotStrings(json.dumps(value))
    # Go puts U+FFFD for half a surrogate pair.
    return tuple(value.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for value in values)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")

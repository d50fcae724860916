"""Variables, quotes and escapes in an instruction's words: a pure function with the rules of BuildKit's own lexer.

``$NAME``, ``${NAME}`` and ``${NAME:-word}`` with ``- + ?`` (and a colon: empty counts as not set), ``# ## % %%`` (cut the
shortest or longest match off the front or the end) and ``/ //`` (replace the first or every match). In patterns ``*`` and
``?`` are wildcards; there are no brackets. In double quotes a variable still counts and the escape character takes away the
meaning of ``" $`` and itself; in single quotes nothing counts.

Source: docs.docker.com, Dockerfile reference, "Environment replacement".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from .source import SPACE

_PLAIN = re.compile(r"[^$'\"\\`]*")
_SPECIAL = "@*#?-$!0"
_QUOTES = "close the quote, or put the escape character before it"
_BRACES = "a variable reads $NAME, ${NAME} or ${NAME:-default}; a plain $ has the escape character before it"
_OPERATORS = "known are :- - :+ + :? ? # ## % %% / and //"


class BadExpansion(ValueError):
    """A word that cannot be expanded: why, and what to do about it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Expansion:
    """What a word became: as one text, and as the words it falls into at spaces that are not quoted.

    ``unset`` are the variables that it names and that have no value, also those with a default.
    """

    text: str
    words: tuple[str, ...]
    unset: frozenset[str] = frozenset()


def expand(
    word: str,
    values: Mapping[str, str],
    *,
    escape: str = "\\",
    keep_quotes: bool = False,
    keep_escapes: bool = False,
    keep_unset: bool = False,
    quotes: bool = True,
) -> Expansion:
    """Replace the variables of a word and take its quotes and escapes away.

    Args:
        word: the text as it is written.
        values: the variables that are set.
        escape: the Dockerfile's escape character.
        keep_quotes: quotes have their meaning but stay in the text.
        keep_escapes: the same for escapes.
        keep_unset: a variable that is not set stays as it is written.
        quotes: False where quotes mean nothing (the text of a heredoc).

    Raises:
        BadExpansion: a quote or brace that does not end, an operator that is not known, ``${NAME:?}`` of what is not set.

    """
    if _PLAIN.fullmatch(word):
        return Expansion(word, tuple(_split(word)))
    lexer = _Lexer(word, values, escape, keep_quotes, keep_unset, quotes)
    text, words = lexer.until("", keep_escapes)
    return Expansion(text, tuple(words), frozenset(lexer.unset))


def _split(text: str) -> list[str]:
    words = _Words()
    words.add(text)
    return words.done()


class _Words:
    """The words so far; spaces part them, but quoted text is added raw."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.word = ""

    def add(self, text: str) -> None:
        for sign in text:
            if sign not in SPACE:
                self.word += sign
            elif self.word:
                self.found.append(self.word)
                self.word = ""

    def add_raw(self, text: str) -> None:
        self.word += text

    def done(self) -> list[str]:
        if self.word:
            self.found.append(self.word)
            self.word = ""
        return self.found


class _Lexer:
    """One pass over one text; ``position`` is the next character."""

    def __init__(
        self, text: str, values: Mapping[str, str], escape: str, keep_quotes: bool, keep_unset: bool, quotes: bool
    ) -> None:
        self.text = text
        self.position = 0
        self.values = values
        self.escape = escape
        self.keep_quotes = keep_quotes
        self.keep_unset = keep_unset
        self.quotes = quotes
        self.unset: set[str] = set()

    def peek(self) -> str:
        return self.text[self.position : self.position + 1]

    def next(self) -> str:
        sign = self.peek()
        self.position += 1
        return sign

    def until(self, stop: str, keep_escapes: bool) -> tuple[str, list[str]]:
        """Everything up to an unquoted ``stop``, or to the end where ``stop`` is empty."""
        text: list[str] = []
        words = _Words()
        while sign := self.peek():
            if sign == stop:
                self.next()
                return "".join(text), words.done()
            if sign == "$":
                part = self.dollar()
                words.add(part)
            elif self.quotes and sign in "'\"":
                part = self.single() if sign == "'" else self.double(keep_escapes)
                words.add_raw(part)
            elif sign == self.escape:
                self.next()
                part = (sign if keep_escapes else "") + self.next()
                words.add_raw(part)
            else:
                part = self.next()
                words.add(part)
            text.append(part)
        if stop:
            raise BadExpansion(f"{self.text!r} has no closing {stop!r}", _BRACES)
        return "".join(text), words.done()

    def single(self) -> str:
        end = self.text.find("'", self.position + 1)
        if end < 0:
            raise BadExpansion(f"{self.text!r} has no closing single quote", _QUOTES)
        begin, self.position = self.position, end + 1
        return self.text[begin : end + 1] if self.keep_quotes else self.text[begin + 1 : end]

    def double(self, keep_escapes: bool) -> str:
        mark = self.next() if self.keep_quotes else ""
        self.position += not mark
        kept = mark
        while sign := self.peek():
            if sign == '"':
                self.next()
                return kept + mark
            if sign == "$":
                kept += self.dollar()
                continue
            self.next()
            if sign == self.escape:
                if keep_escapes:
                    kept += sign
                following = self.peek()
                if not following:
                    continue
                if following in ('"', "$", self.escape):
                    sign = self.next()
            kept += sign
        raise BadExpansion(f"{self.text!r} has no closing double quote", _QUOTES)

    def name(self) -> str:
        begin = self.position
        sign = self.peek()
        if sign.isdecimal():
            while self.peek().isdecimal():
                self.position += 1
        elif sign and sign in _SPECIAL:
            self.position += 1
        else:
            while (sign := self.peek()) and (sign == "_" or sign.isalpha() or sign.isdecimal()):
                self.position += 1
        return self.text[begin : self.position]

    def plain(self, name: str, written: str) -> str:
        """The value of a variable without operators."""
        value = self.value(name)
        return value if value is not None else written if self.keep_unset else ""

    def value(self, name: str) -> str | None:
        """The value of a variable; that it has none is noted."""
        value = self.values.get(name)
        if value is None and name != "$":
            self.unset.add(name)
        return value

    def dollar(self) -> str:
        self.next()
        if self.peek() != "{":
            name = self.name()
            if not name:
                return "$"
            return self.plain(name, f"${name}")
        self.next()
        if not self.peek():
            raise BadExpansion(f"{self.text!r} has no closing '}}'", _BRACES)
        if self.peek() in "{}:":
            raise BadExpansion(f"{self.text!r} has no variable name after '${{'", _BRACES)
        name = self.name()
        operator = self.next()
        if operator == "}":
            return self.plain(name, f"${{{name}}}")
        if operator == "/":
            return self.replaced(name)
        colon = ":" if operator == ":" else ""
        if colon:
            operator = self.next()
        if not operator:
            raise BadExpansion(f"{self.text!r} has no closing '}}'", _BRACES)
        if operator not in ("-+?" if colon else "-+?#%"):
            raise BadExpansion(f"{self.text!r} has {colon + operator!r} behind the name {name!r}", _OPERATORS)
        word, _ = self.until("}", operator in "#%")
        value = self.value(name)
        if value is None and self.keep_unset:
            return f"${{{name}{colon}{operator}{word}}}"
        return _operated(name, value, operator, colon, word)

    def replaced(self, name: str) -> str:
        everywhere = self.peek() == "/"
        if everywhere:
            self.next()
        pattern, _ = self.until("/", True)
        replacement, _ = self.until("}", True)
        value = self.value(name)
        if value is None and self.keep_unset:
            return f"${{{name}/{pattern}/{replacement}}}"
        return _replace(_pattern(pattern, greedy=True), replacement, value or "", everywhere)


def _operated(name: str, value: str | None, operator: str, colon: str, word: str) -> str:
    has = value is not None and not (colon and value == "")
    match operator:
        case "-":
            return value or "" if has else word
        case "+":
            return word if has else ""
        case "?":
            if not has:
                state = "not set" if value is None else "empty"
                raise BadExpansion(
                    f"{name} is {state}" + (f": {word}" if word else ""),
                    f"it must have a value: ARG {name}, and --build-arg {name}=VALUE",
                )
            return value or ""
        case _:
            greedy = word.startswith(operator)
            pattern = word[1:] if greedy else word
            cut = _cut_front if operator == "#" else _cut_end
            return cut(pattern, value or "", greedy)


def _cut_front(pattern: str, value: str, greedy: bool) -> str:
    found = _pattern(pattern, greedy=greedy).match(value)
    return value[found.end() :] if found else value


def _cut_end(pattern: str, value: str, greedy: bool) -> str:
    # The shortest match at the end is the shortest at the front of both turned round.
    turned, position = "", 0
    while position < len(pattern):
        width = 2 if pattern[position] == "\\" and position + 1 < len(pattern) else 1
        turned = pattern[position : position + width] + turned
        position += width
    return _cut_front(turned, value[::-1], greedy)[::-1]


def _pattern(pattern: str, *, greedy: bool) -> re.Pattern[str]:
    signs, expression = iter(pattern), ""
    for sign in signs:
        if sign == "*":
            expression += ".*" if greedy else ".*?"
        elif sign == "?":
            expression += "."
        elif sign == "\\":
            escaped = next(signs, "")
            if not escaped or escaped not in "*?\\}/":
                raise BadExpansion(
                    f"the pattern {pattern!r} has {sign + escaped!r}",
                    "in a pattern an escape stands before * ? / } or itself",
                )
            expression += re.escape(escaped)
        else:
            expression += re.escape(sign)
    return re.compile(expression)


def _replace(pattern: re.Pattern[str], replacement: str, value: str, everywhere: bool) -> str:
    parts, position = [], 0
    for found in pattern.finditer(value):
        if found.start() == found.end() == position > 0:
            continue  # Go lets no empty match stand right behind another match
        parts += [value[position : found.start()], replacement]
        position = found.end()
        if not everywhere:
            break
    return "".join(parts) + value[position:]

"""What ``.dockerignore`` leaves out of a build context.

One pattern a line: ``*`` and ``?`` match all but a slash, ``**`` any number of folders, ``!`` takes paths in again; the last
pattern that matches decides, and what matches a folder holds for everything below it. Patterns are anchored at the context's
root, with or without a leading slash. A ``#`` at the very beginning of a line is a comment.

Source: docs.docker.com, "Dockerignore file"; github.com/moby/patternmatcher.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass

from .source import SPACE
from .wildcards import character_class, compiled

Matched = tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Pattern:
    """One pattern: ``exception`` where it takes paths in again."""

    text: str
    exception: bool
    expression: re.Pattern[str]
    prefix: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ignore:
    """The patterns in their order."""

    patterns: tuple[Pattern, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Ignore:
        """Read the text of a ``.dockerignore``. ValueError names the line that is no pattern."""
        found = []
        for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
            if line.startswith("#") or not line.strip(SPACE):
                continue
            try:
                found.append(_line(line.strip(SPACE)))
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from error
        return cls(tuple(found))

    @classmethod
    def of(cls, patterns: Iterable[str]) -> Ignore:
        """The patterns as they are, each a whole one: no slash at their beginning is taken away. ValueError for what is no pattern."""
        found = []
        for pattern in patterns:
            if pattern.strip(SPACE):
                path = _cleaned(pattern.strip(SPACE))
                found.append(_pattern(path.removeprefix("!"), exception=path.startswith("!")))
        return cls(tuple(found))

    @property
    def rules(self) -> tuple[tuple[str, bool], ...]:
        """The patterns as rules of ``store.picking``."""
        return tuple((pattern.expression.pattern, pattern.exception) for pattern in self.patterns)

    @property
    def nothing(self) -> Matched:
        """The state of the root: no pattern has matched."""
        return (False,) * len(self.patterns)

    def below(self, path: str, parent: Matched) -> tuple[bool, Matched]:
        """Whether a path is ignored, and what is handed on to the paths below it.

        Args:
            path: relative to the root, without leading slash.
            parent: what this gave for the folder it lies in.

        """
        ignored, matched = False, []
        for pattern, above in zip(self.patterns, parent, strict=True):
            # One that would change nothing is not asked, and so says nothing of what is below either: moby has it so.
            here = above or (pattern.exception == ignored and bool(pattern.expression.fullmatch(path)))
            matched.append(here)
            if here:
                ignored = not pattern.exception
        return ignored, tuple(matched)

    def ignores(self, path: str) -> bool:
        """Whether a path is ignored, by itself or through a folder above it."""
        state, ignored = self.nothing, False
        parts = path.split("/")
        for depth in range(1, len(parts) + 1):
            ignored, state = self.below("/".join(parts[:depth]), state)
        return ignored

    def may_except_below(self, path: str) -> bool:
        """Whether some exception could take in a path below this folder again."""
        parts = tuple(path.split("/"))
        return any(pattern.exception and _compatible(pattern.prefix, parts) for pattern in self.patterns)


def _line(word: str) -> Pattern:
    exception = word.startswith("!")
    path = word[exception:].strip(SPACE)
    path = _cleaned(path) if path else ""
    if exception and path == "/":
        raise ValueError(f"{word!r} takes the context itself in again, which is always in")
    return _pattern(path.removeprefix("/") if len(path) > 1 else path, exception=exception)


def _cleaned(path: str) -> str:
    return posixpath.normpath(path.replace("//", "/"))


def _pattern(path: str, *, exception: bool) -> Pattern:
    if not path:
        raise ValueError("'!' without a pattern")
    compiled(path)
    try:
        return Pattern(path, exception, _expression(path), _prefix(path))
    except re.error as error:
        raise ValueError(str(error)) from error


def _prefix(path: str) -> tuple[str, ...]:
    fixed: list[str] = []
    for part in path.split("/"):
        if re.search(r"[*?[\\]", part):
            break
        fixed.append(part)
    return tuple(fixed)


def _compatible(one: Iterable[str], other: Iterable[str]) -> bool:
    return all(left == right for left, right in zip(one, other, strict=False))


def _expression(pattern: str) -> re.Pattern[str]:
    expression, position, end = "", 0, len(pattern)
    if pattern.startswith("**") and pattern[2:3] != "/" and not re.search(r"[*?\\[\]]", pattern[2:]):
        return re.compile(".*" + re.escape(pattern[2:]), re.DOTALL)  # the end of a path, in the middle of a name too
    while position < end:
        sign = pattern[position]
        position += 1
        if sign == "*" and pattern.startswith("*", position):
            position += 1
            position += pattern.startswith("/", position)
            expression += ".*" if position == end else "(?:.*/)?"
        elif sign == "*":
            expression += "[^/]*"
        elif sign == "?":
            expression += "[^/]"
        elif sign == "\\" and position < end:
            expression += re.escape(pattern[position])
            position += 1
        elif sign == "[":
            part, position = character_class(pattern, position)
            expression += part
        else:
            expression += re.escape(sign)
    return re.compile(expression, re.DOTALL)

"""Whether what a program hands over is what each word wants: known, of the right kind, and text that the kernel takes."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

from ..errors import NBContainersError
from ..results import STREAMS
from .options import RunOptions

_One = TypeVar("_One")
_KINDS: dict[str, tuple[type, str]] = {
    "str": (str, "a text"),
    "bool": (bool, "True or False"),
    "int": (int, "a whole number"),
    "float": (float, "a number"),
    "Sequence[str]": (Collection, "a list of words"),
    "Mapping[str, str]": (Mapping, "a mapping of names to texts"),
}
# What goes into files that programs read as UTF-8, or is shown by its name; anything else may be any bytes, as file names may.
_NAMES = frozenset(
    "hostname domainname add_host dns dns_search dns_option network_alias sysctl cgroup_parent platform".split()
)


def check(options: Mapping[str, Any], command: Iterable[Any] = (), *, of: type = RunOptions) -> None:
    """Refuse what is no word of a TypedDict ("did you mean"), what is of another kind than its word wants, and impossible text.

    None stands for a word that was not given.
    """
    known = _wanted(of)
    for word, value in options.items():
        if word not in known:
            near = difflib.get_close_matches(word, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the options are: {', '.join(sorted(known))}"
            raise NBContainersError(f"unknown option {word!r}", hint=hint)
        if value is not None:
            _check_kind(word, value, *known[word])
    for part in command:
        _check_text("command", part)


def several(word: str, values: Iterable[_One]) -> Iterable[_One]:
    """The values, which must not be one text: that would be taken for its letters."""
    if isinstance(values, str):
        raise NBContainersError(f"{word}: wanted a list, got {values!r}", hint=f"write [{values!r}]")
    return values


def streams(words: Collection[str]) -> tuple[str, ...]:
    """The standard streams that are named."""
    _check_kind("attached", words, (Collection,), "a list of words")
    for word in words:
        if word not in STREAMS:
            raise NBContainersError(f"no such stream: {word!r}", hint="wanted stdin, stdout or stderr")
    return tuple(words)


def _check_kind(word: str, value: Any, kinds: tuple[type, ...], wanted: str) -> None:
    if type(value) in kinds:  # as nearly all are: what takes longer is for what is left
        if isinstance(value, str):
            _check_text(word, value)
        return
    is_one = isinstance(value, str | bytes)
    if is_one or isinstance(value, bool):
        fits = False
    elif isinstance(value, Mapping):
        fits = Mapping in kinds
    else:
        fits = isinstance(value, kinds) or (isinstance(value, int) and float in kinds)
    if not fits:
        hint = f"write {word}=[{value!r}]" if is_one and Collection in kinds else ""
        raise NBContainersError(f"{word}: wanted {wanted}, got {value!r}", hint=hint)
    if isinstance(value, Collection):
        for one in (*value, *(value.values() if isinstance(value, Mapping) else ())):
            _check_text(word, one)


def _check_text(word: str, text: Any) -> None:
    if not isinstance(text, str):
        raise NBContainersError(
            f"{word}: {text!r} is no text",
            hint="the words of a command are texts of their own: run(image, 'sleep', '5')"
            if word == "command"
            else f"write {str(text)!r}",
        )
    if "\0" in text:
        raise NBContainersError(f"{word}: the kernel takes no text with a NUL in it: {text!r}")
    if not text.isascii():
        try:
            text.encode(errors="strict" if word in _NAMES else "surrogateescape")
        except UnicodeEncodeError as error:
            raise NBContainersError(
                f"{word}: {text!r} is no text that can be written as UTF-8",
                hint="type it again in this terminal's encoding",
            ) from error


@functools.cache
def _wanted(of: type) -> dict[str, tuple[tuple[type, ...], str]]:
    """The kinds that each word of a TypedDict may have, as classes and in plain words."""
    found = {}
    for word, annotation in of.__annotations__.items():
        kinds = [_KINDS[part] for part in annotation.__forward_arg__.split(" | ") if part != "None"]
        found[word] = tuple(kind for kind, _ in kinds), " or ".join(words for _, words in kinds)
    return found

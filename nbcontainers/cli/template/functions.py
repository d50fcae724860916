"""The functions of templates: Go's own, and those that Docker adds."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote_plus

from . import values
from .syntax import TemplateError
from .values import NOTHING, Value, kind

_HTML = str.maketrans({"<": "&lt;", ">": "&gt;", "&": "&amp;", '"': "&#34;", "'": "&#39;", "\0": "\ufffd"})
_SCRIPT = str.maketrans(
    {chr(code): f"\\u{code:04X}" for code in (*range(32), *b"<>&=")} | {sign: f"\\{sign}" for sign in "\\'\""}
)
_VERB = re.compile(r"%([-+# 0]*)(\d+)?(?:\.(\d*))?(.)?", re.DOTALL)
_INITIAL = re.compile(r"(?<![\w'])[^\W\d_]")
Apply = Callable[..., Any]


def _plain(*arguments: Value) -> str:
    """Values one behind the other, with a space where neither is text."""
    shown = ""
    for number, value in enumerate(arguments):
        is_near_text = any(isinstance(one.data, str) for one in arguments[max(number - 1, 0) : number + 1])
        shown += (" " if number and not is_near_text else "") + values.text(value)
    return shown


def _line(*arguments: Value) -> str:
    return " ".join(map(values.text, arguments)) + "\n"


def _length(value: Value) -> int:
    if isinstance(value.data, str):
        return len(value.data.encode(errors="surrogateescape"))
    if isinstance(value.data, list | tuple) or values.is_map(value):
        return len(value.data or ())
    if value.data is None and value.path and not values.is_pointer(value.path):
        return 0
    raise TemplateError(f"len of {kind(value)}", "there is one of a text, a list or a map")


def _index(value: Value, *keys: Value) -> Value:
    for key in keys:
        value = values.index(value, key)
    return value


def _slice(value: Value, *bounds: Value) -> Value:
    data = value.data.encode(errors="surrogateescape") if isinstance(value.data, str) else value.data
    numbers = [bound.data for bound in bounds]
    if not isinstance(data, bytes | list | tuple) or len(numbers) > (2 if isinstance(data, bytes) else 3):
        raise TemplateError(f"slice of {kind(value)}", "it takes a text or a list, and where to begin and to end")
    if (
        not all(type(number) is int for number in numbers)
        or sorted(numbers) != numbers
        or max(numbers, default=0) > len(data)
    ):
        raise TemplateError(f"no slice {numbers} of {len(data)}", "wanted: where to begin and to end, counted from 0")
    part = data[slice(*numbers[:2])] if len(numbers) > 1 else data[numbers[0] if numbers else 0 :]
    return Value(part.decode(errors="surrogateescape") if isinstance(part, bytes) else part, value.path)


def _compared(first: Value, second: Value) -> tuple[Any, Any]:
    """Both as Python compares them: numbers, or texts."""
    kinds = {kind(first).replace("64", ""), kind(second).replace("64", "")}
    if len(kinds) > 1 or not kinds <= {"int", "float", "string"}:
        raise TemplateError(f"{kind(first)} is not compared with {kind(second)}", "both are texts, or both are numbers")
    return first.data, second.data


def _is_less(first: Value, second: Value) -> bool:
    one, other = _compared(first, second)
    return bool(one < other)


def _equals(first: Value, *others: Value) -> bool:
    if not others:
        raise TemplateError("eq of one value", "it compares the first with each of the others")
    return any(_are_equal(first, other) for other in others)


def _are_equal(first: Value, second: Value) -> bool:
    kinds = (kind(first), kind(second))
    if "nil" in kinds:
        return kinds == ("nil", "nil")
    if kinds == ("bool", "bool"):
        return bool(first.data == second.data)
    one, other = _compared(first, second)
    return bool(one == other)


def _printf(form: Value, *arguments: Value) -> str:
    """Go's printf: verbs v T s q d b o x X c U t e f g, with flags, width and precision; what does not fit is told as Go does."""
    left = list(arguments)

    def put(match: re.Match[str]) -> str:
        flags, width, precision, verb = match.groups()
        if verb == "%":
            return "%"
        if verb is None:
            return "%!(NOVERB)"
        if not left:
            return f"%!{verb}(MISSING)"
        value = left.pop(0)
        text = _formatted(verb, flags, precision, value)
        if text is None:
            return f"%!{verb}({kind(value)}={values.text(value)})"
        size = int(width or 0)
        is_number = type(value.data) in (int, float) and "-" not in flags
        return (
            text.ljust(size) if "-" in flags else text.zfill(size) if "0" in flags and is_number else text.rjust(size)
        )

    shown = _VERB.sub(put, _text(form))
    extra = ", ".join(f"{kind(value)}={values.text(value)}" for value in left)
    return f"{shown}%!(EXTRA {extra})" if left else shown


def _formatted(verb: str, flags: str, precision: str | None, value: Value) -> str | None:
    """A value by one verb; None if it does not fit it."""
    data = value.data
    sign = "+" if "+" in flags else " " if " " in flags else ""
    alternate = "#" if "#" in flags else ""
    if verb == "v":
        return values.text(value)
    if verb == "T":
        return _GO_TYPES.get(kind(value), kind(value))
    if verb == "t" and isinstance(data, bool):
        return values.text(value)
    if isinstance(data, str) and verb in "sqxX":
        text = data[: int(precision or 0)] if precision is not None else data
        coded = text.encode(errors="surrogateescape").hex()
        return {"s": text, "q": values.written(text), "x": coded, "X": coded.upper()}[verb]
    if verb == "s" and isinstance(data, list | tuple) and all(isinstance(one, str) for one in data):
        return values.text(value)
    if type(data) is int and verb in "dboxXcU":
        return (
            f"U+{data:04X}" if verb == "U" else chr(data) if verb == "c" else format(data, f"{sign}{alternate}{verb}")
        )
    if type(data) is float and verb in "eEfFgG":
        return format(data, f"{sign}{alternate}.{precision or 0}{verb}" if precision is not None else f"{sign}{verb}")
    return None


# Of what is read as JSON, as docker does where its own objects have no such field.
_GO_TYPES = {"nil": "<nil>", "list": "[]interface {}", **dict.fromkeys(("map", "object"), "map[string]interface {}")}


def _text(value: Value) -> str:
    if not isinstance(value.data, str):
        raise TemplateError(f"wanted a text, got {kind(value)}")
    return value.data


def _number(value: Value) -> int:
    if type(value.data) is not int:
        raise TemplateError(f"wanted a whole number, got {kind(value)}")
    return value.data


def _join(elements: Value, separator: Value) -> str:
    data = elements.data
    if isinstance(data, Mapping):
        return _text(separator).join(sorted(values.text(values.entry(elements, key)) for key in data))
    if isinstance(data, list | tuple):
        return _text(separator).join(values.text(values.entry(elements, number)) for number in range(len(data)))
    if data is None:
        return ""
    raise TemplateError(f"join of {kind(elements)}", "it takes a list or a map, and what to put between")


def _split(text: Value, separator: Value) -> list[str]:
    return _text(text).split(_text(separator)) if separator.data else list(_text(text))


def _pad(text: Value, before: Value, behind: Value) -> str:
    return _text(text) and " " * _number(before) + _text(text) + " " * _number(behind)


def _title(text: Value) -> str:
    return _INITIAL.sub(lambda match: match[0].upper(), _text(text))


def _not(value: Value) -> bool:
    return not values.is_true(value)


# What each does, and with how many arguments: None where there may be more.
_FUNCTIONS: Mapping[str, tuple[Apply, int, int | None]] = {
    "not": (_not, 1, 1),
    "eq": (_equals, 1, None),
    "ne": (lambda one, other: not _are_equal(one, other), 2, 2),
    "lt": (_is_less, 2, 2),
    "le": (lambda one, other: not _is_less(other, one), 2, 2),
    "gt": (lambda one, other: _is_less(other, one), 2, 2),
    "ge": (lambda one, other: not _is_less(one, other), 2, 2),
    "len": (_length, 1, 1),
    "index": (_index, 1, None),
    "slice": (_slice, 1, None),
    "print": (_plain, 0, None),
    "println": (_line, 0, None),
    "printf": (_printf, 1, None),
    "html": (lambda *given: _plain(*given).translate(_HTML), 0, None),
    "js": (lambda *given: _plain(*given).translate(_SCRIPT), 0, None),
    "urlquery": (lambda *given: quote_plus(_plain(*given)), 0, None),
    "json": (lambda value: values.written(None if value is NOTHING else value.data), 1, 1),
    "split": (_split, 2, 2),
    "join": (_join, 2, 2),
    "title": (_title, 1, 1),
    "lower": (lambda text: _text(text).lower(), 1, 1),
    "upper": (lambda text: _text(text).upper(), 1, 1),
    "pad": (_pad, 3, 3),
    "truncate": (lambda text, length: _text(text)[: _number(length)], 2, 2),
}
LAZY = ("and", "or")  # they look at no more arguments than they need
NAMES = frozenset((*LAZY, *_FUNCTIONS))
_OF_DOCKER = frozenset("json split join title lower upper pad truncate".split())


def call(name: str, arguments: Sequence[Value]) -> Value:
    """What a function gives for its arguments; above a column Docker's own leave a title as it is.

    Raises:
        TemplateError: they are too many, too few, or not what it takes.
    """
    apply, least, most = _FUNCTIONS[name]
    if len(arguments) < least or (most is not None and len(arguments) > most):
        wanted = f"{least}" if most == least else f"at least {least}"
        raise TemplateError(f"{name} takes {wanted} of arguments, not {len(arguments)}")
    if name in _OF_DOCKER and (title := next((one for one in arguments if isinstance(one.data, values.Title)), None)):
        return title
    try:
        made = apply(*arguments)
    except TemplateError as error:
        raise TemplateError(f"{name}: {error}", error.hint) from None
    return made if isinstance(made, Value) else Value(made)

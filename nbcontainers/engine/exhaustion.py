"""Errors of the kernel that any call may meet, told in one place, at the door of the library: no descriptor is left, say."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any, ParamSpec, TypeVar

from ..errors import exhausted

P = ParamSpec("P")
R = TypeVar("R")


class Telling:
    """Raises, from whatever is public of its subclasses, a HostError with a hint where the kernel has no descriptor left to give.

    Every other error passes as it is, but for those that a subclass explains. What happened first is the new error's cause.
    """

    def _explained(self, error: OSError) -> Exception | None:
        """What an error means; None where it says all that there is."""
        return exhausted(error)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name, member in list(vars(cls).items()):
            if name.startswith("_"):
                continue
            if isinstance(member, FunctionType):
                setattr(cls, name, _telling(member))
            elif isinstance(member, property) and member.fget:
                setattr(cls, name, property(_telling(member.fget), doc=member.__doc__))
            elif isinstance(member, functools.cached_property):
                member.func = _telling(member.func)


def _telling(function: Callable[P, R]) -> Callable[P, R]:
    @functools.wraps(function)
    def called(*words: P.args, **named: P.kwargs) -> R:
        try:
            return function(*words, **named)
        except OSError as error:
            subject: Any = words[0]
            raise _told(error, subject._explained)  # noqa: B904 - which has its cause

    return called


def each(items: Iterator[R]) -> Iterator[R]:
    """The items of an iterator that a method returned, and what ``Telling`` promises for each of them."""
    try:
        yield from items
    except OSError as error:
        raise _told(error, exhausted)  # noqa: B904 - which has its cause


def _told(error: OSError, explained: Callable[[OSError], Exception | None]) -> Exception:
    """What is to be raised. No variable of a frame of its traceback holds it: with that cycle it would keep open what they had."""
    told = explained(error)
    if told is None:
        return error
    told.__cause__ = error
    return told

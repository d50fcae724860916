"""Errors and interrupts of magics, shown calmly: in the words of the error, without a Python traceback.

No word has a colour: JupyterLab lays an error on a red ground, on which in one theme or the other none can be read.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import ParamSpec

from ..errors import NBContainersError, exhausted

P = ParamSpec("P")


class Interrupted(KeyboardInterrupt):
    """The interrupt button was pressed; it is told in one line, and the cells that wait do not run."""

    def _render_traceback_(self) -> list[str]:
        return [f"\x1b[1m{self}\x1b[0m"]


def in_notebook(hint: str) -> str:
    """A hint for who is in a notebook: a command line in it becomes a magic, ``nbcontainers ps`` is ``%nbc ps``."""
    return _command_line().sub("%nbc ", hint)


@functools.cache
def _command_line() -> re.Pattern[str]:
    from ..cli.verbs import VERBS

    verbs = "|".join(sorted({re.escape(name.split()[0]) for name in VERBS}))
    return re.compile(rf"(?<![\w./-])nbcontainers (?=(?:{verbs}|--help)(?![\w-]))")


def calm(error: NBContainersError, dockerfile: str = "", *, seen: bool = False) -> NBContainersError:
    """The error, to be raised: the cell fails, and shows what an error says in place of a Python traceback.

    For a build that is the Dockerfile's lines and the end of the output as well, unless the reader has ``seen`` them.
    """
    from ..cli import text

    error.hint = in_notebook(error.hint)
    short = f"{type(error).__name__}: {text.printable(error.message)}"
    name, colon, rest = (short if seen else text.failure(error, dockerfile)).partition(":")
    error.shown = (f"\x1b[1m{name}\x1b[0m{colon}{rest}",)
    return error


def told(magic: Callable[P, None]) -> Callable[P, None]:
    """A magic whose errors and interrupts are shown calmly, and that prints help where help was asked for."""

    @functools.wraps(magic)
    def guarded(*words: P.args, **named: P.kwargs) -> None:
        from ..cli.parser import HelpAsked

        try:
            magic(*words, **named)
        except HelpAsked as asked:
            print(asked.message)
        except NBContainersError as error:
            if error.shown:
                raise
            raise calm(error) from None
        except OSError as error:
            if (full := exhausted(error)) is None:
                raise
            raise calm(full) from None
        except Interrupted:
            raise
        except KeyboardInterrupt:
            raise Interrupted(f"{magic.__name__} was stopped") from None

    return guarded

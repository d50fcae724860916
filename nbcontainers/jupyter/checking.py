"""What is wrong in a Dockerfile cell that is being written, told to the editor that shows it: see ``labextension``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from ..errors import DockerfileError, NBContainersError

_PLACE = re.compile(r"\Alines? [0-9]+(?: to [0-9]+)?: ")
Kind = Literal["error", "warning"]


class Remarks(list[dict[str, Any]]):
    """What an editor gets, by way of the kernel's ``user_expressions``, as JSON."""

    def _repr_json_(self) -> list[dict[str, Any]]:
        return list(self)


def of(cell: str) -> Remarks:
    """What is wrong or dubious in a cell's Dockerfile, in the order of its lines; nothing of cells that hold none.

    Each remark has ``kind`` (error or warning), ``rule``, ``message`` and ``hint``, and its place: ``line``, ``column``, ``end_line``,
    ``end_column``, which count from 1 in the whole cell; ``end_column`` is the first behind it. Nothing is built or opened for it but
    the store, where ``FROM`` finds the images that are there.
    """
    first, _, text = cell.partition("\n")
    if first.split()[:1] != ["%%dockerfile"] or not text.strip():
        return Remarks()
    from ..cli.build import arguments
    from . import show, words
    from .session import engine

    line, shell = first.lstrip().removeprefix("%%dockerfile"), show.shell()
    try:
        values = words.read("dockerfile", line, shell.user_ns if shell else {})
        found = engine().lint(text, context=Path.cwd(), args=arguments(values.build_arg), target=values.target or "")
    except DockerfileError as error:
        begin, end = error.lines
        lines = text.split("\n")
        width = len(lines[min(end, len(lines)) - 1])
        message = _PLACE.sub("", error.message)  # which is told beside it
        return Remarks([_remark("error", "", message, error.hint, (begin, 1, end, width + 1))])
    except (NBContainersError, OSError):
        return Remarks()  # the magic's own line is not whole, or there is no store: running the cell tells
    return Remarks(
        _remark("warning", one.rule, one.message, one.hint, (one.line, one.column, one.end_line, one.end_column))
        for one in found
    )


def _remark(kind: Kind, rule: str, message: str, hint: str, place: tuple[int, int, int, int]) -> dict[str, Any]:
    line, column, end_line, end_column = place
    return {
        "kind": kind,
        "rule": rule,
        "message": message,
        "hint": hint,
        "line": line + 1,  # the magic has the first one
        "column": column,
        "end_line": end_line + 1,
        "end_column": end_column,
    }

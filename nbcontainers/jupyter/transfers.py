"""An image on its way, below the cell that asked for it: a table that is replaced while it moves, and kept as it ended."""

from __future__ import annotations

import time
from typing import Any

from ..cli import transfers as shown
from ..cli.transfers import MOVING, Board, Row
from ..events import Event, Transfer, TransferFinished, TransferStarted, Warned
from ..oci.descriptor import Digest
from . import show
from .calm import in_notebook
from .html import Html, bar, code, h, join, listed, page, size, table

SLOW = 0.3  # seconds between two pictures
_MOODS = {"pulled": "g", "pushed": "g", "mounted": "g", "exists": "d", "waiting": "d", "retrying": "w"}


class CellTransfers:
    """Shows what comes from registries and goes there; ``quiet`` leaves warnings only. Other events are let be."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._board = Board()
        self._place: Any = None
        self._last = 0.0

    def __call__(self, event: Event) -> None:
        """Take an event in, and show how things stand now and then."""
        match event:
            case Warned():
                show.note(event.message + (f" ({in_notebook(event.hint)})" if event.hint else ""), mood="w")
            case TransferStarted() | Transfer() | TransferFinished() if not self._quiet:
                self._board.take(event)
                if isinstance(event, TransferStarted):
                    self._place = show.display(self._forms(self._board), display_id=True)
                elif isinstance(event, TransferFinished) or time.monotonic() - self._last >= SLOW:
                    self._last = time.monotonic()
                    self._place.update(self._forms(self._board))
                if isinstance(event, TransferFinished):
                    self._board = Board()

    @staticmethod
    def _forms(board: Board) -> show.Forms:
        return show.Forms(lambda: form(board), lambda: words(board))


def words(board: Board) -> str:
    """The transfer as a terminal shows it."""
    lines = [shown.title(board.name, pushing=board.pushing)]
    lines += [f"{layer.short}: {shown.state(row, pushing=board.pushing)}" for layer, row in board.rows.items()]
    lines += shown.ending(board.finished) if board.finished else filter(None, [board.pace()])
    return "\n".join(lines)


def form(board: Board) -> str:
    """The transfer as HTML."""
    finished = board.finished
    verb = "push" if board.pushing else "pull"
    state = f"{verb}ing" if finished is None else f"{verb}ed" if finished.fresh else "up to date"
    total = sum(row.total or 0 for row in board.rows.values())
    head = h(
        "p",
        h("b", board.name),
        " ",
        h("span", state, class_="g" if finished else "d"),
        " · ",
        listed(
            [
                join((size(total), " in ", str(len(board.rows)), " layers")) if board.rows else None,
                code(finished.digest.short) if finished else board.pace() or None,
            ]
        ),
        class_="head",
    )
    rows = table(
        [("Layer", "k"), ("", "k"), ("State", "wide"), ("Size", "n")], [_row(board, *one) for one in board.rows.items()]
    )
    if finished is not None:
        rows = h("details", h("summary", "Layers"), rows)
    return page(head, rows if board.rows else None, label=f"{verb} of {board.name}")


def _row(board: Board, layer: Digest, row: Row) -> tuple[Html, ...]:
    share = min(row.done / row.total, 1.0) if row.total and row.phase in MOVING else 0.0
    if row.phase in ("pulled", "pushed", "mounted", "exists", "downloaded"):
        share = 1.0
    state = h("span", shown.state(row, pushing=board.pushing), class_=_MOODS.get(row.phase))
    moved = join((size(row.done), " of ", size(row.total))) if row.total and 0 < share < 1 else size(row.total or 0)
    return code(layer.short), bar(share), state, moved

"""Usage that goes on below a cell while other cells run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..cli import text
from . import forms, show
from .watching import Sample, Source, Watch

RATE = 4.0  # samples a second
SLOW = 1.0  # without widgets: each replaces the whole output

if TYPE_CHECKING:
    from ..engine import Engine


def usage(engine: Engine, names: Sequence[str]) -> Watch:
    """Show what containers use until they have ended; without names those that run, and those that start from now on.

    It returns at once. Without widgets the lines are replaced once a second; in a terminal they are printed once.

    Raises:
        NotFound: there is no container of one of the names.
    """
    chosen: tuple[Source, ...] = tuple(engine.container(name) for name in names)

    def find() -> Sequence[Source]:
        return chosen or engine.containers()

    watch = Watch(
        find,
        lambda watch, samples: tell(samples),
        departed=lambda: engine.departed,
        rate=RATE if show.with_widgets() else SLOW,
        forever=not chosen,
    )
    watch.glance()
    take, view = _view(watch)
    place = show.display(view, display_id=True)
    stored = _known(watch)

    def tell(samples: dict[str, Sample]) -> None:
        nonlocal stored
        take(samples)
        known = _known(watch)
        # What the notebook keeps beside a widget costs a message each time, and has to be saved: it follows who comes and goes.
        if not watch.live or take is _look_away or known != stored:
            stored = known
            place.update(view)

    if show.in_kernel():
        watch.start()
    else:
        watch.stop()
    return watch


def _known(watch: Watch) -> set[tuple[str, bool]]:
    """The containers whose every figure is known, and those that have ended."""
    return {(one.source.id, one.ended) for one in watch.seen if one.ended or one.busy is not None}


def _view(watch: Watch) -> tuple[Callable[[dict[str, Sample]], None], object]:
    if show.with_widgets():
        from .widgets import UsageWidget

        widget = UsageWidget(watch)
        return widget.take, widget
    return _look_away, show.Forms(
        lambda: forms.usage((one.state, one.usage, one.busy, list(one.history)) for one in watch.seen),
        lambda: text.usage((one.state, one.usage, one.busy) for one in watch.seen),
    )


def _look_away(samples: dict[str, Sample]) -> None:
    """A form is made anew from the watch itself."""

"""How a result reaches the page: as a widget where the page has them, and always as HTML and as text."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ..cli import difference, text
from ..cli import format as form
from ..events import Event
from ..oci.image import Image
from ..results import BuildResult, HostReport, ImageDiff, LayerStack
from . import forms, html
from .progress import Record

Bundle = Any
SLOW = 0.4  # seconds between two pictures of a build without widgets
_LINE = 120  # characters that fit a cell
_seen: set[str] = set()  # of what is not enforced, what this kernel's reader has been shown


def shell() -> Any:
    """IPython's shell, or None where this is not IPython."""
    interactive = sys.modules.get("IPython")
    return interactive.get_ipython() if interactive else None


def in_kernel() -> bool:
    """Whether there is a kernel, and so a page that can show more than text."""
    return getattr(shell(), "kernel", None) is not None


def with_widgets() -> bool:
    """Whether the page can show widgets: in a kernel, with anywidget installed, and not turned off.

    ``NBCONTAINERS_WIDGETS=off`` turns them off: for notebooks that are executed without a reader, whose file would keep them.
    """
    wanted = os.environ.get("NBCONTAINERS_WIDGETS", "on").lower() not in ("off", "0", "no", "false")
    return wanted and in_kernel() and importlib.util.find_spec("anywidget") is not None


class Forms:
    """Something to display that is HTML and text."""

    def __init__(self, markup: Callable[[], str], words: Callable[[], str]) -> None:
        self._markup = markup
        self._words = words

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        if not in_kernel():
            return {"text/plain": self._words()}
        return {"text/html": self._markup(), "text/plain": self._words()}


def layer_stack(result: LayerStack, include: Any = None, exclude: Any = None) -> Bundle:
    """A layer stack in all its forms."""
    if with_widgets():
        from .widgets import LayersWidget

        return LayersWidget(result)._repr_mimebundle_()
    return Forms(lambda: forms.layer_stack(result), lambda: text.layer_stack(result))._repr_mimebundle_()


def image_diff(result: ImageDiff, include: Any = None, exclude: Any = None) -> Bundle:
    """The difference of two images in all its forms."""
    if with_widgets():
        from .widgets import DiffWidget

        return DiffWidget(result)._repr_mimebundle_()
    return Forms(lambda: forms.image_diff(result), lambda: difference.text(result))._repr_mimebundle_()


def host_report(result: HostReport, include: Any = None, exclude: Any = None) -> Bundle:
    """What a host allows, as a table and as text."""
    return host_forms(result)._repr_mimebundle_()


def host_forms(report: HostReport) -> Forms:
    """What a host allows, to display."""
    return Forms(lambda: forms.host_report(report), lambda: text.host_report(report))


def build_result(result: BuildResult, include: Any = None, exclude: Any = None) -> Bundle:
    """What a build made, in one line."""
    cached = sum(1 for step in result.steps if step.cached)
    words = f"{_told(result.image)}, built in {result.seconds:.2f} s, {cached} of {text.plural(len(result.steps), 'step')} from the cache"
    return Forms(lambda: html.note(words, mood="g"), lambda: words)._repr_mimebundle_()


def image(result: Image, include: Any = None, exclude: Any = None) -> Bundle:
    """An image in one line."""
    return Forms(lambda: html.note(_told(result), mood=""), lambda: _told(result))._repr_mimebundle_()


def _told(found: Image) -> str:
    name = f"{found.name} {found.id.short}" if found.reference else found.id.short
    return text.printable(f"{name}, {text.plural(len(found.layers), 'layer')}, {form.size(found.size)} stored")


TYPES: tuple[tuple[str, str, Callable[..., Bundle]], ...] = (
    ("nbcontainers.results.images", "LayerStack", layer_stack),
    ("nbcontainers.results.images", "ImageDiff", image_diff),
    ("nbcontainers.results.hosts", "HostReport", host_report),
    ("nbcontainers.results.builds", "BuildResult", build_result),
    ("nbcontainers.oci.image", "Image", image),
)


def register(interactive: Any) -> None:
    """Let a result that is the value of a cell show itself; by name, so that nothing is imported for it."""
    for module, name, shown in TYPES:
        interactive.display_formatter.mimebundle_formatter.for_type_by_name(module, name, shown)


def unregister(interactive: Any) -> None:
    """Take ``register`` back."""
    formatter = interactive.display_formatter.mimebundle_formatter
    for module, name, _ in TYPES:
        formatter.deferred_printers.pop((module, name), None)
        for kind in [kind for kind in formatter.type_printers if (kind.__module__, kind.__name__) == (module, name)]:
            formatter.type_printers.pop(kind)


def display(thing: Any, **options: Any) -> Any:
    """Show something below the cell that runs; with ``display_id=True`` what shows it again in its place is returned."""
    from IPython.display import display as displayed

    return displayed(thing, **options)  # type: ignore[no-untyped-call]  # IPython types it in part


def note(words: str, *, mood: str = "d") -> None:
    """One calm line; moods as ``html.note`` has them."""
    display(Forms(lambda: html.note(words, mood=mood), lambda: text.printable(words)))


def not_enforced(sentences: Sequence[str]) -> None:
    """What was asked for a container and is not enforced here; nothing where all is. More than a line that was told before is folded."""
    if sentences:
        told = html.not_enforced(sentences, is_folded=len("".join(sentences)) > _LINE and _seen.issuperset(sentences))
        _seen.update(sentences)
        words = text.not_enforced(map(text.printable, sentences))
        display(Forms(lambda: html.page(told, kind="nbcf line"), lambda: "\n".join(words)))


class Build(Protocol):
    """Shows a build while it runs. ``tells_failure`` says whether the reader has seen what went wrong."""

    tells_failure: bool

    def take(self, event: Event) -> None:
        """Take an event in."""
        ...

    def finish(self) -> None:
        """Show how it ended."""
        ...


def build(record: Record) -> Build:
    """The best way that this place has to show a build: a widget, HTML that is replaced, or lines of text."""
    if with_widgets():
        return _WidgetBuild(record)
    return _FormsBuild(record) if in_kernel() else _LinesBuild(record)


class _WidgetBuild:
    tells_failure = True

    def __init__(self, record: Record) -> None:
        from .widgets import BuildView

        self._view = BuildView(record)
        self._place = display(self._view, display_id=True)
        self.take = self._view.take

    def finish(self) -> None:
        self._view.finish()
        self._place.update(self._view)  # so that the notebook keeps the HTML of the end, not of the beginning


class _FormsBuild:
    tells_failure = True

    def __init__(self, record: Record) -> None:
        from .pulse import Pulse

        self._record = record
        self._work = ""
        self._forms = Forms(lambda: forms.build(record), record.text)
        self._place = display(self._forms, display_id=True)
        self._pulse = Pulse(self._again, SLOW)

    def take(self, event: Event) -> None:
        self._record.take(event)

    def _again(self) -> None:
        work, self._work = self._work, self._record.work
        if any(self._record.changed()) or work != self._work:
            self._place.update(self._forms)

    def finish(self) -> None:
        self._pulse.stop()
        self._place.update(self._forms)


class _LinesBuild:
    tells_failure = False

    def __init__(self, record: Record) -> None:
        from ..cli.console import Console
        from ..cli.steps import BuildProgress

        self._record = record
        self._lines = BuildProgress(Console())

    def take(self, event: Event) -> None:
        self._record.take(event)
        self._lines(event)

    def finish(self) -> None:
        if self._record.stack is not None:
            display(self._record.stack)

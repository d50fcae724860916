"""The widgets: each a Python class, one plain ES module, and the forms that its output keeps for places without widgets."""

from __future__ import annotations

import secrets
import time
from typing import Any

import anywidget
import traitlets

from ..cli import difference, text
from ..cli.folders import ChangeTree, Order
from ..events import Event
from ..results import ChangeKind, ImageDiff, LayerStack
from . import forms, payload, scripts
from .progress import Record
from .pulse import Pulse
from .tree import folder_of, opening, page
from .watching import Sample, Watch

VISIBLE = 24  # rows of a tree that are open at first
FOUND = 60  # rows that are open after a search
PULSE = 0.1  # seconds between two looks at a build
UNSEEN = 5.0
"""Seconds without a view after which watching ends: a page that draws an output anew takes its view away first."""


class Shown(anywidget.AnyWidget):
    """A widget whose output also carries HTML and text; by its ``key`` its views in a page know each other."""

    key = traitlets.Unicode().tag(sync=True)

    @traitlets.default("key")
    def _new_key(self) -> str:
        return secrets.token_hex(8)

    def html(self) -> str:
        """The output where there are no widgets."""
        raise NotImplementedError

    def text(self) -> str:
        """The output where there is only text."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        made = super()._repr_mimebundle_(**kwargs)
        if made is None:  # closed: the forms remain
            return {"text/html": self.html(), "text/plain": self.text()}
        data, metadata = made
        return {**data, "text/html": self.html(), "text/plain": self.text()}, metadata


class LayersWidget(Shown):
    """The layers of an image, from the base up."""

    _esm = scripts.module("layers.js")
    _css = scripts.style("theme.css", "stack.css")
    stack = traitlets.Dict().tag(sync=True)
    chosen = traitlets.Int(-1).tag(sync=True)

    def __init__(self, result: LayerStack) -> None:
        self.result = result
        super().__init__(stack=payload.stack(result))

    def html(self) -> str:
        """A table of the layers."""
        return forms.layer_stack(self.result)

    def text(self) -> str:
        """The same as ``nbcontainers layers`` prints."""
        return text.layer_stack(self.result)


class DiffWidget(Shown):
    """In what two images differ; the tree of files is sent as it is opened."""

    _esm = scripts.module("diff.js")
    _css = scripts.style("theme.css", "stack.css", "diff.css")
    before = traitlets.Unicode().tag(sync=True)
    after = traitlets.Unicode().tag(sync=True)
    shared = traitlets.Int().tag(sync=True)
    settings: traitlets.List[Any] = traitlets.List().tag(sync=True)
    packages: traitlets.List[Any] = traitlets.List().tag(sync=True)
    totals = traitlets.Dict().tag(sync=True)
    unread: traitlets.List[Any] = traitlets.List().tag(sync=True)
    tree = traitlets.Dict().tag(sync=True)

    def __init__(self, result: ImageDiff) -> None:
        self.result = result
        self._all = ChangeTree(result.files)
        self._trees = {0: self._all}
        super().__init__(
            before=text.printable(result.before),
            after=text.printable(result.after),
            shared=result.shared_layers,
            settings=payload.bounded(map(payload.setting, result.settings)),
            packages=payload.bounded(map(payload.package, result.packages)),
            totals={"settings": len(result.settings), "packages": len(result.packages)},
            unread=[text.shortened(sentence, 400) for sentence in result.unread[:20]],
            tree=opening(self._all, "name", visible=VISIBLE),
        )
        self.on_msg(self._asked)

    def html(self) -> str:
        """The tree as folders that unfold, and a table of the settings."""
        return forms.image_diff(self.result, self._all)

    def text(self) -> str:
        """The same as ``nbcontainers image-diff`` prints, cut off where a notebook would grow too long."""
        return difference.text(self.result)

    def _asked(self, _: Any, message: dict[str, Any], __: Any) -> None:
        """Answer a view: ``open`` a folder, or ``filter`` the tree. What is not understood is not answered."""
        try:
            answer = self._answer(message)
        except (KeyError, ValueError, IndexError, TypeError):
            return
        self.send({"ask": message["ask"], "answer": answer})

    def _answer(self, message: dict[str, Any]) -> dict[str, Any]:
        order: Order = "size" if message["order"] == "size" else "name"
        generation = int(message["generation"])
        if message["type"] == "open":
            return page(self._trees[generation], folder_of(message["folder"]), order, int(message["from"]))
        kinds: set[ChangeKind] = set(message["kinds"])
        whole = not message["text"].strip() and len(kinds) == 3
        tree = self._all if whole else self._all.matching(message["text"], kinds)
        self._trees = {0: self._all, generation: tree}
        return opening(tree, order, visible=VISIBLE if whole else FOUND)


class UsageWidget(Shown):
    """What containers use, live: samples come from a ``Watch`` until it ends, or no view is left."""

    _esm = scripts.module("usage.js")
    _css = scripts.style("theme.css", "usage.css")
    containers: traitlets.List[Any] = traitlets.List().tag(sync=True)
    history = traitlets.Dict().tag(sync=True)
    live = traitlets.Bool(True).tag(sync=True)

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self._views = 0
        self._left: float | None = None  # when the last view went
        super().__init__(containers=[one.to_json() for one in watch.seen])
        self.on_msg(self._told)

    def take(self, samples: dict[str, Sample]) -> None:
        """Send what has just been sampled; called in the watch's thread."""
        if self._left is not None and time.monotonic() - self._left > UNSEEN:
            self.watch.stop()
        if self.comm is None:
            return
        self.containers = [one.to_json() for one in self.watch.seen]  # nothing is sent where nothing changed
        self.live = self.watch.live
        if samples:
            self.send({"type": "samples", "samples": samples})

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> Any:
        """The state, with the samples of the last minute where all of it is asked for: by a page that is loaded anew."""
        state = super().get_state(key, drop_defaults)
        if key is None:
            state["history"] = {one.source.id: list(one.history) for one in self.watch.seen}
        return state

    def close(self) -> None:
        """Stop the watch and take the widget from the page."""
        self.watch.stop()
        super().close()

    def html(self) -> str:
        """A table of the last samples, with the lines so far."""
        return forms.usage((one.state, one.usage, one.busy, list(one.history)) for one in self.watch.seen)

    def text(self) -> str:
        """The same as a table."""
        return text.usage((one.state, one.usage, one.busy) for one in self.watch.seen)

    def _told(self, _: Any, message: dict[str, Any], __: Any) -> None:
        kind = message.get("type")
        self._views += {"seen": 1, "left": -1}.get(str(kind), 0)
        if kind in ("seen", "left"):
            self._left = None if self._views > 0 else time.monotonic()
        elif kind == "stop":
            self.watch.stop()


class BuildView(Shown):
    """The steps of a build as they run, then the layers of the image or the failure."""

    _esm = scripts.module("build.js")
    _css = scripts.style("theme.css", "stack.css", "build.css")
    name = traitlets.Unicode().tag(sync=True)
    phase = traitlets.Unicode("running").tag(sync=True)
    work = traitlets.Unicode().tag(sync=True)
    steps: traitlets.List[Any] = traitlets.List().tag(sync=True)
    tails = traitlets.Dict().tag(sync=True)
    warnings: traitlets.List[Any] = traitlets.List().tag(sync=True)
    seconds = traitlets.Float(0.0).tag(sync=True)
    stack: traitlets.Dict[str, Any] | Any = traitlets.Dict(default_value=None, allow_none=True).tag(sync=True)
    failure: traitlets.Dict[str, Any] | Any = traitlets.Dict(default_value=None, allow_none=True).tag(sync=True)
    chosen = traitlets.Int(-1).tag(sync=True)

    _pulse: Pulse | None = None

    def __init__(self, record: Record) -> None:
        self.record = record
        super().__init__(name=text.printable(record.name))
        self._pulse = Pulse(self.flush, PULSE)

    def take(self, event: Event) -> None:
        """Note an event; it shows within a tenth of a second."""
        self.record.take(event)

    def flush(self) -> None:
        """Send what has changed."""
        if len(self.record.warnings) != len(self.warnings):
            self.warnings = [
                {"line": 0, "message": text.printable(one.told), "hint": text.printable(one.hint)}
                for one in list(self.record.warnings)
            ]
        self.work = self.record.work
        moved, spoke = self.record.changed()
        if moved:
            # a trait, not a message: a page that is still loading this widget's script must not miss it
            self.steps = self.record.steps_json()
        if spoke:
            self.send({"type": "tails", "tails": self.record.tails_json(spoke)})

    def finish(self) -> None:
        """Show how it ended; nothing changes after that."""
        self._calm()
        self.flush()
        record = self.record
        with self.hold_sync():
            self.name = text.printable(record.name)
            self.tails = record.tails_json()
            self.stack = payload.stack(record.stack) if record.stack else None
            self.failure = record.failure.to_json() if record.failure else None
            self.seconds = record.seconds
            self.phase = record.phase

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> Any:
        """The state, with the output so far where all of it is asked for: by a page that is loaded anew."""
        state = super().get_state(key, drop_defaults)
        if key is None:
            state["tails"] = self.record.tails_json()
        return state

    def close(self) -> None:
        """Take the widget from the page."""
        self._calm()
        super().close()

    def _calm(self) -> None:
        if self._pulse is not None:
            self._pulse.stop()
            self._pulse = None

    def html(self) -> str:
        """Steps, failure and layers as tables."""
        return forms.build(self.record)

    def text(self) -> str:
        """How the build stands, in some lines."""
        return self.record.text()

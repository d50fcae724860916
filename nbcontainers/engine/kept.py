"""A container as it is kept: what its folder says of it."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import IntegrityError, NotFound
from ..linux import smallfiles
from ..oci.runtime import RuntimeSpec
from ..results import ContainerState
from ..store import unpacked
from . import sharing
from .asked import Asked, torn
from .exhaustion import Telling
from .names import ContainerNames

if TYPE_CHECKING:
    from ..runtime.process import Runtime
    from ..runtime.running import Running
    from ..store.store import Store

CONFIG = "config.json"
LIVE = ("running", "paused", "restarting")


class Kept(Telling):
    """What is on disk of one container, and who is known here to run it."""

    def __init__(self, store: Store, names: ContainerNames, runtime: Runtime, identifier: str) -> None:
        self.id = identifier
        self.last_state: ContainerState | None = None
        self._store = store
        self._names = names
        self._runtime = runtime
        self._folder = names.folder(identifier)
        self._started: Running | None = None

    def _explained(self, error: OSError) -> Exception | None:
        """A file of its own that is not there: somebody has removed it, or is about to (its tree goes first, then its folder)."""
        if isinstance(error, FileNotFoundError) and self._is_gone:
            return NotFound(
                f"container {self.last_state.name if self.last_state else self.id[:12]} was removed meanwhile"
            )
        return super()._explained(error)

    @property
    def _is_gone(self) -> bool:
        return not (self._folder.exists() and (unpacked.snapshot(self._store.root, self.id) / "upper").exists())

    def __repr__(self) -> str:
        return f"<Container {self.name} ({self.id[:12]})>"

    @property
    def state(self) -> ContainerState:
        """What is on disk of it, repaired where it cannot be true any more: NotFound once it is removed.

        Where that cannot be read it is ``dead``: it is listed, and can be removed.
        """
        from ..runtime import state

        try:
            self.last_state = state.load_state(self._folder)
        except IntegrityError as error:
            self.last_state = self._dead(error)
        return self.last_state

    def _dead(self, error: IntegrityError) -> ContainerState:
        return ContainerState(
            id=self.id,
            name=self._names.name(self.id),
            image="",
            image_id="",
            command=(),
            status="dead",
            created=self._folder.stat().st_mtime,
            error=error.message,
        )

    def _require(self) -> None:
        """NotFound if it is no more, or is not one yet."""
        _ = self.state

    @property
    def name(self) -> str:
        """What it is called."""
        return (self.last_state or self.state).name

    @functools.cached_property
    def spec(self) -> RuntimeSpec:
        """The runtime specification that it was made with."""
        try:
            return self._read_spec()
        except (FileNotFoundError, IntegrityError):
            self._require()  # while it is being made, its name is known already
            return self._read_spec()  # it has been made just now

    def _read_spec(self) -> RuntimeSpec:
        path = self._folder / CONFIG
        try:
            return RuntimeSpec.from_json(json.loads(path.read_bytes()))
        except (ValueError, IntegrityError) as error:
            raise torn(path, error) from error

    @functools.cached_property
    def asked(self) -> Asked:
        """What was asked for when it was made, beside what the specification says."""
        return Asked.load(self._folder)

    def _before_starts(self, state: ContainerState) -> ContainerState:
        """Its state with what was known not to hold when it was made, and not what its last start found besides."""
        missing = self.asked.missing
        return state if missing is None else replace(state, not_enforced=missing)

    def write(self, *, is_starting: bool = False) -> None:
        """Write what the container is, once, when it is made: what it is, what was asked for, then the state that makes it one.

        What was asked for is there already where volumes are. ``is_starting`` leaves the state to the shim that starts it, which waits
        for the rest.
        """
        from ..runtime import state as states

        if not self.asked.mounts:
            self.asked.save(self._folder)
        smallfiles.publish(f"{self._folder}/{CONFIG}", self.spec.to_text().encode())
        if not is_starting and self.last_state is not None:
            states.new_state(self._folder, self.last_state)
        self._happen("create")

    @property
    def _running(self) -> Running:
        return self._started or self._runtime.open(self._folder)

    @property
    def _hostname(self) -> str:
        return sharing.hostname_of(self.spec, self.id)

    def _happen(self, action: str, **attributes: str) -> None:
        """Note for ``Engine.events`` what happened to it."""
        from ..runtime import happenings

        state = self.last_state
        subject = (
            {"id": self.id, "labels": state.labels, "image": state.image, "name": state.name}
            if state
            else {"id": self.id}
        )
        happenings.note(f"{self._store.root}/{happenings.NAME}", "container", action, subject, attributes)

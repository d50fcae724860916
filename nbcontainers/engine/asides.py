"""The methods of a container that leave it where it is in its life: a pause, another name."""

from __future__ import annotations

from ..errors import Conflict
from . import connecting
from .kept import Kept
from .options import name as checked


class Asides(Kept):
    """A container, as far as neither its start nor its end is concerned."""

    def pause(self) -> str:
        """Stop every process of it where it stands; what is returned says if that is less than a freezer does, else it is empty.

        Raises:
            Conflict: it does not run, or is paused already.
        """
        from ..runtime import pausing

        how = pausing.pause(self._folder)
        self._happen("pause")
        return how

    def unpause(self) -> None:
        """Let it go on: Conflict if it is not paused."""
        from ..runtime import pausing

        pausing.unpause(self._folder)
        self._happen("unpause")

    def rename(self, name: str) -> None:
        """Call it otherwise: Conflict if another container has the name."""
        from ..runtime import state as states

        before, name = self.state.name, checked(name)
        if name == before:
            raise Conflict(f"container {before} is called that already", hint="choose another name")
        self._names.claim(self.id, name)
        connecting.rename(self._runtime.networks(self._store.root), self.state, name)
        self.last_state = states.change(self._folder, name=name)
        self._names.release(self.id, before)
        self._happen("rename", oldName=before)

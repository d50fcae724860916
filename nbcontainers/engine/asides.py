"""The methods of a container that leave it where it is in its life: a pause, another name, other limits."""

from __future__ import annotations

from typing import Unpack

from ..errors import Conflict
from ..oci.resources import Resources
from ..store import durable
from . import connecting, kinds, networking, networkwords, policies
from .kept import CONFIG, LIVE, Kept
from .networks import NetworkFiles
from .options import RunOptions
from .options import name as checked


class Asides(Kept):
    """A container, as far as neither its start nor its end is concerned."""

    def foreseen(self) -> tuple[str, ...]:
        """What was asked for it and will not be enforced, as far as that is known before it starts, in plain words."""
        from ..runtime import launch

        host, connection = self._runtime.host, networking.load(self._folder)
        known = (
            *self._before_starts(self.state).not_enforced,
            *launch.not_enforced(self.spec, host),
            *networking.not_enforced(connection, NetworkFiles(self._store.root)),
            *networkwords.shut_in(connection, host),
        )
        return tuple(dict.fromkeys(known))

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

    def update(self, **options: Unpack[RunOptions]) -> None:
        """Change its limits and its restart policy, by docker update's words: at once if it runs, and for each later start.

        Raises:
            HostError: it runs, and nothing here can hold it to them; nothing was changed then.
        """
        from ..runtime import state as states
        from . import updating

        kinds.check(options)
        state, host = self.state, self._runtime.host
        word = options.pop("restart", "")
        policy = policies.restart(word) if word else None
        if policy and policy[0] != "no" and state.auto_remove:
            raise Conflict(f"container {state.name} is removed at its end, so it cannot be started again")
        if options:
            spec, now = updating.changed(self.spec, options)
            if state.status in LIVE and now != Resources():
                updating.apply(self._folder, host, state, spec, now)
            self.spec = spec
            durable.replace(self._folder / CONFIG, spec.to_text().encode(), temporary=self._folder, mode=0o644)
        if policy:
            states.change(self._folder, restart=policy)
            self._running.change_restart(policy)
        self._happen("update")

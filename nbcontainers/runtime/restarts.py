"""When a container that ended is started again: Docker's policies and pauses.

Source: moby, restartmanager/restartmanager.go. Imports only what keeps the zygote small.
"""

from __future__ import annotations

_FIRST_S, _LONGEST_S = 0.1, 60.0
_SOUND_S = 10.0  # a run that long was none of a row of failures


class Restarts:
    """One container's policy, and what became of it: ``count`` is how often it was started again."""

    def __init__(self, policy: tuple[str, int]) -> None:
        """``policy`` is ``no``, ``on-failure``, ``always`` or ``unless-stopped``, and for ``on-failure`` how often at most (0: ever)."""
        self.count = 0
        self._policy, self._most = policy
        self._pause = 0.0
        self._given_up = False

    def pause(self, code: int, ran_s: float) -> float | None:
        """Seconds to wait before the next run, after one of ``ran_s`` that ended with ``code``; None if there is to be none."""
        wanted = self._policy in {"always", "unless-stopped"} or (
            self._policy == "on-failure" and code != 0 and (not self._most or self.count < self._most)
        )
        if self._given_up or not wanted:
            return None
        self._pause = min(self._pause * 2, _LONGEST_S) if self._pause > 0 and ran_s < _SOUND_S else _FIRST_S
        self.count += 1
        return self._pause

    def give_up(self) -> None:
        """A person ended it: no more."""
        self._given_up = True

    def change(self, policy: tuple[str, int]) -> None:
        """Another policy, from the next end on."""
        self._policy, self._most = policy

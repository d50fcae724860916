"""A container's health: its check is entered into it again and again, and what comes of it is in its state.

Source: Dockerfile reference, HEALTHCHECK; moby, daemon/health.go. Imports only what keeps the zygote small.
"""

from __future__ import annotations

import os
import select
import time

from . import record
from .entered import enter_command
from .session import wished

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .entered import Entered
    from .plan import Plan
    from .poller import Poller
    from .traced import Traced

_MOST_OUTPUT = 4096
_KEPT = 5  # results in the state


class Health:
    """Checks one run of a container."""

    def __init__(
        self,
        poller: Poller,
        plan: Plan,
        container: tuple[int, int, int],
        *,
        put: Callable[[dict[str, Any]], object],
        happen: Callable[..., None],
    ) -> None:
        """``container`` is what ``Entered`` takes; ``put`` puts keys into the state, ``happen`` notes an event."""
        assert plan["health"] is not None
        self._poller = poller
        self._plan = plan
        self._settings = plan["health"]
        self._container = container
        self._put = put
        self._happen = happen
        self._began = time.monotonic()
        self._health: dict[str, Any] = {"status": "starting", "failing_streak": 0, "log": []}
        self._output = b""
        self._source = -1
        self._check: Entered | Traced | None = None
        self._check_began = 0.0
        self._check_id = ""
        self._timed_out = False
        self._timer: object = None
        self._write()
        self._next()

    def close(self) -> None:
        """The container has ended: no more checks. As with Docker, what nobody checks any more is not healthy."""
        self._poller.cancel(self._timer)
        self._close_source()
        self._check = None
        self._settings = {}
        self._health["status"] = "unhealthy"
        self._write()

    def _next(self) -> None:
        is_starting = self._health["status"] == "starting" and self._is_in_start_period()
        pause = self._settings["start_interval"] if is_starting else self._settings["interval"]
        self._timer = self._poller.after(pause, self._begin)

    def _is_in_start_period(self) -> bool:
        return bool(time.monotonic() - self._began < self._settings["start_period"])

    def _begin(self) -> None:
        if self._is_paused():
            self._next()
            return
        self._output, self._timed_out, self._check_began = b"", False, time.time()
        try:
            self._source, end = os.pipe()
        except OSError as error:  # no descriptors left; there may be some at the next check
            self._conclude(-1, str(error).encode())
            return
        os.set_blocking(self._source, False)
        self._poller.watch(self._source, select.POLLIN, lambda events: self._read())
        words = {
            "args": [os.fsencode(word) for word in self._settings["test"]],
            "env": {},
            "cwd": "",
            "user": "",
            "capabilities": -1,
            "terminal": [],
        }
        self._check_id, line = os.urandom(32).hex(), " ".join(self._settings["test"])
        for action in ("exec_create", "exec_start"):
            self._happen(f"{action}: {line}", execID=self._check_id)
        try:
            self._check = enter_command(
                self._poller, wished(self._plan, words), self._container, (-1, end, end), self._told
            )
        except OSError as error:
            self._close_source()
            self._conclude(-1, str(error).encode())
            return
        finally:
            os.close(end)
        self._timer = self._poller.after(self._settings["timeout"], self._time_out)

    def _is_paused(self) -> bool:
        """Whether an engine froze the container, and with it everything that would be entered into it."""
        try:
            folder = record.lock(self._plan["folder"])
        except OSError:
            return False
        try:
            return record.read(folder).get("status") == "paused"
        except OSError:
            return False
        finally:
            os.close(folder)

    def _read(self) -> bool:
        try:
            data = os.read(self._source, 1 << 16)
        except BlockingIOError:
            return False
        self._output = (self._output + data)[:_MOST_OUTPUT]
        if not data:
            self._close_source()
        return bool(data)

    def _close_source(self) -> None:
        if self._source >= 0:
            self._poller.forget(self._source)
            os.close(self._source)
            self._source = -1

    def _time_out(self) -> None:
        if self._check is not None:
            self._timed_out = True
            self._check.kill()

    def _told(self, message: tuple[Any, ...], descriptors: list[int]) -> None:
        if message[0] == "started" or not self._settings:
            return
        self._poller.cancel(self._timer)
        for _ in range(16):  # what the check still said; what goes on writing is not waited for
            if self._source < 0 or not self._read():
                break
        self._close_source()
        self._check = None
        if message[0] == "exited":
            self._happen("exec_die", execID=self._check_id, exitCode=str(message[1]))
        if self._timed_out:
            self._conclude(-1, b"the check exceeded its timeout of %g s" % self._settings["timeout"])
        elif message[0] == "exited":
            self._conclude(message[1], self._output)
        else:
            self._conclude(-1, str(message[3]).encode())

    def _conclude(self, code: int, output: bytes) -> None:
        """Note one result and what follows from it; a failure while the container is starting up does not count."""
        health, before = self._health, self._health["status"]
        result = {
            "start": self._check_began,
            "end": time.time(),
            "exit_code": code,
            "output": output.decode("utf-8", "replace"),
        }
        health["log"] = [*health["log"], result][-_KEPT:]
        if code == 0:
            health.update(status="healthy", failing_streak=0)
        elif not (before == "starting" and self._is_in_start_period()):
            health["failing_streak"] += 1
            if health["failing_streak"] >= self._settings["retries"]:
                health["status"] = "unhealthy"
        self._write()
        if health["status"] != before:
            self._happen(f"health_status: {health['status']}")
        self._next()

    def _write(self) -> None:
        try:
            self._put({"health": self._health})
        except OSError:
            pass

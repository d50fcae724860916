"""One ``exec`` as the shim sees it: a caller at the door, and the command that he entered into the container.

The caller's own pipes, or the far end of the command's terminal, carry its streams: nothing passes through the shim. It dies
with its caller, unless that one said that he leaves it. Imports only what keeps the zygote small.
"""

from __future__ import annotations

import errno
import os
import select

from . import groups, happenings
from .door import Caller
from .entered import enter_command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .plan import Plan
    from .poller import Poller

_CHUNK = 1 << 16
_KILLED = 137


class Session:
    """From the wish to the exit code."""

    def __init__(
        self,
        poller: Poller,
        plan: Plan,
        container: tuple[int, int, int],
        caller: Caller,
        wish: dict[str, Any],
    ) -> None:
        """``wish`` has the words of ``wished``, ``id`` and ``detach``; the caller's descriptors are 0 to 2, as far as ``stdio`` says."""
        self._poller = poller
        self._caller = caller
        self._is_detached = wish["detach"]
        self._plan, self._id = plan, wish["id"]
        self._killed_before = groups.oom_kills(plan)
        given = caller.take()
        try:
            if len(given) < sum(wish["stdio"]):  # the kernel leaves out those for which this process has no room
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            descriptors = iter(given)
            stdio = [next(descriptors) if is_given else -1 for is_given in wish["stdio"]]
            self._entered = enter_command(
                poller, wished(plan, wish), container, (stdio[0], stdio[1], stdio[2]), self._tell
            )
        except OSError as error:
            caller.answer(("failed", "fork", error.errno, str(error.strerror), 126))
            return
        finally:
            for descriptor in given:
                os.close(descriptor)
        caller.left = self._leave
        caller.obey_with(self._obey)

    def _obey(self, caller: Caller, wish: dict[str, Any]) -> None:
        if wish["do"] == "signal":
            self._entered.kill(wish["number"])
        elif wish["do"] == "leave":  # it goes on without him; what it says is read and forgotten
            self._is_detached = True
            for descriptor in caller.take():
                self._forget_output(descriptor)
            caller.answer(("done",))

    def _forget_output(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)

        def drain(events: int) -> None:
            try:
                data = os.read(descriptor, _CHUNK)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._poller.forget(descriptor)
                os.close(descriptor)

        self._poller.watch(descriptor, select.POLLIN, drain)

    def _tell(self, message: tuple[Any, ...], descriptors: list[int]) -> None:
        if message[0] == "exited":
            known = {"execID": self._id, "exitCode": str(message[1])}
            happenings.note(self._plan["happenings"], "container", "exec_die", self._plan["state"], known)
            message = (*message, message[1] == _KILLED and groups.oom_kills(self._plan) > self._killed_before)
        self._caller.answer(message, descriptors)
        if message[0] != "started":
            self._caller.close()

    def _leave(self) -> None:
        if not self._is_detached and not self._entered.is_over:
            self._entered.kill()


def wished(plan: Plan, wish: dict[str, Any]) -> Plan:
    """The container's plan with a further command's own words in it.

    ``args`` and ``env`` (over the container's variables) are bytes; ``cwd`` and ``user`` empty for the container's;
    ``capabilities`` a mask, or -1 for the container's; ``terminal`` its rows and columns, empty for none.
    """
    changed = plan.copy()
    changed["args"] = wish["args"]
    changed["env"] = {**plan["env"], **wish["env"]}
    changed["cwd"] = wish["cwd"] or plan["cwd"]
    changed["user"] = wish["user"] or plan["user"]
    if wish["capabilities"] >= 0:
        changed["capabilities"] = wish["capabilities"]
        changed["apparmor"] = ""  # a privileged command is not confined, as in Docker
    changed["terminal"] = wish["terminal"]
    return changed

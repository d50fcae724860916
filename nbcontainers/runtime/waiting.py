"""Waiting for the end of what is no child of this process: of a process, and of what a shim does for a container."""

from __future__ import annotations

import os
import select
import time
from pathlib import Path
from typing import Any

from . import state
from .poller import happens

_SOON_S, _LATER_S = 0.002, 0.05


def wait_for(descriptor: int, deadline: float | None) -> None:
    """Wait until a descriptor can be read; TimeoutError when the monotonic clock has come to the deadline before."""
    if not happens(descriptor, select.POLLIN, None if deadline is None else max(0, deadline - time.monotonic())):
        raise TimeoutError("the container has not ended")


def wait_for_process(pid: int, start: int, deadline: float | None) -> None:
    """Wait until the process is not there any more that began then."""
    pidfd = state.open_process(pid, start)
    if pidfd < 0:
        return
    try:
        wait_for(pidfd, deadline)
    finally:
        os.close(pidfd)


def wait_for_shim(folder: Path, extra: dict[str, Any], deadline: float | None) -> None:
    """Wait until the shim that is named in ``extra`` is done with a container: it ends then, or the state does not name it any more."""
    now = extra
    shim, start = extra.get("shim", 0), extra.get("shim_start", 0)
    look = _SOON_S
    while now.get("shim", 0) == shim and state.is_alive(shim, start):
        first = state.load_state(folder).pid
        if state.is_alive(first, now.get("start", 0)):
            wait_for_process(first, now["start"], deadline)
            look = _SOON_S
        else:  # it is about to be done, or starts the container again later
            until = time.monotonic() + look
            try:
                wait_for_process(shim, start, until if deadline is None else min(until, deadline))
            except TimeoutError:
                if deadline is not None and deadline <= until:
                    raise
            look = min(2 * look, _LATER_S)
        now = state.load_extra(folder)

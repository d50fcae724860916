"""What a shim still does that has a fault of its own: nothing of its container goes on, and its state says why.

Imports only what keeps the zygote small.
"""

from __future__ import annotations

import os
import time

from ..linux import syscalls
from . import groups, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import Any

    from .plan import Plan
else:
    import _signal as signal  # the other one imports enum and collections, which cost memory

_LOW = 3
_KILLED = 137


def words(error: BaseException) -> str:
    """The error with the place in our code that it comes from."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" at {os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}" if trace else ""
    return f"{type(error).__name__}: {error}{place}"


def end(plan: Plan, why: str, *, pid: int, extra: dict[str, Any], keep: int) -> dict[str, Any]:
    """End the container that runs as a child of this process, record that and return what changes in its state.

    Everything is closed but the descriptor ``keep``, so that there is room where descriptors had run out.
    """
    if plan["view"] is not None:
        from . import traced

        traced.end_all(plan)
    if pid > 0:
        os.kill(pid, signal.SIGKILL)  # our child: the number is its own until it is waited for
        # The first process of a pid namespace only ends when all others have been waited for, and commands that were entered are ours.
        while os.waitpid(-1, 0)[0] != pid:
            pass
    if keep > _LOW:
        syscalls.close_range(_LOW, keep - 1)
    syscalls.close_range(max(_LOW, keep + 1))
    change = {
        "status": "exited",
        "pid": 0,
        "finished": time.time(),
        "exit_code": _KILLED,
        "error": f"ended by a fault of its shim: {why}",
    }
    try:
        record.change(plan["folder"], change, extra, whole=False)
        groups.remove(plan)
        groups.remove_shelves(plan)
        os.unlink(plan["socket"])
    except OSError:
        pass  # whoever reads the state finds the shim gone, and does the rest
    return change

"""What the words of ``docker exec`` mean for the shim that does it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import LaunchError, NBContainersError
from ..linux import capabilities
from ..results import ContainerState
from . import kinds
from . import options as words

if TYPE_CHECKING:
    from ..runtime.host import Host

SIZE = (24, 80)  # rows and columns of a terminal that nobody looks at


def wish(
    command: Sequence[str],
    host: Host,
    *,
    identifier: str,
    env: Sequence[str] | Mapping[str, str],
    workdir: str,
    user: str,
    tty: bool,
    privileged: bool,
    detach: bool,
) -> dict[str, Any]:
    """What to ask the shim for; see ``runtime.session``."""
    if not command:
        raise NBContainersError("no command was given", hint="name one behind the container")
    kinds.check({"env": env, "workdir": workdir, "user": user}, command)
    variables = words.variables(env)
    if tty:
        variables.setdefault("TERM", "xterm")
    return {
        "do": "exec",
        "id": identifier,
        "args": [os.fsencode(word) for word in command],
        "env": {os.fsencode(name): os.fsencode(value) for name, value in variables.items()},
        "cwd": _workdir(workdir),
        "user": user,
        "capabilities": capabilities.mask(host.capabilities) if privileged else -1,
        "terminal": list(window()) if tty else [],
        "detach": detach,
    }


def _workdir(word: str) -> str:
    """As of a container's own; but that one cannot go there is told by the code for a command that cannot be executed, as Docker has it."""
    try:
        return words.workdir(word)
    except NBContainersError as error:
        raise LaunchError(error.message, stage="working directory", exit_code=126, hint=error.hint) from None


def window() -> tuple[int, int]:
    """Rows and columns of this process's terminal; those of an old screen where it has none."""
    for number in range(3):
        with contextlib.suppress(OSError, ValueError):
            size = os.get_terminal_size(number)
            if size.lines and size.columns:
                return size.lines, size.columns
    return SIZE


def handles(state: ContainerState, number: int) -> bool:
    """Whether a container's first process has a handler for a signal: without one the kernel never shows it to it.

    Source: pid_namespaces(7), "The namespace init process".
    """
    with contextlib.suppress(OSError), open(f"/proc/{state.pid}/status") as file:
        for line in file:
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False

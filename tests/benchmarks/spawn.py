"""Commands as samples: spawned without a shell and waited for, here or in a mount namespace where something is hidden.

Run as a program this is the other side of ``Elsewhere``: it reads lines of JSON and does what ``together`` does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol


class Unavailable(Exception):
    """What is to be compared with is not installed, or does not work on this host: in its own words where it has some."""


class Runner(Protocol):
    """Runs commands at the same time and returns their exit codes; their standard error goes to the end of a file."""

    def __call__(self, commands: Sequence[Sequence[str]], env: Mapping[str, str], errors: str) -> list[int]: ...


def together(commands: Sequence[Sequence[str]], env: Mapping[str, str], errors: str) -> list[int]:
    """Start all the commands, then wait for all; a command's first word is an absolute path."""
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
    ]
    pids = [os.posix_spawn(words[0], list(words), dict(env), file_actions=actions) for words in commands]
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


class Elsewhere:
    """A small process in a mount namespace of its own, without the mount ``hidden``; called, it does what ``together`` does.

    It starts with the first call: what is mounted later it does not see.
    """

    def __init__(self, hidden: str) -> None:
        self._hidden = hidden
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self, commands: Sequence[Sequence[str]], env: Mapping[str, str], errors: str) -> list[int]:
        if self._process is None:
            script = 'umount --lazy "$1" && shift && exec "$@"'
            words = ["unshare", "--mount", "sh", "-c", script, "sh", self._hidden, sys.executable, "-I", "-S", __file__]
            self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([commands, dict(env), errors]).encode() + b"\n")
        self._process.stdin.flush()
        return list(json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.communicate()


def hybrid() -> str:
    """The cgroup v2 tree that stands without controllers beside the v1 ones, or nothing: crun refuses to run where it sees it."""
    tree = "/sys/fs/cgroup/unified"
    return tree if os.geteuid() == 0 and Path(tree, "cgroup.procs").exists() else ""


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(together(*json.loads(line))), flush=True)

"""``python -m nbcontainers`` is the command line."""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Do what the words say; an interrupt ends it without a traceback also while its modules are still being read."""
    _open_streams()
    try:
        from .cli import main as line
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    line.main()


def _open_streams() -> None:
    """Where standard streams are closed, open nothing in their place: else the next files of ours would have their numbers."""
    while (number := os.open(os.devnull, os.O_RDWR)) < 3:
        os.set_inheritable(number, True)
    os.close(number)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


if __name__ == "__main__":
    main()

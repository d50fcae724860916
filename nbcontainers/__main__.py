"""``python -m nbcontainers`` is the command line."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Do what the words say; an interrupt ends it without a traceback also while its modules are still being read."""
    try:
        from .cli import main as line
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    line.main()


if __name__ == "__main__":
    main()

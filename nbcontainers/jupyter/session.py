"""The one engine of a kernel, which every magic uses; opened at its first use, closed with the kernel."""

from __future__ import annotations

import atexit
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..engine import Engine

_engine: Engine | None = None


def engine() -> Engine:
    """The engine of the default store."""
    global _engine
    if _engine is None:
        from ..engine import Engine

        _engine = Engine()
        atexit.register(close)
    return _engine


def close() -> None:
    """End the foreground containers and the engine's own processes; the next use opens it again."""
    global _engine
    if _engine is not None:
        atexit.unregister(close)
        _engine.close()
        _engine = None

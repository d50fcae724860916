"""Engine and Container: what everything else is made for."""

from .container import Container
from .engine import Engine

__all__ = ["Container", "Engine"]

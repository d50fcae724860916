"""Every verb of the command line, by name: the table that the command line, the magics and their completion read."""

from __future__ import annotations

from . import build, containers, demo, host, images, registries, running
from .flags import Command

_MODULES = (build, running, containers, images, registries, host, demo)

VERBS: dict[str, Command] = {verb.name: verb for module in _MODULES for verb in module.VERBS}

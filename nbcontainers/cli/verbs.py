"""Every verb of the command line, by name: the table that the command line, the magics and their completion read."""

from __future__ import annotations

from collections.abc import Sequence

from . import (
    archives,
    build,
    buildcache,
    containers,
    copying,
    demo,
    entering,
    happened,
    host,
    images,
    lifecycle,
    networks,
    registries,
    running,
    upkeep,
    volumes,
)
from .flags import Command

_MODULES = (  # in the order of the help
    build,
    running,
    lifecycle,
    entering,
    containers,
    happened,
    copying,
    images,
    registries,
    archives,
    networks,
    volumes,
    upkeep,
    buildcache,
    host,
    demo,
)

VERBS: dict[str, Command] = {verb.name: verb for module in _MODULES for verb in module.VERBS}

# Verbs of two words ("network create") share the first; what it stands for, for the help.
GROUPS: dict[str, str] = {
    "builder": "the build cache",
    "container": "containers together",
    "image": "images together",
    "network": "the networks that containers talk over",
    "system": "the whole store",
    "volume": "folders that outlive the containers which show them",
}


def find(words: Sequence[str]) -> tuple[Command | None, Sequence[str]]:
    """The verb that the words begin with, None where there is none, and the words behind it."""
    for count in (2, 1):
        verb = VERBS.get(" ".join(words[:count]))
        if verb is not None:
            return verb, words[count:]
    return None, words


def members(group: str) -> dict[str, Command]:
    """The verbs of a group by their second word."""
    return {name.removeprefix(f"{group} "): verb for name, verb in VERBS.items() if name.startswith(f"{group} ")}

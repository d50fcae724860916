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


# What docker says in other words; there is one way to say it here.
_OTHERWISE = {
    **dict.fromkeys(("image ls", "image list"), "images"),
    **dict.fromkeys(("image rm", "image remove"), "rmi"),
    **dict.fromkeys(("container ls", "container list", "container ps"), "ps"),
    "container remove": "rm",
    "system info": "info",
    "system events": "events",
    **{
        f"{group} {word}": f"{group} {short}"
        for group in ("network", "volume")
        for word, short in (("list", "ls"), ("remove", "rm"))
    },
}


def instead(words: Sequence[str]) -> str:
    """The verb for two words of docker's that mean what is said in another way here; empty where there is none."""
    asked = " ".join(words[:2])
    verb = _OTHERWISE.get(asked, asked.removeprefix("image ").removeprefix("container "))
    return verb if verb != asked and verb in VERBS else ""


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

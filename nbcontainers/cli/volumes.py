"""The verbs of volumes."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from ..engine import Engine
from ..engine.census import is_called
from ..engine.options import pairs
from ..engine.volumes import inspected
from ..errors import NBContainersError
from ..results import VolumeState
from . import format as form
from .console import Console, each, inspect_each
from .flags import FORMAT, QUIET, Command, Flag, Operand, filters, refused
from .template.values import Labels
from .upkeep import FILTER, FORCE, ask

COLUMNS = (("DRIVER", "Driver"), ("VOLUME NAME", "Name"))
_VOLUMES = Operand(name="VOLUME", help="names of volumes", count="+")
_INSPECT_FORMAT = Flag(names=("-f", "--format"), metavar="FORMAT", help="json, or fields such as '{{.Mountpoint}}'")
_CLUSTER = "it is for volumes of a swarm, and there is none"
_OF_CLUSTERS = (
    *("--availability", "--group", "--limit-bytes", "--required-bytes", "--scope", "--secret", "--sharing"),
    *("--topology-preferred", "--topology-required", "--type"),
)
_NONE = VolumeState(name="", path="", created=0.0, labels=(), anonymous=False, users=())
_FILTERS = ("dangling", "label", "name", "driver")


def create(engine: Engine, values: Namespace, console: Console) -> int:
    """Make a volume and print its name."""
    if values.driver != "local":
        raise NBContainersError(f"no volume driver {values.driver!r}", hint="wanted: local")
    console.print(engine.create_volume(values.volume or "", labels=pairs(values.label, "label")).name)
    return 0


def ls(engine: Engine, values: Namespace, console: Console) -> int:
    """List volumes."""
    for word in values.filter:
        _holds(_NONE, word)  # or raises, also where there is no volume
    every = sorted(engine.volumes(), key=lambda volume: form.natural(volume.name))
    chosen = [volume for volume in every if all(_holds(volume, word) for word in values.filter)]
    if values.quiet:
        for volume in chosen:
            console.print(volume.name)
        return 0
    text = form.rows([_row(volume) for volume in chosen], values.format, COLUMNS)
    if text:
        console.print(text)
    return 0


def _row(volume: VolumeState) -> dict[str, Any]:
    return {
        "Driver": "local",
        "Name": volume.name,
        "Mountpoint": volume.path,
        "Scope": "local",
        "Labels": Labels(volume.labels),
        "Links": len(volume.users),
        "Size": "N/A",  # as Docker has it: system df -v looks for it
    }


def _holds(volume: VolumeState, word: str) -> bool:
    name, equals, value = word.partition("=")
    match name:
        case "dangling" if value.lower() in ("true", "1", "false", "0"):
            return (not volume.users) == (value.lower() in ("true", "1"))
        case "label" if equals:
            key, has_value, text = value.partition("=")
            labels = dict(volume.labels)
            return key in labels and (not has_value or labels[key] == text)
        case "name" if equals:
            return is_called(value, volume.name)
        case "driver" if equals:
            return value == "local"
    raise NBContainersError(f"invalid filter {word!r}", hint=f"wanted NAME=VALUE with one of {', '.join(_FILTERS)}")


def inspect(engine: Engine, values: Namespace, console: Console) -> int:
    """All that is known of volumes, as one JSON list."""
    return inspect_each(values.volume, lambda name: inspected(engine.volume(name)), values.format, console)


def rm(engine: Engine, values: Namespace, console: Console) -> int:
    """Remove volumes that no container has."""
    return each(values.volume, console, lambda name: engine.remove_volume(name, missing_ok=values.force))


def prune(engine: Engine, values: Namespace, console: Console) -> int:
    """Remove the anonymous volumes that no container has, or with ``-a`` every such volume."""
    if not values.force:
        ask([f"all {'' if values.all else 'anonymous '}volumes that no container has"], console)
    names, size = engine.prune_volumes(everything=values.all, filters=values.filter)
    if names:
        console.print("Deleted Volumes:")
        for name in names:
            console.print(name)
        console.print("")
    console.print(f"Total reclaimed space: {form.size(size)}")
    return 0


VERBS = (
    Command(
        name="volume create",
        act=create,
        summary="make a volume",
        flags=(
            Flag(names=("-d", "--driver"), metavar="NAME", default="local", help="local, the only one"),
            Flag(names=("--label",), metavar="KEY=VALUE", many=True, help="a label on the volume"),
            refused(("-o", "--opt"), "a volume is a folder in the store; --mount type=tmpfs or type=bind shows others"),
            *(refused((name,), _CLUSTER) for name in _OF_CLUSTERS),
        ),
        operands=(Operand(name="VOLUME", help="its name (else a new one)", count="?"),),
    ),
    Command(
        name="volume ls",
        act=ls,
        summary="list volumes",
        flags=(
            filters("dangling, label, name or driver"),
            QUIET,
            FORMAT,
            refused(("--cluster",), _CLUSTER, is_switch=True),
        ),
    ),
    Command(
        name="volume inspect",
        act=inspect,
        summary="all that is known of volumes, as JSON",
        flags=(_INSPECT_FORMAT,),
        operands=(_VOLUMES,),
    ),
    Command(
        name="volume rm",
        act=rm,
        summary="remove volumes",
        flags=(Flag(names=("-f", "--force"), help="do not mind those that are not there"),),
        operands=(_VOLUMES,),
    ),
    Command(
        name="volume prune",
        act=prune,
        summary="remove volumes that no container has",
        flags=(
            Flag(names=("-a", "--all"), help="also those with a name"),
            FILTER,
            FORCE,
        ),
    ),
)

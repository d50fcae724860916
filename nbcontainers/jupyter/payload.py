"""Results as the JSON that widgets draw: every name made printable, nothing larger than a message may be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..cli.text import by_reason, ended, ending, is_fault, printable, shortened, unkept
from ..results import ContainerState, Entry, Layer, LayerStack, PackageChange, SettingChange

LARGEST = 12  # files of a layer that are told
SHARED = 20  # images that share a layer that are told by name
INSTRUCTION = 4000  # characters of an instruction: a heredoc can be a whole program
VALUE = 2000  # characters of a setting
NAME = 120  # characters of a package's name, version or folder
PATH = 400  # characters of a path: its end, where it is longer
MANY = 150_000  # characters of all packages, or of all settings


def stack(result: LayerStack) -> dict[str, Any]:
    """A layer stack, from the base up."""
    return {
        "name": printable(result.name),
        "id": str(result.id),
        "platform": printable(result.platform),
        "size": result.size,
        "stored": result.stored_size,
        "wasted": result.wasted,
        "efficiency": result.efficiency,
        "layers": [_layer(number, layer) for number, layer in enumerate(result.layers, 1)],
    }


def _layer(number: int, layer: Layer) -> dict[str, Any]:
    return {
        "number": number,
        "instruction": prose(layer.instruction, INSTRUCTION),
        "digest": layer.digest,
        "diffId": layer.diff_id,
        "size": layer.size,
        "stored": layer.stored_size,
        "added": layer.added,
        "modified": layer.modified,
        "deleted": layer.deleted,
        "wasted": layer.wasted,
        "largest": [_file(entry) for entry in layer.largest[:LARGEST]],
        "sharedWith": [shortened(name, NAME) for name in layer.shared_with[:SHARED]],
        "sharedBy": len(layer.shared_with),
    }


def _file(entry: Entry) -> dict[str, Any]:
    return {"path": ending(printable("/" + entry.path.lstrip("/")), PATH), "size": entry.size}


def prose(text: str, limit: int) -> str:
    """Text of several lines, each printable, cut off at ``limit`` characters."""
    # what is written out only grows, so no more than the limit has to be looked at
    whole = "\n".join(printable(line.expandtabs(4)) for line in text[: limit + 1].splitlines())
    return whole if len(whole) <= limit else whole[: limit - 1] + "…"


def setting(change: SettingChange) -> dict[str, Any]:
    """A key of an image's configuration that differs."""
    return {
        "key": printable(change.key),
        "before": None if change.before is None else prose(change.before, VALUE),
        "after": None if change.after is None else prose(change.after, VALUE),
    }


def package(change: PackageChange) -> dict[str, Any]:
    """A package that differs."""
    return {
        "kind": change.kind,
        "packaging": change.packaging,
        "name": shortened(change.name, NAME),
        "before": None if change.before is None else shortened(change.before, NAME),
        "after": None if change.after is None else shortened(change.after, NAME),
        "where": ending(printable(change.where), NAME),
    }


def bounded(rows: Iterable[dict[str, Any]], size: int = MANY) -> list[dict[str, Any]]:
    """The first rows, as many as so many characters hold: an image may have a million labels."""
    held = []
    for row in rows:
        size -= 60 + sum(len(value) for value in row.values() if isinstance(value, str))
        if size < 0:
            break
        held.append(row)
    return held


def container(state: ContainerState) -> dict[str, Any]:
    """What is shown of a container beside its usage."""
    return {
        "id": state.id,
        "name": printable(state.name),
        "image": printable(state.image),
        "status": state.status,
        "started": state.started,
        "finished": state.finished,
        "ended": ended(state),
        "calm": not is_fault(state),
        "unkept": by_reason(map(printable, unkept(state))),
    }

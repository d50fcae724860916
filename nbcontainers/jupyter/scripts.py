"""The widgets' scripts and styles: plain ES modules, joined into the one module that a widget may have.

A module that imports ``./name.js`` gets that module's text before its own; nothing is bundled, translated or fetched.
"""

from __future__ import annotations

import functools
import re
from importlib.resources import files

_IMPORT = re.compile(r'^import \{[^}]*\} from "\./(\w+\.js)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=function|async function|const|class)", re.MULTILINE)


@functools.cache
def read(name: str) -> str:
    """A file of the folder ``static``."""
    return (files(__package__) / "static" / name).read_text(encoding="utf-8")


@functools.cache
def module(name: str) -> str:
    """A widget's module with all that it imports; only the widget's own default export is left."""
    order: list[str] = []
    _collect(name, order)
    parts = [_IMPORT.sub("", read(part)) for part in order]
    return "\n".join([*(_EXPORT.sub("", part) for part in parts[:-1]), parts[-1]])


def _collect(name: str, order: list[str]) -> None:
    for imported in _IMPORT.findall(read(name)):
        if imported not in order:
            _collect(imported, order)
    order.append(name)


@functools.cache
def style(*names: str) -> str:
    """Several style sheets as one, without their comments."""
    return re.sub(r"/\*.*?\*/\s*", "", "\n".join(read(name) for name in names), flags=re.DOTALL)

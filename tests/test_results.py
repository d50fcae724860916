"""What front ends show."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import is_dataclass
from pathlib import Path

import pytest

from nbcontainers import results

FOLDER = Path(results.__file__).parent


def defined(path: Path) -> set[str]:
    """The names that a module itself makes."""
    body = ast.parse(path.read_text()).body
    names = {node.name for node in body if isinstance(node, ast.ClassDef)}
    return names | {node.targets[0].id for node in body if isinstance(node, ast.Assign)}


def test_every_type_can_be_imported_from_the_package() -> None:
    """What a module of the package defines is a name of the package, and nothing else is."""
    made = {name for path in FOLDER.glob("[a-z]*.py") for name in defined(path)}
    assert made == set(results._HOMES)
    for name in made:
        value = getattr(results, name)
        is_named_tuple = isinstance(value, type) and issubclass(value, tuple) and hasattr(value, "_fields")
        assert not isinstance(value, type) or is_dataclass(value) or is_named_tuple
    assert made <= set(dir(results))
    with pytest.raises(AttributeError, match="Usages"):
        _ = results.Usages


def test_a_type_brings_only_its_own_module() -> None:
    """Who asks for a container's state does not wait for the types of images and stores to be made."""
    code = (
        "import sys\nfrom nbcontainers.results import ContainerState\n"
        "print(*sorted(name for name in sys.modules if name.startswith('nbcontainers.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["nbcontainers.results", "nbcontainers.results.containers"]

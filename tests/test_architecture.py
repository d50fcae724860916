"""What every module promises by being here: its size, its name, its imports, its types and its style."""

from __future__ import annotations

import ast
import importlib.metadata
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

import nbcontainers

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "nbcontainers"
MODULES = sorted(PACKAGE.rglob("*.py"))
SAYS_NOTHING = {"utils", "util", "helpers", "helper", "manager", "base", "common", "misc"}


def lines_of_code(path: Path) -> int:
    """Lines that are not blank, comment or docstring."""
    source = path.read_text()
    dropped: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            text = node.body[0]
            dropped.update(range(text.lineno, (text.end_lineno or text.lineno) + 1))
    return sum(
        1
        for number, line in enumerate(source.splitlines(), 1)
        if number not in dropped and line.strip() and not line.strip().startswith("#")
    )


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_is_longer_than_400_lines(path: Path) -> None:
    """A module that outgrows 400 lines of code holds two things, and is two modules."""
    assert lines_of_code(path) <= 400


def test_no_folder_of_tests_is_passed_over(pytestconfig: pytest.Config) -> None:
    """pytest looks into all of them; what it is used to pass over has ``build`` among it."""
    folders = {path.parent for path in (ROOT / "tests").rglob("test_*.py")}
    passed_over = pytestconfig.getini("norecursedirs")
    assert not [path for path in folders if any(fnmatch(path.name, pattern) for pattern in passed_over)]


def test_modules_are_named_for_what_they_hold() -> None:
    """No module is called utils, helpers, manager, base or common."""
    named = [path for path in MODULES if SAYS_NOTHING & set(path.with_suffix("").relative_to(PACKAGE).parts)]
    assert named == []


def test_the_public_names_are_these() -> None:
    """A name is added on purpose, and taken away with a line in the changelog."""
    assert sorted(nbcontainers.__all__) == [
        "BuildError",
        "Conflict",
        "Container",
        "DockerfileError",
        "Engine",
        "HostError",
        "Image",
        "IntegrityError",
        "InvalidReference",
        "LaunchError",
        "NBContainersError",
        "NotFound",
        "RegistryError",
        "__version__",
        "load_ipython_extension",
    ]
    assert all(getattr(nbcontainers, name) is not None for name in nbcontainers.__all__)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False)


def test_imports_point_downwards() -> None:
    """Each layer imports only those below it, and the engine knows nothing of notebooks."""
    (script,) = (
        point for point in importlib.metadata.entry_points(group="console_scripts") if point.name == "lint-imports"
    )
    done = run("-c", f"import sys; from {script.module} import {script.attr} as main; sys.exit(main())", "--no-cache")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("words", [("check", "."), ("format", "--check", ".")], ids=["check", "format"])
def test_ruff_finds_nothing(words: tuple[str, ...]) -> None:
    """The code has one style, and each rule that is off says why in pyproject.toml."""
    done = run("-m", "ruff", *words)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_function_is_typed() -> None:
    """``mypy --strict`` finds nothing."""
    done = run("-m", "mypy")
    assert done.returncode == 0, done.stdout + done.stderr

"""The widgets' scripts: plain modules, joined as they are, that make no markup and fetch nothing."""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

import pytest

import nbcontainers.jupyter
from nbcontainers.jupyter import scripts

STATIC = Path(nbcontainers.jupyter.__file__).parent / "static"
SCRIPTS = sorted(STATIC.glob("*.js"))
WIDGETS = ["layers.js", "usage.js", "diff.js", "build.js"]


@pytest.mark.parametrize("name", WIDGETS)
def test_a_widget_is_one_module(name: str) -> None:
    """What it imports stands before it, once; nothing is left to import, and only the widget is exported."""
    module = scripts.module(name)
    assert "import {" not in module
    assert module.count("export ") == 1
    assert "export default {" in module
    assert module.count("export function h(") == 0
    assert module.count("function h(") == 1


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_names_never_become_markup(path: Path) -> None:
    """Text is set as text: no script parses markup, evaluates text or leaves the page."""
    source = path.read_text()
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Function(",
        'fetch("',
        "import(",
        "XMLHttpRequest",
    ):
        assert word not in source, word
    assert not [
        address for address in re.findall(r"https?://[^\"'` ]+", source) if address != "http://www.w3.org/2000/svg"
    ]


@pytest.mark.parametrize("path", sorted(STATIC.glob("*.css")), ids=lambda path: path.name)
def test_styles_fetch_nothing_and_stay_within_the_widget(path: Path) -> None:
    """No address and no font of another place; each rule begins at our own class."""
    source = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
    assert "url(" not in source
    assert "@import" not in source
    for selector in re.findall(r"^([^@\s{}][^{}]*)\{", source, re.MULTILINE):
        for part in re.sub(r"\([^()]*\)", "", selector).split(","):
            assert part.strip().startswith(".nbc"), selector


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_script_is_longer_than_400_lines(path: Path) -> None:
    """The rule for modules holds for these as well."""
    assert len(path.read_text().splitlines()) <= 400


def test_what_is_installed_has_the_extension_of_jupyterlab() -> None:
    """Where JupyterLab looks for it, with every file that it asks for."""
    installed = Path(sys.prefix) / "share/jupyter/labextensions/nbcontainers"
    try:
        metadata.distribution("nbcontainers")
    except metadata.PackageNotFoundError:
        pytest.skip("needs nbcontainers to be installed: pip install -e .")
    source = Path(nbcontainers.__file__).parent / "jupyter/labextension"
    assert files(installed) == files(source)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}

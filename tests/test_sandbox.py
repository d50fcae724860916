"""Every attack and every fault of the sandbox policy, with the tests that really do it.

``sandbox.json`` has them; ``python -m tests.test_sandbox`` writes docs/sandbox.md of it, which these tests hold to be true. CI runs all
tests twice, as root and as uid 1000 without privilege; so a test stands for both unless the table says otherwise.
"""

from __future__ import annotations

import ast
import functools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DATA = json.loads((HERE / "sandbox.json").read_text())
DOCUMENT = HERE.parent / "docs/sandbox.md"
BOTH = ("docker", "sandbox")
FLAGS = "What flags give away"


@functools.cache
def functions(path: str) -> dict[str, ast.FunctionDef]:
    """The tests of a file by their names, those of a class behind its name."""
    tests = {}
    for node in ast.parse((HERE.parent / path).read_text()).body:
        body = node.body if isinstance(node, ast.ClassDef) else [node]
        for one in body:
            if isinstance(one, ast.FunctionDef):
                tests[f"{node.name}::{one.name}" if isinstance(node, ast.ClassDef) else one.name] = one
    return tests


def found(name: str) -> ast.FunctionDef:
    """The test that a name in the table means; an error where there is none."""
    path, _, rest = name.partition("::")
    return functions(path)[rest.partition("[")[0]]


def profiles(name: str) -> tuple[str, ...]:
    """The profiles under which a test does what it does."""
    if {"profile", "swapping"} & {argument.arg for argument in found(name).args.args}:
        return BOTH
    return ("sandbox",) if name.startswith("tests/engine/test_sandbox.py") else ("docker",)


def rows() -> Iterator[tuple[str, str, bool, tuple[str, ...]]]:
    """(part of the page, attack, whether a container is what is attacked from, its tests)."""
    for what, tests in DATA["defaults"].items():
        yield "Defaults", what, True, tuple(tests)
    for number, part in enumerate(DATA["classes"], 1):
        for what, tests in part["attacks"].items():
            yield f"{number}. {part['title']}", what, not part.get("outside"), tuple(tests)
    for what, tests in DATA["faults"].items():
        yield "Faults", what, False, tuple(tests)
    for what, flag in DATA["flags"].items():
        yield FLAGS, what, False, tuple(flag["tests"])


@pytest.mark.parametrize(("attack", "inside", "tests"), [row[1:] for row in rows()], ids=[row[1] for row in rows()])
def test_an_attack_is_done_for_real(attack: str, inside: bool, tests: tuple[str, ...]) -> None:
    """Its tests exist; what is done from inside a container is done under both profiles."""
    covered = {profile for name in tests for profile in profiles(name)}
    assert covered >= set(BOTH) or not inside, attack
    for name in tests:
        parameter = name.partition("[")[2].rstrip("]")
        path = name.partition("::")[0]
        assert not parameter or parameter in functions(path.replace("test_attacks", "intruder"))


def test_every_attack_of_the_intruder_stands_in_the_table() -> None:
    """None is made that nobody reads of."""
    from tests.engine import intruder

    named = {name.partition("[")[2].rstrip("]") for row in rows() for name in row[3]}
    assert set(intruder.ATTACKS) <= named


def test_the_document_is_made_of_what_is() -> None:
    """docs/sandbox.md is what this module writes."""
    assert DOCUMENT.read_text() == document(), "write it anew: python -m tests.test_sandbox"


def document() -> str:
    """The page: a table for each part."""
    lines = [
        "# What is tried to get out of a container, and what a host has to survive",
        "",
        "Each attack is made by a test, in real containers, as root (tier T0) and as an ordinary user without privilege (tier T2):",
        "CI runs all of them as both. The columns say under which profile; where no container is what attacks (an archive, a registry, a",
        "Dockerfile), there is no such column. The tests write this page and hold it to be true.",
    ]
    part = ""
    for title, what, inside, tests in rows():
        if title != part:
            part = title
            columns = ["attack", *(BOTH if inside else ()), "shown by"]
            lines += ["", f"## {title}", ""]
            if title == FLAGS:
                columns = ["flag", "as root (T0)", "in a user namespace (T1 to T3, `--userns auto`)", "shown by"]
                lines += [
                    "They are Docker's, and take away what this page is about: none of them for code that is not trusted.",
                    "",
                ]
            lines += [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
        given = [DATA["flags"][what][whose] for whose in ("root", "user")] if title == FLAGS else []
        lines.append(f"| {' | '.join([what, *given, *_marks(inside, tests), '; '.join(map(_shown, tests))])} |")
    return "\n".join(lines) + "\n"


def _marks(inside: bool, tests: tuple[str, ...]) -> list[str]:
    if not inside:
        return []
    covered = {profile for name in tests for profile in profiles(name)}
    return ["yes" if profile in covered else "no" for profile in BOTH]


def _shown(name: str) -> str:
    path, _, test = name.partition("::")
    return f"[`{test}`](../{path})"


if __name__ == "__main__":
    DOCUMENT.write_text(document())

"""``.dockerignore``: patterns, exceptions and what is inherited from folders."""

from __future__ import annotations

import pytest

from nbcontainers.build.ignore import Ignore

CASES = [
    ("*.pyc", ["a.pyc"], ["a/a.pyc", "a.py"]),
    ("**/*.pyc", ["a.pyc", "x/y/a.pyc"], ["a.py"]),
    ("/a", ["a", "a/b"], ["b/a"]),
    ("a/", ["a", "a/b"], ["ab"]),
    ("a/*/c", ["a/b/c", "a/b/c/d"], ["a/c", "a/b/d/c"]),
    ("a/**", ["a/b", "a/b/c"], ["b"]),
    ("**", ["a", "a/b"], []),
    ("**/b", ["b", "a/b", "a/b/c"], ["ab"]),
    ("a?c", ["abc"], ["a/c", "ac"]),
    ("[a-c]x", ["ax", "cx"], ["dx"]),
    ("[^a]x", ["bx"], ["ax"]),
    ("./a/../b", ["b"], ["a"]),
    ("\\*x", ["*x"], ["ax"]),
    ("a.b", ["a.b"], ["axb"]),
    ("*\n!keep", ["a"], ["keep", "keep/x"]),
    ("*\n!a/b", ["a/c", "a"], ["a/b", "a/b/c"]),
    ("!a\n*", ["a"], []),
    ("a\n!a/keep\na/keep/not", ["a/x", "a/keep/not"], ["a/keep", "a/keep/x"]),
    ("#a\n a ", ["a"], ["#a"]),
    ("\ufeffa\r\n", ["a"], []),
    ("a+b(c)|d", ["a+b(c)|d"], ["aab"]),
    ("**b", ["b", "ab", "x/a b", "b/x"], ["bx"]),
    ("**b*", ["b", "bx", "x/bx"], ["ab", "x/ab"]),
    ("a/**b", ["a/b", "a/x/b"], ["a/xb"]),
    ("x/y\n!x", ["x/y"], ["x", "x/z"]),
    ("x\nx/y\n!x/y", ["x", "x/z"], ["x/y", "x/y/z"]),
]


@pytest.mark.parametrize(("text", "ignored", "kept"), CASES, ids=[repr(case[0]) for case in CASES])
def test_the_last_pattern_that_matches_decides(text: str, ignored: list[str], kept: list[str]) -> None:
    """A path is ignored by itself or through a folder above it, unless a later exception takes it in again."""
    patterns = Ignore.parse(text)
    assert [path for path in ignored if not patterns.ignores(path)] == []
    assert [path for path in kept if patterns.ignores(path)] == []


@pytest.mark.parametrize("line", ["!", "!/..", "[a", "[b-a]", "a\\"])
def test_a_line_that_is_no_pattern_is_named(line: str) -> None:
    """The error says which line."""
    with pytest.raises(ValueError, match=r"^line 2: "):
        Ignore.parse(f"# comment\n{line}\n")


def test_a_pattern_of_a_flag_is_taken_as_it_is() -> None:
    """What begins with a slash, or with dots behind the ``!``, matches no path: there is no list's root to anchor it."""
    patterns = Ignore.of(["/a", "b/../c", "*.js", "!./keep.js", "!/keep.js", "! keep.js"])
    assert not patterns.ignores("a")
    assert patterns.ignores("c")
    assert patterns.ignores("keep.js")
    assert not Ignore.of(["*.js", " !keep.js "]).ignores("keep.js")


def test_only_exceptions_open_ignored_folders() -> None:
    """A walk looks into an ignored folder only where an exception could match below it."""
    patterns = Ignore.parse("*\n!src/lib/x\n")
    assert patterns.may_except_below("src")
    assert patterns.may_except_below("src/lib")
    assert not patterns.may_except_below("node_modules")
    assert Ignore.parse("*\n!**/x").may_except_below("anything")

"""The tree of a difference: rolled up, opened folder by folder, small enough for a message."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbcontainers.cli import folders
from nbcontainers.jupyter import tree
from tests.jupyter import samples


def names(rows: list[folders.Row]) -> list[str]:
    return [row.name + ("/" if row.folder else "") for row in rows]


def test_folders_come_first_and_add_up() -> None:
    """A folder's line says what is in it, and chains of folders are one line."""
    rows = folders.ChangeTree(samples.diff().files).rows()
    assert names(rows) == ["etc/", "srv/app/", "usr/lib/python3.11/", "var/cache/ldconfig/"]
    assert [(row.growth, row.counts) for row in rows[:2]] == [(68, (0, 2, 0)), (29_027, (3, 1, 1))]


def test_a_folder_that_changed_itself_is_one_line_with_its_files() -> None:
    """It has a kind of its own, and counts itself."""
    changes = folders.ChangeTree(samples.diff().files)
    app = changes.rows()[1]
    (static, *files) = changes.rows(app.folder)
    assert (static.name, static.change.kind, static.counts) == ("static", "added", (3, 0, 0))
    assert names(files) == ["count", "main.py"]


def test_by_size_the_largest_growth_or_loss_comes_first() -> None:
    """What weighs most is what is looked for."""
    rows = folders.ChangeTree(samples.diff().files).rows(order="size")
    assert [row.growth for row in rows] == sorted((row.growth for row in rows), key=abs, reverse=True)


PATHS = st.lists(
    st.lists(st.sampled_from(["a", "b", "a-b", "a.b", "é", "A", "\udcff", " "]), min_size=1, max_size=5).map("/".join),
    unique=True,
    max_size=40,
)


@given(PATHS)
def test_every_file_is_found_and_every_sum_is_right(paths: list[str]) -> None:
    """Walking the tree finds each path once, and each folder's line is the sum of its lines."""
    changes = folders.ChangeTree([samples.change(path, None, len(path)) for path in paths])

    def walk(folder: folders.Folder, prefix: str) -> tuple[list[str], int]:
        found, growth = [], 0
        for row in changes.rows(folder):
            if row.change is not None:
                found.append(prefix + row.name)
                growth += row.change.growth
            if row.folder is not None:
                inner, grown = walk(row.folder, f"{prefix}{row.name}/")
                found += inner
                growth += grown
                own = row.change.growth if row.change else 0
                assert row.growth == grown + own
                assert sum(row.counts) == len(inner) + (row.change is not None)
        return found, growth

    if paths:
        found, growth = walk(folders.ROOT, "")
        assert sorted(found) == sorted(paths)
        assert growth == changes.growth


def test_a_search_gives_a_tree_of_what_it_found() -> None:
    """By a part of the path, whatever its case, and by kind."""
    changes = folders.ChangeTree(samples.diff().files)
    assert len(changes.matching("REQUESTS", {"added"})) == 12
    assert len(changes.matching("requests", {"deleted"})) == 0
    assert changes.matching("", {"deleted"}).counts == (0, 0, 2)
    assert names(changes.matching("requests", {"added"}).rows()) == ["usr/lib/python3.11/site-packages/requests/"]


def test_a_hundred_thousand_files_fit_into_small_messages() -> None:
    """What a view begins with, and every page of every folder, stays below a megabyte."""
    changes = folders.ChangeTree(samples.large_diff().files)
    first = tree.opening(changes, "name", visible=24)
    assert len(json.dumps(first)) < 600_000
    assert first["files"] == 100_000
    assert first["expanded"], "a single folder at the top is opened"
    flat = folders.ChangeTree([samples.change("d/" + "x" * 240 + f"{number:06}", None, 1) for number in range(20_000)])
    held = tree.page(flat, flat.rows()[0].folder, "name")
    assert (held["total"], len(held["rows"])) == (20_000, tree.PAGE)
    assert len(json.dumps(held)) < 1_000_000
    last = tree.page(flat, flat.rows()[0].folder, "name", 19_900)
    assert len(last["rows"]) == 100


def test_what_is_sent_ahead_is_what_the_first_folders_hold() -> None:
    """A small difference can be opened to its end without asking the kernel."""
    held = tree.opening(folders.ChangeTree(samples.diff().files), "name", visible=24)
    sent = sum(len(folder["rows"]) for folder in held["folders"].values())
    keys = {row[6] for folder in held["folders"].values() for row in folder["rows"] if row[6]}
    assert keys <= set(held["folders"])
    assert set(held["expanded"]) <= keys
    assert sent > 21


def test_rows_of_hostile_names_can_be_sent() -> None:
    """A message is UTF-8; a name need not be."""
    held = tree.opening(folders.ChangeTree(samples.hostile_diff().files), "name", visible=24)
    written = json.dumps(held, ensure_ascii=False)
    written.encode()
    assert "\x1b" not in written
    assert "bad\\\\xff\\\\nname" in written


@pytest.mark.parametrize("folder", [(99, 3), (0, 999)])
def test_a_folder_that_is_not_there_is_an_error_or_empty(folder: folders.Folder) -> None:
    """What a page asks for is not trusted."""
    changes = folders.ChangeTree(samples.diff().files)
    with contextlib.suppress(IndexError, ValueError):
        assert changes.rows(folder) is not None

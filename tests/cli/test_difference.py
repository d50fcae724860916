"""A difference as text and as JSON: rolled up per folder, or whole."""

from __future__ import annotations

import dataclasses
import json

import pytest

from nbcontainers.cli import difference
from nbcontainers.cli import format as form
from nbcontainers.results import PackageChange
from tests.jupyter import samples


def test_a_difference_is_summed_up_then_shown_by_folder() -> None:
    """What ``nbcontainers image-diff`` prints: sums, files in their folders, packages with versions, settings."""
    shown = difference.text(samples.diff())
    head, files, packages, settings = shown.split("\n\n")
    assert head.splitlines() == [
        "demo:1 -> demo:2",
        "files      15 added, 4 changed, 2 removed, -19.5kB",
        "packages   1 added, 1 removed, 1 upgraded, 1 downgraded",
        "settings   4 changed",
        "layers     2 shared",
    ]
    assert files.splitlines()[1:8] == [
        "      +68B   etc/  ~2",
        "C     +68B     motd",
        "C       0B     passwd  (mode 0644 → 0600)",
        "     +29kB   srv/app/  +3 ~1 -1",
        "A  +27.7kB     static/  +3",
        "A  +4.81kB       logo.svg",
        "A  +22.9kB       style.css",
    ]
    assert packages.splitlines()[1].split() == ["U", "dpkg", "libssl3", "3.0.11-1~deb12u2", "->", "3.0.15-1~deb12u1"]
    assert packages.splitlines()[4].endswith("2.32.3  in /usr/lib/python3.11/site-packages")
    assert settings.endswith("  Labels.maintainer\n    - someone")


def test_everything_is_a_line_for_each_file() -> None:
    """Whole paths, to be searched; nothing is left out."""
    shown = difference.text(samples.diff(), everything=True)
    rows = [line.split(maxsplit=2) for line in shown.splitlines()]
    assert ["C", "+68B", "etc/motd"] in rows
    assert ["C", "0B", "etc/passwd  (mode 0644 → 0600)"] in rows
    assert difference.text(samples.large_diff(3000), everything=True).count("usr/share") == 3000


@pytest.mark.parametrize("width", [80, 120])
def test_a_large_difference_fits_on_some_screens(width: int) -> None:
    """Folders that would be too long stay closed, and what is left out is said."""
    deep = samples.diff(
        tuple(samples.change(f"{'long-folder/' * 9}{number}-{'x' * 90}", None, 1) for number in range(900))
    )
    for diff in (samples.large_diff(20_000), deep):
        shown = difference.text(diff, width=width).splitlines()
        assert len(shown) < 80
        assert max(map(len, shown)) <= width
        assert any("--all lists every file" in line for line in shown)


def test_images_that_do_not_differ_are_said_not_to() -> None:
    """An empty answer is an answer."""
    assert difference.text(samples.diff((), ())).endswith("no difference")


def test_many_packages_are_cut_off_and_unread_ones_are_told() -> None:
    """A new release of a distribution changes all of them; what could not be read is no silence."""
    packages = tuple(
        PackageChange(kind="upgraded", packaging="apk", name=f"p{number}", before="1", after="2")
        for number in range(200)
    )
    diff = dataclasses.replace(samples.diff((), (), packages), unread=("rpm packages of demo:2 could not be read",))
    shown = difference.text(diff)
    assert "… and 140 packages more (--all lists them)" in shown
    assert difference.text(diff, everything=True).count("1 -> 2") == 200
    assert shown.endswith("note: rpm packages of demo:2 could not be read")


def test_json_has_the_whole_result_and_the_sums_of_folders() -> None:
    """Each field of the result, and each folder with what it adds up to; names that are no UTF-8 survive."""
    read = json.loads(form.result(samples.diff(), "json", str, difference.json_of))
    assert read.keys() == {field.name for field in dataclasses.fields(samples.diff())} | {"folders"}
    assert len(read["files"]) == 21
    assert read["packages"][0]["after"] == "3.0.15-1~deb12u1"
    folders = {folder.pop("path"): folder for folder in read["folders"]}
    assert folders["srv/app"] == {"growth": 29_027, "added": 3, "modified": 1, "deleted": 1}
    written = form.result(samples.hostile_diff(), "json", str, difference.json_of)
    written.encode()
    assert json.loads(written)["files"][2]["path"] == "srv/bad\udcff\nname"
    assert form.result(samples.diff(), "{{.after}} {{json .shared_layers}}", str, difference.json_of) == "demo:2 2"

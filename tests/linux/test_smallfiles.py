from __future__ import annotations

from pathlib import Path

import pytest

from nbcontainers.linux import smallfiles


def test_a_file_is_written_in_place_of_what_it_held(tmp_path: Path) -> None:
    """Nothing of a longer text is left behind a shorter one."""
    path = tmp_path / "file"
    for text in (b"a long text", b"short", b""):
        smallfiles.write(str(path), text)
        assert path.read_bytes() == text == smallfiles.read(str(path))


def test_a_new_file_is_no_others(tmp_path: Path) -> None:
    """One that is there is left as it is."""
    path = tmp_path / "file"
    smallfiles.write(str(path), b"first", new=True)
    with pytest.raises(FileExistsError):
        smallfiles.write(str(path), b"second", new=True)
    assert path.read_bytes() == b"first"


def test_what_is_published_is_whole(tmp_path: Path) -> None:
    """It gets its name once it is written, in place of one of that name; what was left half written is in nobody's way."""
    (tmp_path / ".file").write_bytes(b"a longer half of an earlier one")
    smallfiles.publish(str(tmp_path / "file"), b"text")
    smallfiles.publish(str(tmp_path / "file"), b"new")
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [("file", b"new")]


def test_replace_puts_new_bytes_in_place_of_old_ones_and_leaves_nothing_beside_them(tmp_path: Path) -> None:
    """A file that is there has other bytes then, one that is not is made."""
    path = tmp_path / "file"
    for data in (b"old and long", b"new"):
        smallfiles.replace(str(path), data)
        assert path.read_bytes() == data
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_replaced_leaves_nothing(tmp_path: Path) -> None:
    """What was written for it is gone when the error arrives."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        smallfiles.replace(str(tmp_path / "folder"), b"data")
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nbcontainers.store.gathering import Gathering, Move, replaced_strings, replaced_text, without_sections


@pytest.fixture
def gathering() -> Gathering:
    made = Gathering()
    made.part("first")
    return made


def test_a_file_keeps_every_link_on_the_way_to_it(
    gathering: Gathering, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Links between folders and between files are rows as they stand on the host, each once."""
    (tmp_path / "real/bin").mkdir(parents=True)
    (tmp_path / "real/bin/tool").write_bytes(b"x")
    (tmp_path / "real/bin/tool").chmod(0o4711)
    (tmp_path / "bin").symlink_to("real/bin")
    (tmp_path / "choice").symlink_to(tmp_path / "bin/tool")
    (tmp_path / "name").symlink_to("choice")
    monkeypatch.setattr("nbcontainers.store.gathering.SYSTEM", (str(tmp_path).strip("/"),))
    root = str(tmp_path).strip("/")
    assert gathering.host(f"{tmp_path}/name") == f"{tmp_path}/real/bin/tool"
    rows = gathering.parts[0].rows
    assert {name: row.link for name, row in rows.items() if row.kind == "symlink"} == {
        f"{root}/bin": "real/bin",
        f"{root}/choice": f"{tmp_path}/bin/tool",
        f"{root}/name": "choice",
    }
    assert rows[f"{root}/real/bin/tool"].mode == 0o755, "set-user-id bits and odd modes do not travel"
    assert rows[f"{root}/real/bin"].kind == "directory"


def test_a_link_out_of_the_system_becomes_the_file(
    gathering: Gathering, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A program in /usr/local that is a link into somebody's home stands there itself."""
    (tmp_path / "system").mkdir()
    (tmp_path / "home").mkdir()
    (tmp_path / "home/tool").write_bytes(b"tool")
    (tmp_path / "system/tool").symlink_to(tmp_path / "home/tool")
    monkeypatch.setattr("nbcontainers.store.gathering.SYSTEM", (f"{tmp_path}/system".strip("/"),))
    gathering.host(f"{tmp_path}/system/tool")
    row = gathering.get(f"{tmp_path}/system/tool")
    assert row is not None
    assert (row.kind, row.source) == ("file", f"{tmp_path}/home/tool")
    with pytest.raises(OSError, match="not a file of the system"):
        gathering.host(f"{tmp_path}/home/tool")


def test_a_loop_of_links_ends(gathering: Gathering, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Links that lead to themselves are an error and no endless work."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    monkeypatch.setattr("nbcontainers.store.gathering.SYSTEM", (str(tmp_path).strip("/"),))
    with pytest.raises(OSError, match="too many links"):
        gathering.host(f"{tmp_path}/a")


def test_a_moved_folder_keeps_its_shape_and_loses_its_name(gathering: Gathering, tmp_path: Path) -> None:
    """Relative links inside a moved folder stay; absolute ones get the new name; a link that leads out becomes the file."""
    (tmp_path / "env/lib").mkdir(parents=True)
    (tmp_path / "env/lib/libx.so.1").write_bytes(b"x")
    (tmp_path / "env/lib/libx.so").symlink_to("libx.so.1")
    (tmp_path / "env/absolute").symlink_to(tmp_path / "env/lib/libx.so")
    (tmp_path / "out").write_bytes(b"out")
    (tmp_path / "env/lib/leads-out").symlink_to("../../out")
    (tmp_path / "env/lib/dangling").symlink_to("nothing")
    gathering.moves.append(Move(old=f"{tmp_path}/env", new="/usr/local"))
    assert gathering.host(f"{tmp_path}/env/absolute") == "/usr/local/lib/libx.so.1"
    list(gathering.folder(f"{tmp_path}/env", "/usr/local"))
    rows = gathering.parts[0].rows
    assert rows["usr/local/absolute"].link == "/usr/local/lib/libx.so"
    assert rows["usr/local/lib/libx.so"].link == "libx.so.1"
    assert rows["usr/local/lib/leads-out"].source == f"{tmp_path}/env/lib/leads-out"
    assert "usr/local/lib/dangling" not in rows
    assert not any(str(tmp_path) in row.link or str(tmp_path)[1:] in row.name for row in rows.values())


def test_a_path_is_placed_once(gathering: Gathering) -> None:
    """What a layer has, a later one does not have again; folders above a file come by themselves."""
    gathering.file("etc/deep/name", "one")
    gathering.part("second")
    gathering.file("etc/deep/name", "two")
    gathering.file("etc/deep/other", b"three")
    first, second = gathering.parts
    assert list(first.rows) == ["etc", "etc/deep", "etc/deep/name"]
    assert list(second.rows) == ["etc/deep/other"]
    assert second.size == 5
    assert "/etc/deep/name" in gathering


def test_what_cannot_be_read_is_an_error(gathering: Gathering, tmp_path: Path) -> None:
    """A file without read permission is not placed, and folders of such files do without it."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"x")
    secret.chmod(0)
    if os.access(secret, os.R_OK):
        pytest.skip("root reads every file")
    with pytest.raises(PermissionError):
        gathering.copy(str(secret), "secret")
    assert list(gathering.folder(str(tmp_path), "folder")) == []


MOVES = [Move(old="/home/alice/env/3.11.7", new="/usr/local"), Move(old="/home/alice", new="/root")]


def test_names_in_a_binary_get_shorter_and_nothing_moves() -> None:
    """Strings stay at their offsets, and a string that shares the end of another is as it was."""
    data = b"\x01\0/home/alice/env/3.11.7\0next\0/home/alice/env/3.11.7/lib:/home/alice/lib\0-L/home/alice/x\0"
    made = replaced_strings(data, MOVES)
    assert len(made) == len(data)
    assert b"alice" not in made
    assert made[2:13] == b"/usr/local\0"
    assert made[data.index(b"3.11.7\0") :][:7] == b"3.11.7\0", "the version is the end of the folder's name"
    assert made[data.index(b"next") :][:5] == b"next\0"
    assert b"/usr/local/lib:/root/lib\0" in made
    assert b"-L/root/x\0" in made


def test_a_longer_name_is_not_written_into_a_binary() -> None:
    """There is no room for it: the bytes stay as they are."""
    data = b"\0/py/lib\0"
    assert replaced_strings(data, [Move(old="/py", new="/usr/local")]) == data


def test_names_in_a_text_are_replaced_as_whole_names() -> None:
    """``/home/alice2`` is another folder than ``/home/alice``."""
    text = b"a=/home/alice/env/3.11.7/bin -L/home/alice/env/3.11.7 /home/alice2 '/home/alice'"
    assert replaced_text(text, MOVES) == b"a=/usr/local/bin -L/usr/local /home/alice2 '/root'"


def test_a_program_without_its_sections_still_runs(tmp_path: Path) -> None:
    """The kernel and the loader look at segments only."""
    shell = os.path.realpath("/bin/sh")
    data = without_sections(shell, Path(shell).read_bytes())
    copy = tmp_path / "sh"
    copy.write_bytes(data)
    copy.chmod(0o755)
    assert os.spawnv(os.P_WAIT, str(copy), ["sh", "-c", "exit 7"]) == 7

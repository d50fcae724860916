"""Landlock: what of the host's files a process may open, whom it may signal."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from nbcontainers.linux import landlock, syscalls

pytestmark = pytest.mark.skipif(not landlock.version(), reason="needs Landlock")


def restricted(rules: list[tuple[str, bool]], act: Callable[[], object]) -> int:
    """What errno an act has in a process that is held to rules; 0 if it goes well."""
    pid = os.fork()
    if pid == 0:
        code = 255
        try:
            syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
            landlock.restrict(landlock.version(), rules)
            act()
            code = 0
        except OSError as error:
            code = error.errno or 255
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def opened(path: Path, flags: int = os.O_RDONLY) -> Callable[[], object]:
    return lambda: os.open(path, flags)


def test_only_what_is_named_can_be_opened(tmp_path: Path) -> None:
    """A tree for writing, another for reading, and nothing else; a link from one to elsewhere is no way around."""
    for name in ("kept", "shown", "hidden"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    (tmp_path / "kept/link").symlink_to("../hidden/file")
    rules = [(str(tmp_path / "kept"), True), (str(tmp_path / "shown"), False), (str(tmp_path / "missing"), True)]
    assert restricted(rules, opened(tmp_path / "kept/file", os.O_RDWR | os.O_TRUNC)) == 0
    assert restricted(rules, opened(tmp_path / "kept/new", os.O_RDWR | os.O_CREAT)) == 0
    assert restricted(rules, lambda: os.rename(tmp_path / "kept/new", tmp_path / "kept/newer")) == 0
    assert restricted(rules, opened(tmp_path / "shown/file")) == 0
    assert restricted(rules, opened(tmp_path / "shown/file", os.O_RDWR)) == 13
    assert restricted(rules, lambda: os.unlink(tmp_path / "shown/file")) == 13
    assert restricted(rules, opened(tmp_path / "hidden/file")) == 13
    assert restricted(rules, opened(tmp_path / "kept/link")) == 13
    assert restricted(rules, opened(tmp_path / "hidden/new", os.O_RDWR | os.O_CREAT)) == 13


def test_a_file_can_be_named(tmp_path: Path) -> None:
    """With the rights that a file can have, though others are asked for."""
    (tmp_path / "one").write_text("x")
    (tmp_path / "other").write_text("x")
    assert restricted([(str(tmp_path / "one"), True)], opened(tmp_path / "one", os.O_RDWR)) == 0
    assert restricted([(str(tmp_path / "one"), True)], opened(tmp_path / "other")) == 13


def test_who_is_outside_is_out_of_reach() -> None:
    """Its parent can be neither signalled nor looked into."""
    parent = os.getpid()
    if landlock.keeps_signals(landlock.version()):
        assert restricted([("/proc", False)], lambda: os.kill(parent, signal.SIGCONT)) == 1
    assert restricted([("/proc", False)], lambda: os.listdir(f"/proc/{parent}/root")) == 13
    assert restricted([("/proc", False)], opened(Path(f"/proc/{parent}/mem"))) == 13
    if os.geteuid():  # who has CAP_PERFMON may read it all the same
        assert restricted([("/proc", False)], opened(Path(f"/proc/{parent}/environ"))) == 13

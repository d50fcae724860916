from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nbcontainers.linux import syscalls

RENAME = """
import os, sys
os.chdir(sys.argv[1])
print(flush=True)
while True:
    os.rename("a", "b")
    os.rename("b", "a")
"""


def test_renames_elsewhere_do_not_disturb(tmp_path: Path) -> None:
    """The kernel answers EAGAIN where something is renamed anywhere while ``..`` is followed below a root: it is asked again."""
    (tmp_path / "busy").mkdir()
    (tmp_path / "busy" / "a").mkdir()
    (tmp_path / "root" / "deep").mkdir(parents=True)
    (tmp_path / "root" / "file").touch()
    root = os.open(tmp_path / "root", os.O_PATH | os.O_DIRECTORY)
    with subprocess.Popen([sys.executable, "-c", RENAME, str(tmp_path / "busy")], stdout=subprocess.PIPE) as renaming:
        try:
            assert renaming.stdout
            renaming.stdout.readline()
            for _ in range(2000):
                os.close(syscalls.openat2(root, "deep/../" * 400 + "file", os.O_PATH, resolve=syscalls.RESOLVE_IN_ROOT))
        finally:
            renaming.kill()
            os.close(root)


def test_what_is_missing_is_told_as_it_is_wanted(tmp_path: Path) -> None:
    """As -1 where it may be missing, else as an error that names the path; what else goes wrong is an error in either case."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    root = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    strict = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS
    try:
        for path, error in (("none", FileNotFoundError), ("file/below", NotADirectoryError)):
            assert syscalls.openat2(root, path, os.O_PATH, resolve=strict, missing_ok=True) == -1
            with pytest.raises(error) as told:
                syscalls.openat2(root, path, os.O_PATH, resolve=strict)
            assert told.value.filename == path
        with pytest.raises(OSError, match="symbolic links"):
            syscalls.openat2(root, "link", os.O_PATH, resolve=strict, missing_ok=True)
    finally:
        os.close(root)

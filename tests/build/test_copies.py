"""COPY in all its forms: the tree that dockerd's BuildKit made of ``copies.dockerfile`` is in ``copies.buildkit``.

16chmod has the mode of newer ones. Each line there has mode, owner, ``old`` for a file that kept its time, name and a link's target.
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.build.conftest import Builder

HERE = Path(__file__).parent


def listing(output: str) -> list[str]:
    found = []
    for line in output.splitlines():
        mode, owner, time, name = line.split(" ", 3)
        found.append(f"{mode} {owner} {'old' if time == '1000000000' and mode[0] == '-' else '-'} {name}")
    return found


def test_the_tree_is_buildkits(builder: Builder) -> None:
    """Files, folders, links, wildcards, modes, owners, slashes and what was there before."""
    root = builder.context
    builder.write(
        {"a.txt": "a\n", "b.txt": "b\n", "dir/c": "c\n", "dir/sub/d": "d\n", "dir2/e": "e\n", "priv/x": "x\n"}
    )
    (root / "empty").mkdir()
    for name, target in {
        "dir/link": "c",
        "dir/up": "../a.txt",
        "dlink": "dir",
        "flink": "a.txt",
        "slink": "dir/sub",
    }.items():
        (root / name).symlink_to(target)
    (root / "dir/hard").hardlink_to(root / "dir/c")
    for name, mode in {"dir": 0o750, "dir/sub": 0o750, "b.txt": 0o600, "a.txt": 0o4755, "priv": 0o700}.items():
        (root / name).chmod(mode)
    for name in ("a.txt", "dir", "dir/c", "dir/sub"):
        os.utime(root / name, (10**9, 10**9))
    builder.write({".dockerignore": "Dockerfile\n"})
    builder.build((HERE / "copies.dockerfile").read_text())
    assert listing(builder.output) == (HERE / "copies.buildkit").read_text().splitlines()

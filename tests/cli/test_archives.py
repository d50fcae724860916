from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import zstandard

from nbcontainers import Engine
from tests.cli.saying import said, tag


def nbc(engine: Engine, *words: str, stdin: bytes = b"", code: int = 0) -> bytes:
    environ = {**os.environ, "NBCONTAINERS_ROOT": str(engine.store.root)}
    command = [sys.executable, "-m", "nbcontainers", *words]
    done = subprocess.run(command, input=stdin, capture_output=True, env=environ, check=False)
    assert done.returncode == code, done.stderr.decode()
    return done.stdout if not code else done.stderr


def test_archives_go_through_standard_streams(engine: Engine) -> None:
    """Several images in one archive, out and in through pipes, compressed or not."""
    tag(engine, 1, "a", "b")
    identifier = tag(engine, 2, "c")
    data = nbc(engine, "save", "a", "b", "c")
    said(engine, "rmi -f a b c")
    assert said(engine, "images -q") == ""
    told = nbc(engine, "load", "-q", stdin=zstandard.ZstdCompressor().compress(data)).decode()
    assert sorted(told.splitlines()) == ["Loaded image: a:latest", "Loaded image: b:latest", "Loaded image: c:latest"]
    assert identifier in said(engine, "images -q --no-trunc")


def test_history_has_dockers_columns(engine: Engine, tmp_path: Path) -> None:
    """The newest line first; quiet prints IDs, and machines get whole sizes and times."""
    identifier = tag(engine, 1, "a")
    lines = said(engine, "history a").splitlines()
    assert lines[0].split() == ["IMAGE", "CREATED", "CREATED", "BY", "SIZE", "COMMENT"]
    assert lines[1].startswith(identifier[7:19])
    assert "CMD sh" in lines[1]
    assert said(engine, "history -q a").splitlines() == [identifier[7:19], "<missing>", "<missing>"]
    sizes = said(engine, "history --human=false --format {{.Size}} a").splitlines()
    assert [int(size) for size in sizes] == [0, *(layer.size for layer in reversed(engine.image("a").layers))]


def test_images_shows_digests_and_filters(engine: Engine) -> None:
    """``--digests`` is a column; a name and filters choose."""
    tag(engine, 1, "a")
    tag(engine, 2)
    assert "DIGEST" in said(engine, "images --digests").splitlines()[0]
    assert said(engine, "images a --format {{.Repository}}").splitlines() == ["a"]
    assert said(engine, "images -f dangling=true --format {{.Repository}}").splitlines() == ["<none>"]


def test_rmi_can_leave_the_layers(engine: Engine) -> None:
    """``--no-prune`` takes the image and leaves its layers to the next prune."""
    tag(engine, 1, "a")
    layers = [layer.digest for layer in engine.image("a").layers]
    said(engine, "rmi --no-prune a")
    assert said(engine, "images -q") == ""
    assert set(engine.store.content) == set(layers)
    said(engine, "prune -f")
    assert set(engine.store.content) == set()


def test_inspect_takes_the_type_that_is_wanted(engine: Engine) -> None:
    """A container and an image of one name are told apart, and sizes come when they are asked for."""
    tag(engine, 1, "same")
    engine.create("same", "true", name="same")
    assert said(engine, "inspect -f {{.Name}} same") == "/same\n"
    assert said(engine, "inspect --type image -f {{.RepoTags}} same") == '["same:latest"]\n'
    assert said(engine, "inspect --size --format {{.SizeRw}} same") == "0\n"
    assert "no such image" in said(engine, "inspect --type image other", code=1)
    assert "no type" in said(engine, "inspect --type thing same", code=1)

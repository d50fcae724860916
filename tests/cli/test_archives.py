from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import zstandard

from nbcontainers import Engine
from nbcontainers.cli.main import run
from nbcontainers.oci.descriptor import Platform
from tests.cli.saying import said, tag
from tests.store.random_images import several


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


def test_what_is_full_is_named_and_not_the_store(engine: Engine, tmp_path: Path) -> None:
    """Where standard output leads to a full disk that is told, once, with a code that is not 0; whatever the verb."""
    tag(engine, 1, "a")
    engine.create("a", "sh", name="one")
    environ = {**os.environ, "NBCONTAINERS_ROOT": str(engine.store.root)}
    for words in ("save a", "export one", "cp one:/ -", "inspect a", "images", "images --help"):
        command = [sys.executable, "-m", "nbcontainers", *words.split()]
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environ, check=False)
        assert done.returncode == 1, words
        first, second = done.stderr.splitlines()
        assert first in (
            "error: cannot write standard output: No space left on device",
            "error: no space left where the archive goes to",
        ), words
        assert second.startswith("hint: "), words


def test_history_has_dockers_columns(engine: Engine, tmp_path: Path) -> None:
    """The newest line first; quiet prints IDs, and machines get whole sizes and times."""
    identifier = tag(engine, 1, "a")
    lines = said(engine, "history a").splitlines()
    assert lines[0].split() == ["IMAGE", "CREATED", "CREATED", "BY", "SIZE", "COMMENT"]
    assert lines[1].startswith(identifier[7:19])
    assert "CMD sh" in lines[1]
    assert said(engine, "history -q a").splitlines() == [identifier[7:19], "<missing>", "<missing>"]
    assert identifier in said(engine, "history --no-trunc a").splitlines()[1]
    sizes = said(engine, "history --human=false --format {{.Size}} a").splitlines()
    assert [int(size) for size in sizes] == [0, *reversed(engine.layer_sizes("a"))]


def test_images_shows_digests_and_filters(engine: Engine) -> None:
    """``--digests`` is a column; a name and filters choose."""
    tag(engine, 1, "a")
    tag(engine, 2)
    assert "DIGEST" in said(engine, "images --digests").splitlines()[0]
    assert said(engine, "images -a") == said(engine, "images --all") == said(engine, "images")
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
    assert said(engine, "inspect --type image -f {{.RepoTags}} same") == "[same:latest]\n"
    assert said(engine, "inspect --size --format {{.SizeRw}} same") == "0\n"
    assert "no such image" in said(engine, "inspect --type image other", code=1)
    assert "no type" in said(engine, "inspect --type thing same", code=1)


def test_an_archive_has_the_platform_and_the_format_that_were_asked_for(engine: Engine, tmp_path: Path) -> None:
    """``save`` and ``load`` take one platform of several; a tag keeps them all, and so does an archive without the flag."""
    with engine.store.lease():
        several(engine.store, "app", Platform.host(), Platform(architecture="s390x"))
    said(engine, "tag app again")
    digest = json.loads(said(engine, "inspect --type image again"))[0]["RepoDigests"]
    whole, one = tmp_path / "whole.tar", tmp_path / "one.tar"
    said(engine, f"save -o {whole} --format oci app again")
    said(engine, f"save --output {one} --format docker --platform linux/s390x app")
    assert "s390x" in said(engine, "save --platform linux/riscv64 -o /dev/null app", code=1)
    assert "not a format" in said(engine, "save --format zip app", code=125)
    refused = tmp_path / "refused.tar"
    said(engine, f"save -o {refused} --platform linux/riscv64 app", code=1)
    assert not refused.exists()
    said(engine, f"save -o {tmp_path}/nowhere/x.tar app", code=1)
    said(engine, "history --platform linux/s390x app")
    said(engine, "history --platform linux/riscv64 app", code=1)
    said(engine, "rmi app again")
    assert list(engine.store.content) == []
    assert said(engine, f"load -q -i {whole}").splitlines() == [
        "Loaded image: app:latest",
        "Loaded image: again:latest",
    ]
    assert json.loads(said(engine, "inspect --type image again"))[0]["RepoDigests"] == digest
    said(engine, "rmi app again")
    assert said(engine, f"load --input {one}") == "Loaded image: app:latest\n"
    assert said(engine, "inspect --type image --format {{.Architecture}} app") == "s390x\n"
    said(engine, "rmi app")
    said(engine, f"load --platform linux/s390x -i {whole}")
    assert said(engine, "images --format {{.Repository}} -a").splitlines() == ["again", "app"]
    assert said(engine, "inspect --type image --format {{.Architecture}} again") == "s390x\n"
    assert "no image for linux/riscv64" in said(engine, f"load --platform linux/riscv64 -i {whole}", code=1)


def test_a_container_comes_out_as_docker_has_it(engine: Engine, tmp_path: Path) -> None:
    """``export`` to a file, ``import`` and ``commit`` with what they may say of the image."""
    tag(engine, 1, "a")
    engine.create("a", "true", name="made")
    archive = tmp_path / "root.tar"
    said(engine, f"export -o {archive} made")
    assert tarfile.is_tarfile(archive)
    run(["import", "-c", "ENV A=1", "-m", "from afar", "--platform", "linux/s390x", str(archive), "i"], engine=engine)
    run(["commit", "-a", "me", "-c", "ENV B=2", "-m", "why", "-p=false", "made", "k"], engine=engine)
    imported, made = engine.image("i").config, engine.image("k").config
    assert (imported.config.env, imported.history[-1].comment) == (("A=1",), "from afar")
    assert imported.platform.architecture == "s390x"
    assert ("B=2" in made.config.env, made.author, made.history[-1].comment) == (True, "me", "why")

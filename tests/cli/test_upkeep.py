from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys

from nbcontainers import Engine
from tests.cli.saying import said, tag
from tests.store.test_check import flip


def test_prune_says_what_is_gone_as_docker_does(engine: Engine) -> None:
    """Containers, images and the room they gave back; a second time there is nothing."""
    loose = tag(engine, 1)
    tag(engine, 2, "app")
    container = engine.create("app", "true").id
    told = said(engine, "prune --force")
    assert f"Deleted Containers:\n{container}\n\nDeleted Images:\ndeleted: {loose}\n\n" in told
    assert said(engine, "system prune -f") == "Total reclaimed space: 0B\n"
    told = said(engine, "image prune -af")
    assert "untagged: app:latest\n" in told
    assert said(engine, "images -q") == ""


def test_image_prune_takes_named_images_where_what_dangles_is_not_all(engine: Engine) -> None:
    """``dangling=false`` is ``-a``, as in Docker; a filter that is neither true nor false is refused before anything is gone."""
    loose = tag(engine, 1)
    tag(engine, 2, "app")
    assert "write dangling=true" in said(engine, "image prune -f --filter dangling=perhaps", code=1)
    assert f"deleted: {loose}" in said(engine, "image prune -f --filter dangling=true")
    assert "app" in said(engine, "images")
    assert "untagged: app:latest\n" in said(engine, "image prune -f --filter dangling=false")
    assert "no filter 'dangling'" in said(engine, "container prune -f --filter dangling=true", code=1)


def test_container_prune_takes_those_that_the_filters_choose(engine: Engine) -> None:
    """The others stay, and so do images."""
    tag(engine, 1, "app")
    kept = engine.create("app", "true").id
    gone = said(engine, "create -l of=mine app true").strip()
    told = said(engine, "container prune --force --filter label=of=mine")
    assert told.startswith(f"Deleted Containers:\n{gone}\n\nTotal reclaimed space: ")
    assert said(engine, "ps -aq --no-trunc") == f"{kept}\n"
    assert "app" in said(engine, "images")


def test_prune_takes_networks_that_nobody_is_on(engine: Engine) -> None:
    """Those that the filters choose, and no room is told of where they alone were meant; the built-in ones stay."""
    for name, label in (("kept", "keep"), ("idle", "idle")):
        said(engine, f"network create --label {label} {name}")
    assert said(engine, "network prune -f --filter label!=keep") == "Deleted Networks:\nidle\n"
    assert said(engine, "network prune -f --filter label!=keep") == ""
    assert "Deleted Networks:\nkept\n" in said(engine, "prune -f")
    assert sorted(network.name for network in engine.networks()) == ["bridge", "host", "none"]


def test_nothing_is_removed_where_nobody_can_be_asked(engine: Engine) -> None:
    """Without a terminal, ``prune`` wants ``--force``."""
    loose = tag(engine, 1)
    told = said(engine, "prune", code=1)
    assert "say --force (-f)" in told
    assert engine.image(loose)


def test_a_person_is_asked(engine: Engine) -> None:
    """At a terminal the question tells what would go, and only yes removes it."""
    tag(engine, 1)
    for answer, count in ((b"n\n", 1), (b"y\n", 0)):
        ours, theirs = pty.openpty()
        os.write(ours, answer)
        environ = {**os.environ, "NBCONTAINERS_ROOT": str(engine.store.root)}
        done = subprocess.run(
            [sys.executable, "-m", "nbcontainers", "image", "prune"],
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=theirs,
            env=environ,
            check=False,
        )
        os.close(theirs)
        screen = b""
        with contextlib.suppress(OSError):  # EIO: nobody has its other end open, and all was read
            while data := os.read(ours, 10_000):
                screen += data
        assert b"all images without a name" in screen
        os.close(ours)
        assert done.returncode == (1 if count else 0)
        assert len(engine.images()) == count


def test_df_has_dockers_columns(engine: Engine) -> None:
    """One line a kind; the verbose form one an image, with what it shares."""
    tag(engine, 1, "a")
    tag(engine, 2, "b")
    lines = said(engine, "system df").splitlines()
    assert lines[0].split() == ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
    assert [line[:15].rstrip() for line in lines[1:]] == [
        "Images",
        "Containers",
        "Local Volumes",
        "Unpacked Layers",
        "Partial Pulls",
        "Build Cache",
    ]
    assert said(engine, "system df --format {{.Type}}:{{.TotalCount}}").startswith("Images:2\n")
    assert "UNIQUE SIZE   CONTAINERS" in said(engine, "system df -v")


def test_check_tells_what_is_damaged_and_fails(engine: Engine) -> None:
    """One flipped byte: exit code 1, the digest and the images; a blob that has no source is put aside, and said to be missing."""
    tag(engine, 1, "app")
    assert said(engine, "check").endswith("all whole\n")
    layer = engine.image("app").layers[1].digest
    flip(engine.store.content.path(layer))
    told = said(engine, "check", code=1)
    assert f"blob {layer} is damaged" in told
    assert "hurts app:latest" in told
    told = said(engine, "check --repair", code=1)  # the image is no better for it
    assert "put aside in quarantine" in told
    assert "1 fault, 1 put aside that images lack now" in told
    assert f"blob {layer} is missing" in said(engine, "check", code=1)
    engine.remove_image("app")
    assert "all whole" in said(engine, "check")


def test_keep_storage_goes_alone(engine: Engine) -> None:
    """A size is wanted, and no other choice beside it."""
    assert said(engine, "prune -f --keep-storage 1g") == "Total reclaimed space: 0B\n"
    assert "by age alone" in said(engine, "prune -af --keep-storage 1g", code=1)
    assert "not a size" in said(engine, "prune -f --keep-storage much", code=125)

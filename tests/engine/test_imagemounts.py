"""``--mount type=image``: another image is seen in a container, to be read only, for as long as there is that container."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from nbcontainers.engine import Engine, userns
from nbcontainers.errors import Conflict, LaunchError, NotFound
from nbcontainers.oci.image import Image

from ..waiting import PATIENCE_S

Shell = Callable[..., str]
DOCKERFILES = {
    "none": "FROM scratch\nLABEL has=nothing\n",
    "one": "FROM toolbox AS made\nRUN mkdir /out && echo one >/out/only\nFROM scratch\nCOPY --from=made /out /\n",
    "many": """\
FROM toolbox AS made
RUN mkdir -p /out/deep/dir /out/vol && echo text >/out/deep/dir/file && echo early >/out/early && echo old >/out/both \\
 && ln -s /deep/dir /out/inner && ln -s ../../../../../../etc /out/outer && mkfifo /out/deep/pipe \\
 && chown 33:34 /out/deep/dir/file && chown 5:6 /out/deep/pipe
FROM scratch AS base
COPY --from=made /out /
FROM toolbox AS later
RUN echo new >/both
FROM base
COPY --from=later /both /both
""",
}
IDS = [
    pytest.param("", id="its-own-ids"),
    pytest.param(
        "auto", marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root gives ranges of ids"), id="auto"
    ),
]


@pytest.fixture(scope="module")
def images(engine: Engine) -> dict[str, Image]:
    return {name: engine.build(text, tag=f"mounted-{name}").image for name, text in DOCKERFILES.items()}


def words(name: str, more: str = "") -> list[str]:
    return [f"type=image,source=mounted-{name},target=/m{more}"]


def ids(engine: Engine, word: str) -> dict[str, str]:
    if word and (why := userns.refusal(engine.store.root)):
        pytest.skip(f"no id-mapped mounts on {engine.store.root}: {why}")
    return {"userns": word} if word else {}


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("word", IDS)
def test_the_tree_of_another_image_is_seen(engine: Engine, shell: Shell, word: str) -> None:
    """Of no layer, of one and of several: with what is on top, and the owners that the image's files have."""
    options = ids(engine, word)
    assert shell("ls -A /m", mount=words("none"), **options) == ""
    assert shell("ls -A /m; cat /m/only", mount=words("one"), **options) == "only\none\n"
    script = "ls -A /m; cat /m/both /m/deep/dir/file; stat -c '%u:%g %a %n' /m /m/deep/dir/file /m/deep/pipe"
    assert shell(script, mount=words("many"), **options).split("\n") == [
        *("both", "deep", "early", "inner", "outer", "vol", "new", "text"),
        *("0:0 755 /m", "33:34 644 /m/deep/dir/file", "5:6 644 /m/deep/pipe", ""),
    ]


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("name", DOCKERFILES)
@pytest.mark.parametrize("access", ["", ",readonly", ",readonly=false"])
def test_nobody_can_write_to_it(shell: Shell, name: str, access: str) -> None:
    """As in Docker whatever ``readonly`` says."""
    script = "for act in 'touch /m/x' 'mkdir /m/y' 'chmod 700 /m' 'chown 1:1 /m' 'rm -rf /m/only'; do $act 2>&1 || true; done; ls -A /m"
    *said, left = shell(script, mount=words(name, access)).split("Read-only file system\n")
    assert len(said) == 4 + (name == "one")
    assert left.split() == {"none": [], "one": ["only"]}.get(name, ["both", "deep", "early", "inner", "outer", "vol"])


@pytest.mark.usefixtures("images")
def test_not_even_who_mounts_it_again(engine: Engine, shell: Shell) -> None:
    """A privileged container can take the read-only mark off its mounts; the layers stay what they are."""
    for name, look in (("one", "cat /m/only"), ("many", "cat /m/both")):
        before = shell(look, mount=words(name))
        script = "mount -o remount,bind,rw /m; mount -o remount,rw /m; echo x >/m/only; echo x >/m/both"
        shell(f"({script}) 2>/dev/null || true; {look}", mount=words(name), privileged=True)
        assert shell(look, mount=words(name)) == before


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("word", IDS)
@pytest.mark.parametrize(
    ("subpath", "script", "wanted"),
    [
        ("deep/dir", "ls -A /m; cat /m/file", "file\ntext\n"),
        ("deep/dir/file", "cat /m", "text\n"),
        ("inner", "cat /m/file", "text\n"),
        ("inner/file", "cat /m", "text\n"),
    ],
)
def test_a_part_of_it_is_seen(engine: Engine, shell: Shell, word: str, subpath: str, script: str, wanted: str) -> None:
    """A folder or a file, also by links, which count from the image's root."""
    assert shell(script, mount=words("many", f",image-subpath={subpath}"), **ids(engine, word)) == wanted


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("subpath", ["missing", "outer", "outer/passwd", "deep/dir/file/below"])
def test_a_part_that_is_not_in_it_is_refused(engine: Engine, subpath: str) -> None:
    """A link that leads out of the image leads to what the image has there, and this one has no /etc."""
    with pytest.raises(LaunchError, match="mount /m") as caught:
        engine.run("toolbox", "true", mount=words("many", f",image-subpath={subpath}"))
    assert subpath in str(caught.value)
    assert engine.containers(all=True) == ()


def test_inspect_tells_of_it(engine: Engine, images: dict[str, Image]) -> None:
    """By Docker's keys: the words that were asked for, and which image they stood for."""
    container = engine.create("toolbox", "true", mount=words("many", ",image-subpath=deep"))
    found = container.inspect()
    assert found["Mounts"] == [
        {
            "Type": "image",
            "Name": "mounted-many",
            "Source": str(images["many"].id),
            "Destination": "/m",
            "Mode": "",
            "RW": False,
            "Propagation": "",
        }
    ]
    assert found["HostConfig"]["Mounts"] == [
        {"Type": "image", "Source": "mounted-many", "Target": "/m", "ImageOptions": {"Subpath": "deep"}}
    ]
    container.remove()


def test_it_stays_while_a_container_has_it(engine: Engine) -> None:
    """Its name is taken away by force only, its layers stay, and each start finds it; with the last container it can go."""
    tag = "mounted-awhile"
    image = engine.build(
        "FROM toolbox AS made\nRUN echo kept >/kept\nFROM scratch\nCOPY --from=made /kept /", tag=tag
    ).image
    container = engine.create("toolbox", "cat", "/m/kept", mount=[f"type=image,source={tag},target=/m"])
    with pytest.raises(Conflict, match="a container uses the image"):
        engine.remove_image(tag)
    engine.build("FROM toolbox AS made\nRUN echo other >/kept\nFROM scratch\nCOPY --from=made /kept /", tag=tag)
    engine.remove_image(tag)
    engine.prune(kinds=("images", "cache"), all=True)
    for _ in range(2):
        container.start()
        assert container.wait(PATIENCE_S) == 0
    assert [line.data for line in container.logs()] == [b"kept\n"] * 2
    assert engine.check().faults == ()
    other = engine.create("toolbox", "cat", "/m/kept", volumes_from=[f"{container.id}:rw"])
    container.remove()
    engine.prune(kinds=("images", "cache"), all=True)
    other.start()
    assert other.wait(PATIENCE_S) == 0
    assert [line.data for line in other.logs()] == [b"kept\n"]
    assert other.inspect()["Mounts"][0]["RW"] is False
    other.remove()
    engine.prune(kinds=("images", "cache"), all=True)
    assert not engine.store.content.has(image.id)
    assert not set(image.chain_ids) & set(engine.store.layers())
    assert list((engine.store.root / "snapshots").iterdir()) == []


def test_what_is_mounted_below_it(engine: Engine, shell: Shell) -> None:
    """A volume lies on a folder that the image has; one that it has not cannot be made there."""
    engine.build(DOCKERFILES["many"], tag="mounted-many")
    volume = "type=volume,source=below,target=/m"
    assert shell("touch /m/vol/x; ls /m/vol", mount=[*words("many"), f"{volume}/vol"]) == "x\n"
    with pytest.raises(LaunchError, match="mount /m/missing: Read-only file system") as caught:
        engine.run("toolbox", "true", mount=[*words("many"), f"{volume}/missing"])
    assert "a folder that is there" in caught.value.hint
    assert engine.containers(all=True) == ()
    engine.remove_volume("below")


def test_an_image_that_is_not_here_is_not_pulled(engine: Engine) -> None:
    """As in Docker; nothing of the container is left."""
    with pytest.raises(NotFound, match="no such image: missing.*/m") as caught:
        engine.create("toolbox", "true", mount=["type=image,source=missing,target=/m"])
    assert "pull missing" in caught.value.hint
    assert engine.containers(all=True) == ()


def test_copies_come_out_of_it(engine: Engine) -> None:
    """``cp`` finds it in a container that does not run, too, and puts nothing in."""
    engine.build(DOCKERFILES["many"], tag="mounted-many")
    container = engine.create("toolbox", "true", mount=words("many", ",image-subpath=deep"))
    out = io.BytesIO()
    container.fetch("/m/dir", out, owners=True)
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as archive:
        assert {entry.name: entry.uid for entry in archive} == {"dir": 0, "dir/file": 33}
    with pytest.raises(Conflict, match="Read-only file system"):
        container.bring(io.BytesIO(out.getvalue()), "/m")
    container.remove()


def test_where_there_is_no_overlay_it_is_copied(tmp_path: Path) -> None:
    """The store of a host or disk without overlays shows a copy, which goes with the container and is read-only all the same."""
    with Engine(tmp_path) as first:
        first.build(DOCKERFILES["many"], tag="mounted-many")
        assert first.store.snapshots.name in ("overlay", "copy")
    told = tmp_path / "overlay.json"
    told.write_text(json.dumps({**json.loads(told.read_text()), "why": "this is a test"}))
    with Engine(tmp_path) as engine:
        assert engine.store.snapshots.name == "copy"
        script = "cat /m/both /m/deep/dir/file; stat -c %u /m/deep/dir/file; touch /m/x 2>/dev/null || echo protected"
        container = engine.run("toolbox", "sh", "-c", script, mount=words("many"))
        assert container.wait(PATIENCE_S) == 0
        assert b"".join(line.data for line in container.logs()) == b"new\ntext\n33\nprotected\n"
        container.remove()
        assert list((tmp_path / "snapshots").iterdir()) == []

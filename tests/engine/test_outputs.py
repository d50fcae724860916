"""Where a build's result goes, and what is written of it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import stat
import tarfile
from pathlib import Path

import pytest

from nbcontainers.build import records
from nbcontainers.engine import Engine, wholefile
from nbcontainers.engine.outputs import Output, read
from nbcontainers.errors import Conflict, HostError, NBContainersError
from nbcontainers.events import Event
from nbcontainers.oci.descriptor import LAYER_GZIP, LAYER_TAR, LAYER_ZSTD
from tests.store.validate import validate

TEXT = """FROM scratch
COPY --chmod=4755 <<E /bin/tool
x
E
COPY --chmod=0444 <<E /etc/kept
y
E
LABEL a=b
"""


def test_files_go_to_a_folder_as_the_callers(engine: Engine, tmp_path: Path) -> None:
    """Twice too, over what is read only; no program runs as another user, and no image is left."""
    before = engine.images()
    for _ in range(2):
        made = engine.build(TEXT, outputs=[str(tmp_path / "out")])
    assert not made.stored
    assert engine.images() == before
    tool, kept = tmp_path / "out/bin/tool", tmp_path / "out/etc/kept"
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o444  # made by COPY, with the mode of its --chmod
    kept.parent.chmod(0o755)
    assert (tool.read_text(), kept.read_text()) == ("x\n", "y\n")
    assert stat.S_IMODE(tool.stat().st_mode) == 0o755
    assert (kept.stat().st_uid, stat.S_IMODE(kept.stat().st_mode)) == (os.getuid(), 0o444)
    assert not list((engine.store.root / "snapshots").iterdir())


def test_nothing_is_written_through_a_link(engine: Engine, tmp_path: Path) -> None:
    """A link in the folder, perhaps from another image, is replaced; a folder is not."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out/bin").mkdir(parents=True)
    (tmp_path / "out/etc").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "out/bin/tool").symlink_to(tmp_path / "elsewhere/file")
    engine.build(TEXT, outputs=[f"type=local,dest={tmp_path}/out"])
    assert not list((tmp_path / "elsewhere").iterdir())
    (tmp_path / "out/bin/tool").unlink()
    (tmp_path / "out/bin/tool").mkdir()
    with pytest.raises(Conflict):
        engine.build(TEXT, outputs=[str(tmp_path / "out")])


def test_a_tar_has_owners_and_modes(engine: Engine, tmp_path: Path) -> None:
    """In a file, or in the caller's stream; several outputs at once."""
    stream = io.BytesIO()
    engine.build(TEXT, outputs=["-", f"type=tar,dest={tmp_path}/x.tar"], stream=stream)
    assert (tmp_path / "x.tar").read_bytes() == stream.getvalue()
    stream.seek(0)
    with tarfile.open(fileobj=stream) as archive:
        found = {entry.name.strip("./"): entry for entry in archive}
    assert (found["bin/tool"].mode, found["bin/tool"].uid) == (0o4755, 0)


@pytest.mark.parametrize("kind", ["oci", "docker"])
def test_an_archive_has_the_names_and_no_image_stays(engine: Engine, tmp_path: Path, kind: str) -> None:
    """It loads as what was built."""
    made = engine.build(TEXT, tag=[f"{kind}:1", f"{kind}:2"], outputs=[f"type={kind},dest={tmp_path}/x.tar"])
    assert not [image for image in engine.images() if image.name.startswith(kind)]
    with (tmp_path / "x.tar").open("rb") as stream:
        loaded = engine.load(stream)
    assert [image.name for image in loaded] == [f"{kind}:1", f"{kind}:2"]
    assert loaded[0].id == made.image.id


def test_an_image_has_all_its_names_and_they_are_written_down(engine: Engine, tmp_path: Path) -> None:
    """BuildKit's keys; the ID file has the ID and nothing else. Where only files are made, both say that there is no image."""
    identity, about = tmp_path / "id", tmp_path / "about"
    made = engine.build(
        TEXT, tag=["one:1", "two"], outputs=["type=image,name=three:3"], iidfile=identity, metadata_file=about
    )
    assert {engine.image(name).id for name in ("one:1", "two", "three:3")} == {made.image.id}
    assert identity.read_text() == made.image.id
    told = json.loads(about.read_text())
    assert told["containerimage.digest"] == made.image.descriptor.digest
    assert told["containerimage.config.digest"] == made.image.id
    assert told["image.name"] == "docker.io/library/one:1,docker.io/library/two:latest,docker.io/library/three:3"
    engine.build(TEXT, outputs=[str(tmp_path / "out")], iidfile=identity, metadata_file=about)
    assert (identity.read_text(), json.loads(about.read_text())) == ("", {})


BASE = "FROM scratch\nCOPY <<E /base\nb\nE\n"
ABOVE = "FROM base\nCOPY <<E /own\no\nE\nCOPY <<E /more\nm\nE\nLABEL a=b\n"


@pytest.mark.parametrize(
    ("words", "kinds"),
    [
        ("compression=zstd", [LAYER_GZIP, LAYER_ZSTD, LAYER_ZSTD]),
        ("compression=zstd,force-compression=true", [LAYER_ZSTD] * 3),
        ("compression=uncompressed,force-compression=true", [LAYER_TAR] * 3),
        ("compression=gzip,force-compression=true", [LAYER_GZIP] * 3),
    ],
)
@pytest.mark.parametrize("kind", ["oci", "docker", "image"])
def test_layers_are_compressed_as_was_asked(
    engine: Engine, tmp_path: Path, kind: str, words: str, kinds: list[str]
) -> None:
    """Those of the Dockerfile's own steps, with force its base's too; twice the same. It is one image in the list, and what was asked."""
    engine.build(BASE, tag="base")
    blobs = set(engine.store.content)
    file, about = tmp_path / "x.tar", tmp_path / "about"
    where = f",dest={file}" if kind != "image" else ""
    digests = set()
    for _ in range(2):
        made = engine.build(ABOVE, tag="it:1", outputs=[f"type={kind},{words}{where}"], metadata_file=about)
        digests.add(json.loads(about.read_text())["containerimage.digest"])
        assert made.image.descriptor.digest in digests
    assert len(digests) == 1
    if kind != "image":
        cached = {made.descriptor.digest for _, made in records.every(engine.store.root)}
        assert set(engine.store.content) - blobs <= cached
        with file.open("rb") as stream:
            engine.load(stream)
    image = engine.image("it:1")
    assert {image.descriptor.digest} == digests
    assert [layer.media_type for layer in image.layers] == kinds
    validate(engine.store, image)
    assert [one.name for one in engine.images() if one.id == image.id] == ["it:1"]


def test_an_image_without_a_name_is_listed_once(engine: Engine) -> None:
    """Compressed otherwise it takes the place of what was built."""
    engine.build(BASE, tag="base")
    for words, kind in (("type=image", LAYER_GZIP), ("type=image,compression=zstd", LAYER_ZSTD)):
        made = engine.build(ABOVE + "LABEL of=none\n", outputs=[words])
        (found,) = [image for image in engine.images() if image.id == made.image.id]
        assert found.layers[-1].media_type == kind
        assert engine.image(str(made.image.id)).descriptor == found.descriptor


def test_a_plain_layer_goes_with_the_last_that_needs_it(engine: Engine) -> None:
    """Though its name is that of the tree, which an image compressed otherwise needs yet, and the build cache."""
    plain = engine.build(BASE, tag="plain", outputs=["type=image,compression=uncompressed"]).image
    assert plain.layers[0].digest == plain.chain_ids[0]
    engine.build(BASE, tag="packed", outputs=["type=image,compression=zstd"])
    engine.store.snapshots.unpack(plain)
    engine.store.images.remove("plain")
    engine.store.images.collect()
    assert not engine.store.content.has(plain.layers[0].digest)
    assert plain.chain_ids[0] in engine.store.layers()


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    """After an error the old one is as it was, and nothing else is there; a link is followed, a pipe written to."""
    place, link = tmp_path / "x", tmp_path / "link"
    place.write_text("old")
    link.symlink_to("x")
    with contextlib.suppress(ZeroDivisionError), wholefile.written(link) as file:
        file.write(b"new" * (1 // 0))
    assert place.read_text() == "old"
    with wholefile.written(link) as file:
        file.write(b"new")
        file.flush()
        assert place.read_text() == "old"
    assert (place.read_text(), link.is_symlink()) == ("new", True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "x"]
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with wholefile.written(tmp_path / "pipe") as file:
        file.write(b"through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    reader, end = os.pipe()
    with wholefile.written(f"/dev/fd/{end}") as file:
        file.write(b"nameless")
    assert os.read(reader, 100) == b"nameless"
    os.close(reader)
    os.close(end)
    for name, hint in (("no/where", "make its folder"), ("x/y", "is no folder"), ("", "name a file in it")):
        with (
            pytest.raises(HostError, match="cannot write") as caught,
            wholefile.written(tmp_path / name) as file,
        ):
            pass
        assert hint in caught.value.hint


def test_words_of_outputs() -> None:
    """What each word means."""
    assert read("out") == Output(type="local", dest="out")
    assert read("-") == Output(type="tar", dest="-")
    assert read("type=oci") == Output(type="oci", dest="-")
    assert read("type=docker").is_stored
    assert read("type=oci,compression=uncompressed") == Output(type="oci", dest="-", compression="none")
    assert read('type=image,"name=a,b",push=true') == Output(type="image", names=("a", "b"), push=True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["type=zip"], "not a type of output: 'zip'"),
        (["type=local"], "names no folder"),
        (["type=oci,dest=x,tar=false"], "no option 'tar'"),
        (["type=image,push=perhaps"], "push=perhaps"),
        (["type=image,compression=estargz"], "compression=estargz"),
        (["type=image,force-compression=true"], "no compression"),
        (["type=local,dest=x,compression=gzip"], "no option 'compression'"),
        (["type=registry"], "without a name"),
        (["-"], "standard output"),
        (["type=tar,dest=/no/where/x.tar"], "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_said_before_the_build(engine: Engine, words: list[str], message: str) -> None:
    """Nothing is executed for it."""
    heard: list[Event] = []
    with pytest.raises(NBContainersError, match=message):
        engine.build(TEXT, outputs=words, on_event=heard.append)
    assert heard == []

"""Where a build's result goes, and what is written of it."""

from __future__ import annotations

import io
import json
import os
import stat
import tarfile
from pathlib import Path

import pytest

from nbcontainers.engine import Engine
from nbcontainers.engine.outputs import Output, read
from nbcontainers.errors import Conflict, NBContainersError
from nbcontainers.events import Event

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


def test_words_of_outputs() -> None:
    """What each word means."""
    assert read("out") == Output(type="local", dest="out")
    assert read("-") == Output(type="tar", dest="-")
    assert read("type=oci") == Output(type="oci", dest="-")
    assert read("type=docker").is_stored
    assert read('type=image,"name=a,b",push=true') == Output(type="image", names=("a", "b"), push=True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["type=zip"], "not a type of output: 'zip'"),
        (["type=local"], "names no folder"),
        (["type=oci,dest=x,tar=false"], "no option 'tar'"),
        (["type=image,push=perhaps"], "push=perhaps"),
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

"""Volumes, binds and folders in memory, in real containers."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nbcontainers.engine import Engine
from nbcontainers.errors import Conflict, LaunchError, NBContainersError, NotFound
from nbcontainers.results import ContainerState
from nbcontainers.runtime import host as hosts

from ..waiting import until

Shell = Callable[..., str]
DOCKERFILE = """\
FROM toolbox
RUN mkdir -p /srv/data/below /srv/evil && echo one > /srv/data/file && echo two > /srv/data/below/file \\
 && chmod 2750 /srv/data && chmod 600 /srv/data/file && ln -s file /srv/data/link \\
 && ln -s /etc /srv/link && ln -s ../../../../../../tmp /srv/evil/out && ln -s /proc/self /srv/evil/self
VOLUME /srv/data
"""


@pytest.fixture(scope="module")
def image(engine: Engine) -> str:
    return engine.build(DOCKERFILE, tag="with-volume").image.name


@pytest.fixture
def shell(shell: Shell, image: str) -> Shell:
    """A script in a container of the image."""
    return functools.partial(shell, image=image)


@pytest.fixture
def clean(engine: Engine) -> Iterator[None]:
    yield
    for container in engine.containers(all=True):
        container.remove(force=True, volumes=True)
    engine.prune_volumes(everything=True)


@pytest.mark.usefixtures("clean")
def test_a_new_volume_gets_what_the_image_has(engine: Engine, image: str, shell: Shell) -> None:
    """Content, links, modes and the folder's own mode; ``nocopy`` leaves it empty; one with content stays as it is."""
    look = "stat -c %a /srv/data /srv/data/file; cat /srv/data/link /srv/data/below/file; echo x > /srv/data/more"
    assert shell(look, volumes=["kept:/srv/data"]) == "2750\n600\none\ntwo\n"
    assert shell("cat /srv/data/more", volumes=["kept:/srv/data:ro"]) == "x\n"
    assert shell("ls -A /srv/data", volumes=["empty:/srv/data:nocopy"]) == ""
    assert shell("rm -rf /srv/data/*; ls -A /srv/data", volumes=["kept:/srv/data"]) == ""
    assert "file" in shell("ls /srv/data", volumes=["kept:/srv/data"])


@pytest.mark.usefixtures("clean")
def test_who_takes_away_what_a_volume_is_filled_with_is_told_of(engine: Engine, image: str) -> None:
    """Beside a container that removes what comes into an empty volume, filling it is a conflict with a way out, and nothing is left."""
    folders = "for n in 0 1 2 3 4 5 6 7 8 9; do mkdir -p /srv/many/$n/a/b; echo x | tee /srv/many/$n/f /srv/many/$n/a/b/g; done"
    many = engine.build(f"FROM {image}\nRUN {folders}").image.name
    code = """
import os, shutil
print("removing", flush=True)
while True:
    for name in os.listdir("/v"):
        shutil.rmtree(f"/v/{name}", ignore_errors=True)
"""
    attacker = engine.run("toolbox", "python3", "-c", code, volumes=["raced:/v:nocopy"], detach=True)
    until(lambda: any(b"removing" in line.data for line in attacker.logs()))

    def fill() -> None:
        for _ in range(200):
            engine.create(many, "true", volumes=["raced:/srv/many"]).remove()

    with pytest.raises(Conflict, match="changed the volume while it was filled") as caught:
        fill()
    assert "volume-nocopy" in caught.value.hint
    assert [one.id for one in engine.containers(all=True)] == [attacker.id]
    engine.create(many, "true", volumes=["raced:/srv/many:nocopy"]).remove()


@pytest.mark.usefixtures("clean")
def test_an_images_volume_is_made_without_a_name_and_goes_with_its_container(
    engine: Engine, image: str, shell: Shell
) -> None:
    """``--rm`` and ``rm -v`` take it along; plain ``rm`` leaves it to ``prune``; a named one stays."""
    assert shell("cat /srv/data/file; echo y > /srv/data/file", volumes=["named:/other"]) == "one\n"
    assert [volume.name for volume in engine.volumes()] == ["named"]
    asked = engine.create("toolbox", "true", volumes=["/asked"])
    found = asked.inspect()
    assert (found["HostConfig"]["Binds"], found["Config"]["Volumes"]) == (None, {"/asked": {}})  # as Docker has it
    asked.remove(volumes=True)
    kept = engine.create(image, "true")
    (made,) = (volume for volume in engine.volumes() if volume.anonymous)
    assert made.users == (kept.id,)
    assert kept.inspect()["Mounts"][0]["Name"] == made.name
    with pytest.raises(Conflict, match="in use"):
        engine.remove_volume(made.name)
    kept.remove()
    assert engine.prune_volumes()[0] == (made.name,)
    engine.create(image, "true").remove(volumes=True)
    assert [volume.name for volume in engine.volumes()] == ["named"]
    engine.remove_volume("named")
    with pytest.raises(NotFound, match="no such volume"):
        engine.volume("named")


@pytest.mark.usefixtures("clean")
def test_volumes_of_another_container_are_shared(engine: Engine, image: str, tmp_path: Path, shell: Shell) -> None:
    """``--volumes-from`` has its volumes and binds, not its folders in memory; ``:ro`` protects them."""
    other = engine.create(image, "true", volumes=["shared:/v", f"{tmp_path}:/b:ro"], tmpfs=["/t"])
    look = "ls -d /v /b /srv/data/file; ls -d /t 2>&1 || true; touch /v/x; touch /b/x 2>/dev/null || echo read-only"
    found = shell(look, volumes_from=[other.name]).splitlines()
    assert found[:3] == ["/b", "/srv/data/file", "/v"]
    assert found[-1] == "read-only"
    assert "No such file" in found[3]
    assert "Read-only" in shell("ls /v/x; touch /v/y 2>&1 || true", volumes_from=[f"{other.id}:ro"])
    other.remove()
    assert any(volume.name == "shared" for volume in engine.volumes())


def test_a_missing_folder_is_made_for_volume_and_missed_by_mount(
    engine: Engine, image: str, tmp_path: Path, shell: Shell
) -> None:
    """As in Docker: ``-v`` makes it, ``--mount`` names it in the error."""
    shell("touch /new/x", volumes=[f"{tmp_path}/made:/new"])
    assert (tmp_path / "made/x").exists()
    with pytest.raises(NotFound, match="does not exist: .*/missing"):
        engine.create(image, "true", mount=[f"type=bind,source={tmp_path}/missing,target=/new"])
    assert not (tmp_path / "missing").exists()


def test_a_read_only_root_has_writable_volumes(engine: Engine, image: str, tmp_path: Path, shell: Shell) -> None:
    """``--read-only`` holds for the root and for the files that name the host, which lie on a disk of it as well.

    A bind with ``ro`` is read-only all the way down.
    """
    script = "touch /srv/data/a /m/a /b/a; touch /a 2>/dev/null || echo protected"
    script += "; for name in hosts hostname resolv.conf; do echo x >>/etc/$name && echo written; done 2>/dev/null"
    words = shell(f"{script}; true", read_only=True, tmpfs=["/m"], volumes=[f"{tmp_path}:/b"])
    assert words == "protected\n"
    assert (tmp_path / "a").exists()


def test_a_folder_in_memory_is_as_it_was_asked_for(engine: Engine, image: str, shell: Shell) -> None:
    """Size and mode; without a mode that of the folder below it, so that /tmp stays everybody's."""
    look = "stat -c '%a' /t /tmp; df -k /t | tail -1 | tr -s ' ' | cut -d' ' -f2"
    words = {"mount": ["type=tmpfs,target=/t,tmpfs-size=2m,tmpfs-mode=700"], "tmpfs": ["/tmp"]}
    assert shell(look, **words) == "700\n1777\n2048\n"


def test_a_folder_in_memory_has_the_owner_that_there_is(engine: Engine, image: str, shell: Shell) -> None:
    """Where the user namespace has one id only it cannot be another's, which is told with the way out."""
    words = {"tmpfs": ["/t:uid=5,gid=6"]}
    if not hosts.probe().has_single_id:
        assert shell("stat -c %u:%g /t", **words) == "5:6\n"
        return
    with pytest.raises(LaunchError, match="/t") as caught:
        engine.run(image, "true", network="none", **words)
    assert "leave uid and gid out" in caught.value.hint


@pytest.mark.usefixtures("clean")
def test_a_part_of_a_volume_is_found_inside_it(engine: Engine, image: str, shell: Shell) -> None:
    """``volume-subpath`` shows a folder of a volume; a link of the volume does not lead out of it."""
    shell("mkdir -p /v/a/b; echo in > /v/a/b/f; ln -s /etc /v/out", volumes=["parts:/v"])
    word = "type=volume,source=parts,target=/p,volume-subpath="
    assert shell("cat /p/f", mount=[word + "a/b"]) == "in\n"
    # However soon the first process fails: what its engine writes meanwhile may be there, or not yet.
    for _ in range(30):
        with pytest.raises(LaunchError, match="/p"):
            engine.run(image, "true", mount=[word + "out"])
    for container in engine.containers(all=True):
        container.remove()


@pytest.mark.parametrize("place", ["/srv/evil/out/x", "/srv/evil/self/x", "/srv/link/x"])
def test_a_link_of_the_image_at_a_mounts_place_leads_nowhere_else(
    engine: Engine, image: str, tmp_path: Path, place: str, shell: Shell
) -> None:
    """CVE-2021-30465: what is mounted on is resolved inside the root, so a link out of it means a place inside.

    Links of /proc that jump (CVE-2025-31133) are not followed at all.
    """
    (tmp_path / "f").write_text("here")
    before = (set(os.listdir("/tmp")) | set(os.listdir("/etc"))) & {"x"}
    try:
        found = shell(
            f"cat {place}/f 2>/dev/null || cat /etc/x/f /tmp/x/f 2>/dev/null",
            volumes=[f"{tmp_path}:{place}"],
        )
        assert found == "here"
    except LaunchError:
        assert "self" in place
        for container in engine.containers(all=True):
            container.remove()
    assert (set(os.listdir("/tmp")) | set(os.listdir("/etc"))) & {"x"} == before
    assert "/x " not in Path("/proc/self/mountinfo").read_text()


@pytest.mark.usefixtures("clean")
def test_what_a_killed_process_left_of_a_volume_is_nobodys(engine: Engine) -> None:
    """A folder of which nothing says what it is: a volume that is made under its name begins empty, and a prune removes the others."""
    folders = [engine.store.root / "volumes" / name / "_data" for name in ("taken", "left")]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "secret").touch()
    engine.create_volume("taken")
    assert [folder.exists() for folder in folders] == [True, True]
    assert os.listdir(folders[0]) == []
    engine.prune()
    assert [folder.exists() for folder in folders] == [True, False]
    engine.remove_volume("taken")
    assert os.listdir(engine.store.root / "trash") == []


def test_names_and_races(engine: Engine) -> None:
    """A volume is made once, by whoever comes first; a name that is none is refused."""
    first = engine.create_volume("one", labels={"a": "b"})
    assert engine.create_volume("one").created == first.created
    assert engine.volume("one").labels == (("a", "b"),)
    for name in ("x", "../x", "a/b", ".hidden", "-x"):
        with pytest.raises(NBContainersError, match="invalid volume name"):
            engine.create_volume(name)
    assert engine.create_volume().anonymous
    with Engine(engine.store.root) as other:
        assert {volume.name for volume in other.volumes()} >= {"one"}


def test_what_could_not_be_made_leaves_no_volume(engine: Engine, image: str, shell: Shell) -> None:
    """A container that is refused takes its new volume with it."""
    before = engine.volumes()
    with pytest.raises(NotFound):
        engine.create(image, "true", mount=["type=bind,source=/nowhere/at/all,target=/x"])
    assert engine.volumes() == before
    assert not [
        c for c in engine.containers(all=True) if isinstance(c.state, ContainerState) and c.state.image == image
    ]

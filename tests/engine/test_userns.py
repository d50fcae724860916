"""User namespaces: root's containers with a range of ids of their own, whose files stay what they are on the disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from nbcontainers.engine import Engine, userns
from nbcontainers.engine.container import Container
from nbcontainers.errors import HostError, LaunchError, NBContainersError
from nbcontainers.runtime import state as states
from tests.machine import mounts
from tests.waiting import PATIENCE_S, until

Shell = Callable[..., str]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives ranges of ids")


@pytest.fixture(scope="module")
def _can(engine: Engine) -> None:
    why = userns.refusal(engine.store.root)
    if why:
        pytest.skip(f"no id-mapped mounts on {engine.store.root}: {why}")


def said(container: Container, *command: str, **words: str) -> str:
    """What a command prints that is entered into a container."""
    parts: list[bytes] = []
    execution = container.exec(*command, **words)  # type: ignore[arg-type]
    code = execution.attach(lambda event: parts.append(getattr(event, "data", b"")))
    assert code == 0, b"".join(parts)
    return b"".join(parts).decode()


@needs_root
@pytest.mark.usefixtures("_can")
def test_root_inside_is_nobody_outside(shell: Shell) -> None:
    """It has all its ids, is root over what is its own, and nothing of the host is behind its root."""
    script = "cat /proc/self/uid_map /proc/self/gid_map; stat -c %u:%g / /etc/passwd /etc/hosts; stat -c %i / /..; "
    script += "chown 33:34 /tmp; stat -c %u:%g /tmp; echo out >/dev/stdout; cut -d' ' -f5 /proc/self/mountinfo | sort | head -1"
    lines = shell(script, userns="auto").splitlines()
    maps = [line.split() for line in lines[:2]]
    assert [(row[0], row[2]) for row in maps] == [("0", "65536")] * 2
    assert maps[0] == maps[1]
    first = int(maps[0][1])
    assert first >= userns.FIRST
    assert (first - userns.FIRST) % userns.SIZE == 0
    assert first + userns.SIZE < 1 << 31
    assert lines[2:5] == ["0:0"] * 3
    assert lines[5] == lines[6]
    assert lines[7:] == ["33:34", "out", "/"]
    assert shell("ls /proc/1/fd; cat /proc/sys/net/ipv4/ping_group_range", userns="auto").split() == [
        *"012",
        "0",
        "65535",
    ]
    assert shell("cat /proc/self/uid_map", userns="auto:size=1000").split()[2] == "1000"


@needs_root
@pytest.mark.usefixtures("_can")
def test_what_it_wrote_has_the_ids_that_it_saw(engine: Engine, tmp_path: Path) -> None:
    """In diff, commit, cp and export, on the disk, and in a container without a user namespace."""
    script = "touch /mine; echo a >/theirs; chown 33:34 /theirs; chmod 4755 /theirs; rm /etc/passwd; mkdir /box; chown 5:6 /box"
    container = engine.run("toolbox", "sh", "-ec", script, userns="auto")
    assert container.wait(PATIENCE_S) == 0
    upper = engine.store.root / "snapshots" / container.id[:12] / "upper"
    assert (upper / "theirs").stat().st_uid == 33
    changed = {(change.kind, change.path) for change in container.changes()}
    assert {("added", "/theirs"), ("added", "/box"), ("deleted", "/etc/passwd")} <= changed
    with (tmp_path / "whole.tar").open("wb") as whole:
        container.export(whole)
    with tarfile.open(tmp_path / "whole.tar") as archive:
        rows = {name: archive.getmember(name) for name in ("mine", "theirs", "box")}
    assert {name: (row.uid, row.gid) for name, row in rows.items()} == {
        "mine": (0, 0),
        "theirs": (33, 34),
        "box": (5, 6),
    }
    assert rows["theirs"].mode == 0o4755
    image = engine.commit(container, "userns-committed")
    container.remove()
    for words in ({}, {"userns": "auto"}):
        again = engine.run(image, "stat", "-c", "%u:%g %a", "/mine", "/theirs", "/box", **words)  # type: ignore[arg-type]
        assert again.wait(PATIENCE_S) == 0
        printed = "".join(line.data.decode() for line in again.logs())
        assert printed.split("\n") == ["0:0 644", "33:34 4755", "5:6 755", ""]
        again.remove()


@needs_root
@pytest.mark.usefixtures("_can")
def test_others_enter_it_copy_into_it_and_reach_it(engine: Engine, shell: Shell, tmp_path: Path) -> None:
    """exec as its root and as others, cp both ways while it runs, and a network whose names it is found by."""
    container = engine.run("toolbox", "sleep", "600", userns="auto", hostname="apart")
    try:
        assert said(container, "sh", "-c", "id -u; cat /proc/self/uid_map").split()[0] == "0"
        assert said(container, "sh", "-c", "id -u; id -g; echo again >/dev/stderr", user="33:34").split() == [
            "33",
            "34",
            "again",
        ]
        with pytest.raises(LaunchError):
            container.exec("no-such-command")
        (tmp_path / "given").write_text("given\n")
        os.chown(tmp_path / "given", 7, 8)
        with tarfile.open(tmp_path / "in.tar", "w") as archive:
            archive.add(tmp_path / "given", "given")
        subprocess.run(
            [sys.executable, "-m", "nbcontainers", "cp", "-a", str(tmp_path / "given"), f"{container.id}:/given"],
            env={**os.environ, "NBCONTAINERS_ROOT": str(engine.store.root)},
            check=True,
        )
        assert said(container, "sh", "-c", "stat -c %u:%g /given; chown 9:9 /given").strip() == "7:8"
        subprocess.run(
            [sys.executable, "-m", "nbcontainers", "cp", "-a", f"{container.id}:/given", str(tmp_path / "back")],
            env={**os.environ, "NBCONTAINERS_ROOT": str(engine.store.root)},
            check=True,
        )
        assert (tmp_path / "back").stat().st_uid == 9
        assert container.top().rows
        look = f"import socket; print(socket.gethostbyname({container.name!r}) != '')"
        for words in ({"userns": "auto"}, {}):
            other = engine.run("toolbox", "python3", "-c", look, **words)
            assert other.wait(PATIENCE_S) == 0
            other.remove()
        shared = f"container:{container.name}"
        script = "readlink /proc/self/ns/net"
        own = said(container, "sh", "-c", script)
        assert shell(script, network=shared) == shell(script, network=shared, userns="auto") == own
    finally:
        container.remove(force=True)


@needs_root
@pytest.mark.usefixtures("_can")
def test_volumes_are_shared_by_the_ids_that_each_sees(engine: Engine, shell: Shell, tmp_path: Path) -> None:
    """A volume's files have one owner in every container; a folder of the host only with ``idmap``."""
    shell("touch /data/a; chown 33 /data/a; stat -c %u /data", userns="auto", volumes=["shared:/data"])
    assert shell("stat -c %u /data /data/a; chown 44 /data/a", volumes=["shared:/data"]).split() == ["0", "33"]
    assert shell("stat -c %u /data/a", userns="auto", volumes=["shared:/data"]).split() == ["44"]
    (tmp_path / "sub").mkdir()
    tmp_path.parent.chmod(0o700)
    assert shell(
        "stat -c %u /host; touch /host/x 2>/dev/null || echo no", userns="auto", volumes=[f"{tmp_path}:/host"]
    ).split() == ["65534", "no"]
    assert shell(
        "stat -c %u /host; touch /host/x; chown 3 /host/x", userns="auto", volumes=[f"{tmp_path}:/host:idmap"]
    ).split() == ["0"]
    assert (tmp_path / "x").stat().st_uid == 3
    mount = f"type=bind,source={tmp_path},target=/host,idmap,readonly"
    assert shell("stat -c %u /host/x; touch /host/y 2>/dev/null || echo no", userns="auto", mount=[mount]).split() == [
        "3",
        "no",
    ]


@needs_root
@pytest.mark.usefixtures("_can")
def test_each_has_a_range_of_its_own(engine: Engine) -> None:
    """No two containers of a store share one, and one that is removed gives its back."""
    made = [engine.create("toolbox", "true", userns="auto") for _ in range(3)]
    first = [container.spec.uid_mappings[0].host for container in made]
    assert len(set(first)) == 3
    folder = engine.store.root / "ranges"
    held = set(os.listdir(folder))
    slot = str((first[0] - userns.FIRST) // userns.SIZE)
    assert slot in held
    made[0].remove()
    assert set(os.listdir(folder)) == held - {slot}
    # Another container's claim moves on to the next range; that of a container that is gone is taken over.
    (folder / slot).symlink_to(made[1].id)
    spec = userns.claim(made[0].spec, userns.Userns(is_own=True), engine.store.root, made[0].id, engine._names)
    assert spec.uid_mappings[0].host == first[0] + userns.SIZE
    userns.release(engine.store.root, made[0].id)
    (folder / slot).unlink()
    (folder / slot).symlink_to("f" * 64)
    spec = userns.claim(made[0].spec, userns.Userns(is_own=True), engine.store.root, made[0].id, engine._names)
    assert spec.uid_mappings[0].host == first[0]
    userns.release(engine.store.root, made[0].id)
    for container in made[1:]:
        container.remove()


@needs_root
@pytest.mark.usefixtures("_can")
def test_nothing_is_left_of_one_whose_shim_was_killed(engine: Engine) -> None:
    """Its processes and cgroups go, and the host never saw a mount of it."""
    before = mounts()
    container = engine.run("toolbox", "sleep", "600", userns="auto", memory="64m", detach=True)
    until(lambda: mounts() <= before)
    pid, extra = container.state.pid, states.load_extra(engine.store.root / "containers" / container.id)
    assert Path(f"/proc/{pid}/uid_map").read_text().split()[1] == str(container.spec.uid_mappings[0].host)
    os.kill(extra["shim"], signal.SIGKILL)
    assert container.wait(PATIENCE_S) == 137
    until(lambda: container.state.status == "exited")
    until(lambda: not any(map(os.path.exists, (f"/proc/{pid}", *extra["cgroup_directories"]))))
    container.start(detach=True)  # and it can be started again, with the same range
    assert Path(f"/proc/{container.state.pid}/uid_map").read_text().split()[1] == str(
        container.spec.uid_mappings[0].host
    )
    container.remove(force=True)


@needs_root
@pytest.mark.usefixtures("_can")
def test_what_needs_the_hosts_root_is_refused(engine: Engine, shell: Shell) -> None:
    """Others' namespaces; an idmap without a range; and --privileged ends at the user namespace, which is said."""
    for words in ({"pid": "host"}, {"ipc": "container:x"}):
        with pytest.raises((HostError, NBContainersError)):
            engine.create("toolbox", "true", userns="auto", **words)  # type: ignore[arg-type]
    with pytest.raises(HostError, match="idmap of /srv"):
        engine.create("toolbox", "true", volumes=["/srv:/srv:idmap"])
    container = engine.create("toolbox", "true", userns="auto", privileged=True)
    assert any(note.startswith("privileged:") for note in container.state.not_enforced)
    container.remove()
    assert shell("mount -t tmpfs none /mnt && echo mounted", userns="auto", privileged=True) == "mounted\n"
    assert shell("mknod /x b 8 0 2>/dev/null || echo no", userns="auto", privileged=True) == "no\n"


@needs_root
def test_where_files_cannot_be_mapped_it_is_said(tmp_path: Path) -> None:
    """On a store that lies on an overlay: --userns is refused with the reason, and a sandbox runs as nobody and says so."""
    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()
    script = f"""
mount -t overlay overlay -o lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work {tmp_path}/merged
cd {tmp_path}/merged
nbc() {{ "{sys.executable}" -m nbcontainers "$@"; }}
nbc run --rm --userns auto toolbox true 2>&1
nbc run --name box --profile sandbox toolbox id -u
nbc inspect box
nbc rm box
"""
    environment = {**os.environ, "NBCONTAINERS_ROOT": f"{tmp_path}/merged/store", "NBCONTAINERS_PROGRESS": "plain"}
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert "cannot be shown with other ids" in done.stdout, done
    assert "65534" in done.stdout.splitlines()
    assert "user namespace: none, so its ids are the host's" in done.stdout


@pytest.mark.parametrize(
    "word", ["yes", "auto:size=x", "auto:uid=3", "private:size=3", "auto:size=0", "auto:size=70000"]
)
def test_words_that_mean_nothing_are_refused(engine: Engine, word: str) -> None:
    """With the words that do."""
    with pytest.raises(NBContainersError, match=r"invalid --userns mode|1 to 65536 ids|range is the one"):
        engine.create("toolbox", "true", userns=word)


def test_without_privilege_it_is_what_it_is(engine: Engine, shell: Shell, tmp_path: Path) -> None:
    """``auto`` and ``private`` are what is so, ``host`` cannot be had; ``keep-id`` runs as the caller where one id is all."""
    host = engine._host
    if not host.identity.userns:
        with pytest.raises(HostError, match="root keeps no id of its own"):
            engine.create("toolbox", "true", userns="keep-id")
        assert "4294967295" in shell("cat /proc/self/uid_map", userns="host")
        return
    assert shell("id -u", userns="private") == shell("id -u", userns="auto") == "0\n"
    with pytest.raises(HostError, match="without privilege a container cannot be without"):
        engine.create("toolbox", "true", userns="host")
    if host.has_single_id:
        script = "id -u; id -g; touch /host/x; stat -c %u /host/x"
        lines = shell(script, userns="keep-id", volumes=[f"{tmp_path}:/host"]).split()
        assert lines[:2] == [str(os.geteuid()), str(os.getegid())]
        assert (tmp_path / "x").stat().st_uid == os.geteuid()
        assert shell("id -u; id -g", userns="keep-id:uid=77,gid=78").split() == ["77", "78"]

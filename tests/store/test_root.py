from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from nbcontainers.errors import HostError
from nbcontainers.store import root as module
from nbcontainers.store.root import choose, file_system


def allow(folder: Path) -> str:
    """The probe of a host on which every folder can hold an overlay's upper directory."""
    assert folder.is_dir()
    return ""


def among(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    monkeypatch.setattr(module, "_candidates", lambda environ: iter([(folder, "it is next") for folder in folders]))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_named_folder_is_taken(tmp_path: Path) -> None:
    """$NBCONTAINERS_ROOT is the user's word: the folder is made, is this user's alone, and the reason says so."""
    choice = choose({"NBCONTAINERS_ROOT": str(tmp_path / "a" / "b")}, probe=allow)
    assert (choice.path, choice.overlay, choice.refused) == (tmp_path / "a" / "b", True, ())
    assert "NBCONTAINERS_ROOT" in choice.reason
    assert mode(choice.path) == 0o700


def test_a_named_folder_that_cannot_be_is_an_error(tmp_path: Path) -> None:
    """What the user named is not silently replaced by another folder."""
    (tmp_path / "file").write_text("")
    for bad in ("file", "file/below"):
        with pytest.raises(HostError, match="cannot hold a store"):
            choose({"NBCONTAINERS_ROOT": str(tmp_path / bad)}, probe=allow)


def test_a_named_folder_without_overlay_is_taken_and_said(tmp_path: Path) -> None:
    """Where the user's folder cannot hold an overlay, containers get copies, and the reason says why."""
    choice = choose({"NBCONTAINERS_ROOT": str(tmp_path)}, probe=lambda folder: "it is an overlay itself")
    assert not choice.overlay
    assert "copies" in choice.reason
    assert "it is an overlay itself" in choice.reason


def test_a_folder_of_our_own_is_closed_to_others(tmp_path: Path) -> None:
    """A store holds what images hold, secrets too: a folder that others could read is theirs no more."""
    tmp_path.chmod(0o755)
    assert mode(choose({"NBCONTAINERS_ROOT": str(tmp_path)}, probe=allow).path) == 0o700


def test_a_folder_with_other_files_is_let_be(tmp_path: Path) -> None:
    """A folder that holds something else is neither closed to others nor filled: $NBCONTAINERS_ROOT=/tmp is a mistake."""
    (tmp_path / "letters").mkdir()
    tmp_path.chmod(0o755)
    with pytest.raises(HostError, match="holds other files"):
        choose({"NBCONTAINERS_ROOT": str(tmp_path)}, probe=allow)
    assert mode(tmp_path) == 0o755
    (tmp_path / "letters").rmdir()
    (tmp_path / "lost+found").mkdir()
    assert choose({"NBCONTAINERS_ROOT": str(tmp_path)}, probe=allow).path == tmp_path


def test_the_first_that_can_is_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Candidates are tried in order; those that were refused come with the reason and leave no folder."""
    (tmp_path / "file").write_text("")
    among(monkeypatch, tmp_path / "file", tmp_path / "network", tmp_path / "good", tmp_path / "never")
    monkeypatch.setattr(module, "file_system", lambda path: "nfs4" if path.name == "network" else "ext4")
    choice = choose({}, probe=allow)
    assert choice.path == tmp_path / "good"
    assert [path.name for path, _ in choice.refused] == ["file", "network"]
    assert "network file system (nfs4)" in choice.refused[1][1]
    assert sorted(os.listdir(tmp_path)) == ["file", "good"]


def test_a_folder_with_overlay_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later folder that can hold an overlay is better than an earlier one that cannot; the first of those is the last resort."""
    among(monkeypatch, tmp_path / "pod", tmp_path / "volume")
    choice = choose({}, probe=lambda folder: "" if folder.name == "volume" else "no")
    assert (choice.path, choice.overlay) == (tmp_path / "volume", True)
    assert choice.refused == ((tmp_path / "pod", "no overlay: no"),)
    choice = choose({}, probe=lambda folder: "no")
    assert (choice.path, choice.overlay) == (tmp_path / "pod", False)


def test_no_folder_at_all_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no folder can hold the store, each is named with what is wrong with it."""
    (tmp_path / "file").write_text("")
    among(monkeypatch, tmp_path / "file", tmp_path / "file" / "below")
    with pytest.raises(HostError, match=r"file: File exists.*below: Not a directory") as caught:
        choose({}, probe=allow)
    assert "NBCONTAINERS_ROOT" in caught.value.hint


def test_a_link_that_somebody_else_may_have_laid_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In /var/tmp anybody can be first: a link there is not followed; in a folder of one's own it is."""
    shared, own, target = tmp_path / "shared", tmp_path / "own", tmp_path / "target"
    for folder in (shared, own, target):
        folder.mkdir()
    shared.chmod(0o1777)
    (shared / "link").symlink_to(target)
    (own / "link").symlink_to(target)
    among(monkeypatch, shared / "link", own / "link")
    choice = choose({}, probe=allow)
    assert choice.path == own / "link"
    assert "symbolic link" in choice.refused[0][1]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_the_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that belongs to another user is no place for a store."""
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 12345, 12345)
    among(monkeypatch, tmp_path / "theirs", tmp_path / "ours")
    choice = choose({}, probe=allow)
    assert choice.refused == ((tmp_path / "theirs", "it belongs to uid 12345"),)


def test_a_full_disk_is_passed_over_unless_the_store_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new store goes to a disk with room; one that is there is kept, or its images would seem lost."""
    among(monkeypatch, tmp_path / "full", tmp_path / "free")
    room = os.statvfs(tmp_path)

    def statvfs(path: Path) -> os.statvfs_result:
        return os.statvfs_result([*room[:4], 0, *room[5:]]) if Path(path).name == "full" else room

    monkeypatch.setattr(os, "statvfs", statvfs)
    assert choose({}, probe=allow).path == tmp_path / "free"
    (tmp_path / "full" / "blobs").mkdir(parents=True)
    (tmp_path / "full" / "version").write_text("1\n")
    assert choose({}, probe=allow).path == tmp_path / "full"


def test_the_usual_folders(tmp_path: Path) -> None:
    """Root has the system's folder, others their data folder, and both a folder for temporary files after it."""
    code = """
import sys
from nbcontainers.store.root import _candidates
print(*(path for path, _ in _candidates({"HOME": "/nowhere"})), sep="\\n")
"""
    environ = {"HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    uid = os.geteuid()
    first = "/var/lib/nbcontainers" if uid == 0 else f"{tmp_path}/.local/share/nbcontainers"
    assert done.stdout.splitlines() == [first, f"/var/tmp/nbcontainers-{uid}", f"/tmp/nbcontainers-{uid}"]


def test_the_file_system_is_that_of_the_deepest_mount(tmp_path: Path) -> None:
    """Mount points are compared by whole names, with their escapes undone, and the last mount on a point counts."""
    table = tmp_path / "mountinfo"
    table.write_text(
        "1 0 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        "2 1 0:40 / /home rw - nfs4 server:/home rw\n"
        "3 1 0:41 / /home/a\\040b rw - tmpfs tmpfs rw\n"
        "4 1 0:42 / /mnt rw - ext4 /dev/sdb rw\n"
        "5 4 0:43 / /mnt rw - overlay overlay rw\n"
    )
    for path, kind in {
        "/": "ext4",
        "/home": "nfs4",
        "/home/x/y": "nfs4",
        "/homework": "ext4",
        "/home/a b/c": "tmpfs",
        "/mnt/x": "overlay",
    }.items():
        assert file_system(Path(path), table) == kind
    assert file_system(Path("/"), tmp_path / "missing") == ""
    assert file_system(Path("/proc")) == "proc"


def test_without_a_probe_only_an_overlay_is_known_to_hold_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing can be tried, the file system's type decides: the root of a pod is an overlay."""
    among(monkeypatch, tmp_path / "pod", tmp_path / "volume")
    monkeypatch.setattr(module, "file_system", lambda path: "overlay" if path.name == "pod" else "ext4")
    assert choose({}).path == tmp_path / "volume"


MOUNTED = """
import os, pathlib, sys
from nbcontainers import Engine
with Engine() as engine:
    report = engine.host()
    print(report.store, "|", report.store_reason, "|", *(f"{folder}: {why};" for folder, why in report.stores_refused))
    print(engine.store.snapshots.name)
"""


def mounted(mount: str, home: Path, **environ: str) -> list[str]:
    """What a process says whose data folder is on a mount of its own."""
    words = ["unshare", "--map-root-user", "--user", "--mount"]
    if subprocess.run([*words, "sh", "-c", mount], capture_output=True, check=False).returncode:
        pytest.skip(f"{mount.split()[2]} in a user namespace")
    script = f'{mount} && exec "$@"'
    done = subprocess.run(
        [*words, "sh", "-c", script, "sh", sys.executable, "-c", MOUNTED],
        capture_output=True,
        text=True,
        check=False,
        env={name: value for name, value in os.environ.items() if name != module.VARIABLE}
        | {"HOME": str(home), "TMPDIR": str(home.parent / "temporary"), **environ},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_store_on_a_real_overlay_gets_copies(tmp_path: Path) -> None:
    """A folder on an overlay that is named holds a store; containers get copies there, and that is said."""
    for name in ("lower", "upper", "work", "home"):
        (tmp_path / name).mkdir()
    layers = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work,userxattr"
    mount = f"mount -t overlay -o {layers} none {tmp_path}/home"
    said, kind = mounted(mount, tmp_path / "home", NBCONTAINERS_ROOT=f"{tmp_path}/home/store")
    assert said.startswith(f"{tmp_path}/home/store | NBCONTAINERS_ROOT names it; containers get copies of files")
    assert kind == "copy"


def on_a_disk(mount: str, code: str, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Python on a file system of memory that only it sees."""
    apart = ["unshare", "--map-root-user", "--user", "--mount"]
    if subprocess.run([*apart, "mount", "-t", "tmpfs", "none", "/tmp"], capture_output=True, check=False).returncode:
        pytest.skip(
            "needs a user namespace of one's own: 'unshare --map-root-user --user --mount mount -t tmpfs none /tmp'"
        )
    return subprocess.run(
        [*apart, "sh", "-c", f'{mount} && exec "$@"', "sh", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=environ,
    )


def test_a_store_on_a_small_real_disk_is_refused(tmp_path: Path) -> None:
    """A file system with no room for a store is passed over, and the report says which and why."""
    (tmp_path / "small").mkdir()
    (tmp_path / "temporary").mkdir()
    mount = f"mount -t tmpfs -o size=1m none {tmp_path}/small"
    code = (
        "import os, pathlib\n"
        "from nbcontainers.store import root\n"
        f"root._candidates = lambda environ: iter([(pathlib.Path('{tmp_path}/small/s'), 'one'), (pathlib.Path('{tmp_path}/t'), 'two')])\n"
    )
    environ = {name: value for name, value in os.environ.items() if name != module.VARIABLE}
    done = on_a_disk(mount, code + MOUNTED, environ)
    assert f"{tmp_path}/t | two | {tmp_path}/small/s: its disk is full;" in done.stdout, done.stderr


@pytest.mark.parametrize(("size", "chosen"), [("25m", "small"), ("1m", "")])
def test_a_store_may_lie_on_a_small_real_disk(tmp_path: Path, size: str, chosen: str) -> None:
    """25 MB are enough for small images where that folder is named, or is the only one; a megabyte is not."""
    (tmp_path / "small").mkdir()
    code = (
        "import pathlib\n"
        "from nbcontainers.errors import HostError\n"
        "from nbcontainers.store import root\n"
        f"small = pathlib.Path('{tmp_path}/small/s')\n"
        "root._candidates = lambda environ: iter([(small, 'one')])\n"
        "for environ in ({'NBCONTAINERS_ROOT': str(small)}, {}):\n"
        "    try:\n"
        "        print(root.choose(environ, probe=lambda folder: '').path.parent.name)\n"
        "    except HostError as error:\n"
        "        print('its disk is full' if 'its disk is full' in str(error) else error)\n"
    )
    done = on_a_disk(f"mount -t tmpfs -o size={size} none {tmp_path}/small", code)
    assert done.stdout.splitlines() == [chosen or "its disk is full"] * 2, done.stderr


@pytest.mark.parametrize("what", ["size=1m", "nr_inodes=40"], ids=["blocks", "inodes"])
def test_a_store_on_a_real_disk_that_is_full_is_opened(tmp_path: Path, what: str) -> None:
    """Not a byte, or not a file, more can be written: the store is there all the same, for something has to be removed from it."""
    mount = f"mount -t tmpfs -o {what} none {tmp_path}"
    code = (
        "import contextlib, pathlib\n"
        "from nbcontainers.store import root\n"
        f"store = pathlib.Path('{tmp_path}/store')\n"
        "(store / 'blobs').mkdir(parents=True)\n"
        "(store / 'version').write_text('1')\n"
        "with contextlib.suppress(OSError):\n"
        "    for number in range(1000):\n"
        f"        pathlib.Path('{tmp_path}', str(number)).write_bytes(bytes(4096))\n"
        "assert number < 999\n"
        "print(root.choose({'NBCONTAINERS_ROOT': str(store)}, probe=lambda folder: '').path)\n"
    )
    done = on_a_disk(mount, code)
    assert done.stdout == f"{tmp_path}/store\n", done.stderr

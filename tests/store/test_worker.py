"""The worker's process: who lives how long, what it says of errors, and COPY's rules in the tree that it sees."""

from __future__ import annotations

import os
import select
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nbcontainers.errors import Conflict, HostError, NBContainersError, NotFound
from nbcontainers.events import Event
from nbcontainers.linux import mounts
from nbcontainers.linux.idmap import Identity
from nbcontainers.oci.runtime import IdMapping, Mount
from nbcontainers.store import filling
from nbcontainers.store.stopping import Stop, Stopped, obeying
from nbcontainers.store.store import Store
from nbcontainers.store.worker import Worker
from tests.machine import mounts as mounted
from tests.store.trees import here
from tests.waiting import until


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    with Store(tmp_path / "store", identity=here()) as store, Worker(store.root, here()) as made:
        yield made


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "etc").mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0:::\nann:x:12:34::/:/bin/sh\nbroken\n")
    (root / "usr/bin").mkdir(parents=True)
    (root / "bin").symlink_to("usr/bin")
    (root / "out").symlink_to("/../../../../../../" + str(tmp_path / "outside"))
    (root / "nowhere").symlink_to("/not/there")
    (tmp_path / "outside").mkdir()
    return root


@pytest.fixture
def sent(tmp_path: Path) -> Path:
    root = tmp_path / "context"
    (root / "sub").mkdir(parents=True)
    (root / "file").write_bytes(b"content")
    (root / "sub/prog").write_bytes(b"#!")
    (root / "sub/prog").chmod(0o4711)
    (root / "sub/link").symlink_to("../file")
    (root / "sub").chmod(0o750)
    for name in ("file", "sub/prog", "sub"):
        os.utime(root / name, ns=(0, 1_234_567_890_123_456_789))
    return root


def root_of(tree: Path) -> tuple[Mount, ...]:
    return (mounts.bind(str(tree)),)


def running(worker: Worker) -> int:
    (pid,) = worker.pids()
    return pid


def gone(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


# Who lives how long


def test_it_starts_with_the_first_call_and_ends_when_closed(worker: Worker, tmp_path: Path) -> None:
    """No process before it is needed, one for all calls, none after."""
    assert worker.pids() == ()
    worker.remove(tmp_path / "store/trash/nothing")
    pid = running(worker)
    worker.remove(tmp_path / "store/trash/nothing")
    assert running(worker) == pid
    worker.close()
    assert gone(pid)


def test_it_ends_with_its_engine(tmp_path: Path) -> None:
    """Even if that is killed while a call is under way."""
    code = (
        "import os, select, sys, threading\n"
        "from pathlib import Path\n"
        "from nbcontainers.store.store import Store\n"
        "from nbcontainers.store.worker import Worker\n"
        "from nbcontainers.linux import mounts\n"
        "from tests.store.trees import here\n"
        "store = Store(Path(sys.argv[1]) / 'store', identity=here())\n"
        "worker = Worker(store.root, here())\n"
        "worker.remove(store.root / 'trash/nothing')\n"
        "read, write = os.pipe()\n"
        "def tell():\n"
        "    select.select([read], [], [])\n"
        "    print(*worker.pids(), flush=True)\n"
        "threading.Thread(target=tell).start()\n"
        "worker.export((mounts.bind('/usr/lib'),), write)\n"  # which nobody reads
    )
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]))
    words = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(words, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE) as engine:
        assert engine.stdout is not None
        pid = int(engine.stdout.readline())
        assert not gone(pid)
        engine.kill()
        engine.wait()
        until(lambda: gone(pid))


def test_its_death_is_an_error_and_the_next_call_starts_another(worker: Worker, tmp_path: Path) -> None:
    """As when memory runs out: between two calls nobody notices, in one it is said."""
    worker.remove(tmp_path / "store/trash/nothing")
    first = running(worker)
    os.kill(first, signal.SIGKILL)
    until(lambda: not worker.pids())
    worker.remove(tmp_path / "store/trash/nothing")

    pid = running(worker)
    read, write = os.pipe()

    def kill_at_work() -> None:
        select.select([read], [], [])
        os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_at_work)
    killer.start()
    try:
        with pytest.raises(NBContainersError, match="worker died in 'export'"):
            worker.export(root_of(Path("/usr/lib")), write)
    finally:
        killer.join()
        os.close(read)
        os.close(write)
    worker.remove(tmp_path / "store/trash/nothing")


def test_a_long_call_keeps_no_other_waiting(worker: Worker, tmp_path: Path) -> None:
    """Calls of several threads go on at the same time; ``rest`` leaves one process, and ``close`` lets a call end."""
    read, write = os.pipe()
    with ThreadPoolExecutor() as threads:
        long = threads.submit(worker.export, root_of(Path("/usr/lib")), write)  # which nobody reads yet
        until(worker.pids)
        (busy,) = worker.pids()
        worker.remove(tmp_path / "store/trash/nothing")
        assert not long.done()
        assert len(worker.pids()) == 2
        worker.close()
        until(lambda: set(worker.pids()) <= {busy})
        assert not gone(busy)
        os.close(read)
        with pytest.raises(BrokenPipeError):
            long.result()
    os.close(write)
    until(lambda: gone(busy))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: worker.probe_overlay(tmp_path), range(8)))
    worker.rest()
    assert len(worker.pids()) == 1


def test_a_call_that_is_not_wanted_any_more_is_ended(worker: Worker, tmp_path: Path) -> None:
    """At once, and only calls of those who were told to stop."""
    stop = Stop()
    read, write = os.pipe()

    def export() -> None:
        with obeying(stop):
            worker.export(root_of(Path("/usr/lib")), write)

    with ThreadPoolExecutor() as threads:
        long = threads.submit(export)
        until(worker.pids)
        (busy,) = worker.pids()
        other = threads.submit(worker.export, root_of(Path("/usr/lib")), write)
        until(lambda: len(worker.pids()) == 2)
        stop.set()
        assert isinstance(long.exception(10), Stopped)
        assert gone(busy)
        assert not other.done()
        os.close(read)
        with pytest.raises(BrokenPipeError):
            other.result()
        with obeying(stop), pytest.raises(Stopped):
            worker.remove(tmp_path / "store/trash/nothing")
    os.close(write)


def test_interrupts_at_the_terminal_are_its_engines(worker: Worker, tmp_path: Path) -> None:
    """It does not die of the signal that a whole process group gets."""
    worker.remove(tmp_path / "store/trash/nothing")
    pid = running(worker)
    os.kill(pid, signal.SIGINT)
    worker.remove(tmp_path / "store/trash/nothing")
    assert running(worker) == pid


def test_its_mounts_are_its_own(worker: Worker, tmp_path: Path) -> None:
    """The host's mount table is the same while it works."""
    before = mounted()
    worker.probe_overlay(tmp_path)
    until(lambda: mounted() <= before)
    assert os.listdir(tmp_path) == ["store"]


def test_maps_of_many_ids_are_asked_for(tmp_path: Path) -> None:
    """A range of ids needs the setuid helpers, and their refusal is told."""
    maps = (IdMapping(container=0, host=os.geteuid(), size=1), IdMapping(container=1, host=3_999_999_999, size=1))
    identity = Identity(userns=True, uid_mappings=maps, gid_mappings=maps)
    with Store(tmp_path / "store", identity=here()) as store, Worker(store.root, identity) as worker:
        if os.geteuid() == 0:
            (store.root / "trash/file").touch()
            os.chown(store.root / "trash/file", 3_999_999_999, 3_999_999_999)
            worker.remove(store.root / "trash/file")
            assert os.listdir(store.root / "trash") == []
        else:
            with pytest.raises(HostError, match="newuidmap"):
                worker.remove(store.root / "trash/nothing")


def test_only_the_store_is_removed_from(worker: Worker, tmp_path: Path) -> None:
    """A path outside of it is a mistake of ours, and nothing is touched."""
    (tmp_path / "mine").touch()
    for path in (tmp_path / "mine", tmp_path / "store/../mine"):
        with pytest.raises(NBContainersError, match="not below"):
            worker.remove(path)
    assert (tmp_path / "mine").exists()


def test_trees_of_any_depth_and_mode_are_removed(worker: Worker, tmp_path: Path) -> None:
    """Deeper than a path can say, in folders that nobody may enter."""
    root = tmp_path / "store/trash/deep"
    root.mkdir()
    here = os.open(root, os.O_RDONLY)
    for _ in range(600):
        os.mkdir("folder" * 5, dir_fd=here)
        inside = os.open("folder" * 5, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inside
    os.close(os.open("file", os.O_CREAT, 0o000, dir_fd=here))
    os.mkdir("closed", 0o000, dir_fd=here)
    os.close(here)
    (root / "closed").mkdir(0o700)
    (root / "closed/in").touch()
    (root / "closed").chmod(0o000)
    root.chmod(0o500)
    worker.remove(root)
    assert os.listdir(tmp_path / "store/trash") == []


# COPY's rules


def test_files_of_a_context_are_copied_as_roots(worker: Worker, tree: Path, sent: Path) -> None:
    """Modes, times and links as they are; owner 0:0; folders that are made for them 0755; the bytes are counted."""
    rows = [(str(sent / "sub"), ""), (str(sent / "sub/prog"), "prog"), (str(sent / "sub/link"), "link")]
    assert worker.do(filling.copy(root_of(tree), rows, "/opt/app", directory=True)) == 2
    made = (tree / "opt/app/prog").stat()
    assert (stat.S_IMODE(made.st_mode), made.st_mtime_ns) == (0o4711, 1_234_567_890_123_456_789)
    assert os.readlink(tree / "opt/app/link") == "../file"
    top = (tree / "opt/app").stat()
    assert stat.S_IMODE(top.st_mode) == 0o755  # as dockerd makes the folder that a COPY needs
    assert stat.S_IMODE((tree / "opt").stat().st_mode) == 0o755
    assert {os.lstat(tree / name).st_uid for name in ("opt", "opt/app", "opt/app/prog", "opt/app/link")} == {
        os.geteuid()
    }


@pytest.mark.parametrize(
    ("destination", "directory", "path"),
    [
        ("/new", False, "new"),
        ("/new/", True, "new/file"),
        ("/etc", False, "etc/file"),
        ("/etc/passwd", False, "etc/passwd"),
        ("/bin", False, "usr/bin/file"),
        ("/bin/tool", False, "usr/bin/tool"),
        ("/a/b/c", False, "a/b/c"),
        ("/../up", False, "up"),
    ],
)
def test_one_file_goes_where_docker_puts_it(
    worker: Worker, tree: Path, sent: Path, destination: str, directory: bool, path: str
) -> None:
    """To the destination, or into it if that is a folder; links of the tree are followed inside it."""
    worker.do(filling.copy(root_of(tree), [(str(sent / "file"), "file")], destination, directory=directory))
    assert (tree / path).read_bytes() == b"content"


def test_links_of_the_tree_do_not_lead_out(worker: Worker, tree: Path, sent: Path, tmp_path: Path) -> None:
    """A link to the host's folder means a folder of the tree, which is made; so does one that is the destination itself."""
    worker.do(filling.copy(root_of(tree), [(str(sent / "file"), "file")], "/out/x", directory=False))
    inside = tree / str(tmp_path / "outside").lstrip("/")  # ".." at the root stays there
    assert (inside / "x").read_bytes() == b"content"
    worker.do(filling.copy(root_of(tree), [(str(sent / "file"), "file")], "/nowhere", directory=False))
    assert (tree / "nowhere").is_symlink()
    assert (tree / os.readlink(tree / "nowhere").lstrip("/")).read_bytes() == b"content"
    assert os.listdir(tmp_path / "outside") == []


def test_a_folder_does_not_go_through_a_link_to_a_folder(worker: Worker, tree: Path, sent: Path) -> None:
    """COPY rootfs/ / with a bin/ in it, where /bin is a link: BuildKit refuses that, and nothing is put where it leads."""
    rows = [(str(sent / "sub"), "bin"), (str(sent / "sub/prog"), "bin/prog")]
    with pytest.raises(Conflict, match="'/bin' is no folder"):
        worker.do(filling.copy(root_of(tree), rows, "/", directory=True))
    assert not (tree / "usr/bin/prog").exists()
    assert (tree / "bin").is_symlink()


def test_files_and_folders_do_not_replace_each_other(worker: Worker, tree: Path, sent: Path) -> None:
    """As Docker refuses it."""
    with pytest.raises(Conflict, match="is a folder"):
        worker.do(filling.copy(root_of(tree), [(str(sent / "file"), "etc")], "/", directory=True))
    with pytest.raises(Conflict, match="is no folder"):
        worker.do(filling.copy(root_of(tree), [(str(sent / "sub"), "passwd")], "/etc", directory=True))
    with pytest.raises(Conflict, match="is no folder"):
        worker.do(filling.copy(root_of(tree), [(str(sent / "file"), "file")], "/etc/passwd/x", directory=False))
    with pytest.raises(NotFound, match="no such file to copy"):
        worker.do(filling.copy(root_of(tree), [(str(sent / "other"), "file")], "/x", directory=False))


def test_owner_and_mode_can_be_chosen(worker: Worker, tree: Path, sent: Path) -> None:
    """--chown and --chmod; an owner that this host cannot hold is recorded, a link's in the ledger beside the tree."""
    events: list[Event] = []
    rows = [(str(sent / "sub/prog"), "prog"), (str(sent / "sub/link"), "link")]
    worker.do(
        filling.copy(root_of(tree), rows, "/opt", directory=True, chown="ann", chmod="640"), on_event=events.append
    )
    assert stat.S_IMODE((tree / "opt").stat().st_mode) == 0o640  # made for them, with the same mode
    (tree / "opt").chmod(0o755)
    if os.geteuid() == 0:
        made = (tree / "opt/prog").stat()
        assert (made.st_uid, made.st_gid, stat.S_IMODE(made.st_mode)) == (12, 34, 0o640)
    else:
        assert os.getxattr(tree / "opt/prog", "user.nbcontainers.stat") == b"12:34:100640"
        assert (tree.parent / "links").read_bytes().split()[1] == b"12:34:120777"
    assert events == []
    events.clear()
    worker.do(filling.copy(root_of(tree), rows, "/opt", directory=True, chown="bob"), on_event=events.append)
    assert "no user 'bob'" in str(events)


def test_a_file_is_read_from_inside(worker: Worker, tree: Path) -> None:
    """Links count from the tree's root; what is too long or no file is refused."""
    assert worker.read(root_of(tree), "/etc/passwd").startswith(b"root:")
    with pytest.raises(NotFound):
        worker.read(root_of(tree), "/out/anything")
    with pytest.raises(Conflict):
        worker.read(root_of(tree), "/etc")
    with pytest.raises(Conflict):
        worker.read(root_of(tree), "/etc/passwd", limit=3)


def test_what_is_measured_may_be_gone(worker: Worker, tmp_path: Path) -> None:
    """Trees are as large as the blocks that they take; one that was removed meanwhile is 0, and harms no other."""
    there = tmp_path / "store" / "there"
    there.mkdir()
    (there / "file").write_bytes(bytes(8192))
    assert worker.measure(["gone", "there"]) == (0, (there / "file").stat().st_blocks * 512)

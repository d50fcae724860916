"""Real groups on this host: they limit, count, freeze, end and go away, whatever mixture of cgroup v1 and v2 is mounted."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from nbcontainers.errors import Conflict, NBContainersError, NotFound
from nbcontainers.linux import cgroups, devicefilter, groups, hierarchies, limits
from nbcontainers.linux.cgroups import Hierarchy
from nbcontainers.oci.resources import Resources
from tests.waiting import PATIENCE_S, until

ROOT = Path(__file__).parents[2]
HOST = hierarchies.detect()
NAME = f"test-{os.getpid()}"
MIB = 1 << 20


def needs(*controllers: str) -> pytest.MarkDecorator:
    missing = set(controllers) - HOST.controllers
    return pytest.mark.skipif(bool(missing), reason=f"needs cgroup controllers that we may use: {sorted(missing)}")


needs_groups = pytest.mark.skipif(HOST.version == "none", reason="needs cgroups that we may make")


class Container:
    """A group that was made as its plan says, and the processes that joined it."""

    def __init__(self, hierarchy: Hierarchy, limits: Resources) -> None:
        self.hierarchy = hierarchy
        self.plan = hierarchy.plan(NAME, limits, devices=os.geteuid() == 0)
        self.started: list[subprocess.Popen[str]] = []
        for directory in self.plan.directories:
            os.mkdir(directory)
        for path, text in self.plan.writes:
            groups.write(path, text)
        if self.plan.devices is not None:
            devicefilter.attach(*self.plan.devices)

    def start(self, code: str) -> subprocess.Popen[str]:
        join = f"import os\nfor path in {self.plan.procs!r}: open(path, 'w').write('0')\nprint('in', flush=True)\n"
        process = subprocess.Popen(
            [sys.executable, "-S", "-c", join + textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
        )
        self.started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "in\n"
        return process

    def finish(self, code: str) -> tuple[int, str]:
        process = self.start(code)
        assert process.stdout is not None
        output = process.stdout.read()
        return process.wait(PATIENCE_S), output

    def close(self) -> None:
        self.hierarchy.kill(NAME)
        for process in self.started:
            process.wait(PATIENCE_S)
            assert process.stdout is not None
            process.stdout.close()
        self.hierarchy.remove(NAME)


@contextlib.contextmanager
def container(limits: Resources | None = None, hierarchy: Hierarchy = HOST) -> Iterator[Container]:
    made = Container(hierarchy, limits or Resources())
    try:
        yield made
    finally:
        made.close()


def v1_only() -> Hierarchy:
    parents = {name: path for name, path in HOST.parents.items() if name != "unified"}
    return replace(HOST, version="v1", parents=parents, controllers=frozenset(parents))


def unified_only() -> Hierarchy:
    kept = frozenset() if HOST.version != "v2" else HOST.controllers
    parents = {name: path for name, path in HOST.parents.items() if name == "unified"}
    return replace(HOST, version="v2", parents=parents, controllers=kept)


ways = pytest.mark.parametrize(
    "hierarchy",
    [
        pytest.param(HOST, id="as found", marks=needs_groups),
        pytest.param(
            v1_only(), id="v1", marks=pytest.mark.skipif("freezer" not in HOST.parents, reason="needs a v1 freezer")
        ),
        pytest.param(
            unified_only(), id="v2", marks=pytest.mark.skipif("unified" not in HOST.parents, reason="needs a v2 tree")
        ),
    ],
)


def listing() -> dict[str, list[str]]:
    return {path: sorted(name for name in os.listdir(path) if NAME in name) for path in HOST.parents.values()}


@needs("memory")
def test_a_memory_hog_is_killed_and_counted() -> None:
    """It is ended by the kernel at its limit, the file that the plan names counts it, and so does the meter."""
    with container(Resources(memory=24 * MIB)) as made, HOST.meter(NAME) as meter:
        code, _ = made.finish("block = b'x' * (200 << 20)")
        assert code == -signal.SIGKILL
        counted = dict(line.split() for line in Path(made.plan.oom_file).read_text().splitlines())
        assert int(counted["oom_kill"]) == 1
        usage = meter.sample()
        assert usage.oom_kills == 1
        assert usage.memory_limit == 24 * MIB
        assert usage.memory_peak is not None
        assert 16 * MIB < usage.memory_peak <= 24 * MIB


@needs("memory")
def test_swap_does_not_help_a_hog() -> None:
    """As in Docker a memory limit lets as much again be swapped, and no more."""
    texts = dict(HOST.plan(NAME, Resources(memory=64 * MIB)).writes)
    swap = [text for path, text in texts.items() if "swap" in path or "memsw" in path]
    assert swap == ([] if not HOST.swap else [str((64 if HOST.version == "v2" else 128) * MIB)])


@needs("pids")
def test_a_fork_bomb_stays_in_its_limit() -> None:
    """The process that would be one too many is refused, and the rest go on."""
    with container(Resources(pids=4)) as made, HOST.meter(NAME) as meter:
        process = made.start(
            """
            import time
            count = 1
            try:
                for _ in range(20):
                    if os.fork() == 0: time.sleep(60)
                    count += 1
            except BlockingIOError:
                print(count, flush=True)
                time.sleep(60)
            """
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "4\n"
        usage = meter.sample()
        assert (usage.processes, usage.processes_limit) == (4, 4)


@needs("cpu")
def test_a_busy_process_is_throttled() -> None:
    """With a twentieth of a processor, a tenth of a second of work takes two, and the meter shows both.

    A twentieth is less than a machine would give it that does other things as well.
    """
    with container(Resources(cpu_quota=5_000, cpu_period=100_000)) as made, HOST.meter(NAME) as meter:
        before = meter.sample()
        work = "import time\nbegan, used = time.monotonic(), time.process_time()\nwhile time.process_time() < used + 0.1: pass"
        code, took = made.finish(f"{work}\nprint(time.monotonic() - began)")
        usage = meter.sample()
        assert code == 0
        assert float(took) > 1.5
        assert usage.cpu_limit == pytest.approx(0.05)
        assert 0.1 <= usage.cpu_seconds - before.cpu_seconds < float(took) / 5
        assert usage.throttled_seconds is not None
        assert usage.throttled_seconds > 0.2


@needs("cpu", "cpuset")
def test_shares_and_processors_can_be_chosen() -> None:
    """A container bound to the first processor sees only that, and its weight is the kernel's own measure."""
    with container(Resources(cpu_shares=512, cpuset_cpus="0")) as made:
        assert made.finish("print(os.sched_getaffinity(0))") == (0, "{0}\n")
        files = {os.path.basename(path): text for path, text in made.plan.writes}
        assert files.get("cpu.shares") == "512" or files.get("cpu.weight") == "20"


@ways
def test_a_group_is_measured(hierarchy: Hierarchy) -> None:
    """Processor time, memory and processes are counted on each kind of host, and the meter says by whom."""
    with container(hierarchy=hierarchy) as made, hierarchy.meter(NAME) as meter:
        process = made.start(
            "block = os.urandom(16 << 20); sum(range(3_000_000)); print('full', flush=True); import time; time.sleep(60)"
        )
        assert process.stdout is not None
        process.stdout.readline()
        began = time.time()
        usage = meter.sample()
        assert 16 * MIB < usage.memory < 64 * MIB
        assert 0.01 < usage.cpu_seconds < 5
        assert usage.processes == 1
        assert began <= usage.time <= time.time()
        assert usage.source == ("cgroup v1" if "memory" in hierarchy.parents else usage.source)
        assert usage.memory_limit is usage.processes_limit is usage.cpu_limit is None
        assert hierarchy.processes(NAME) == (process.pid,)


@ways
def test_a_frozen_container_stands_still(hierarchy: Hierarchy) -> None:
    """Frozen it uses no time, thawed it goes on, and it can be ended while it is frozen."""
    with container(hierarchy=hierarchy) as made, hierarchy.meter(NAME) as meter:
        process = made.start("while True: pass")
        hierarchy.freeze(NAME)
        before = meter.sample().cpu_seconds
        time.sleep(0.15)
        assert meter.sample().cpu_seconds - before < 0.02
        hierarchy.thaw(NAME)
        until(lambda: meter.sample().cpu_seconds - before > 0.02)
        hierarchy.freeze(NAME)
        hierarchy.kill(NAME)
        assert process.wait(PATIENCE_S) == -signal.SIGKILL


@ways
def test_ending_a_container_ends_all_it_started(hierarchy: Hierarchy) -> None:
    """Also processes that left the session, and that are started while the others are being ended."""
    before = listing()
    with container(hierarchy=hierarchy) as made:
        process = made.start(
            """
            import time
            for _ in range(5):
                if os.fork() == 0:
                    os.setsid()
                    while True:
                        pid = os.fork()
                        if pid == 0: time.sleep(0.001); os._exit(0)
                        os.waitpid(pid, 0)
            time.sleep(60)
            """
        )
        until(lambda: len(hierarchy.processes(NAME)) > 5)
        hierarchy.kill(NAME)
        assert process.wait(PATIENCE_S) == -signal.SIGKILL
        until(lambda: not hierarchy.processes(NAME))
    assert listing() == before


@needs_groups
def test_a_group_in_use_is_not_removed_and_a_gone_one_is_not_missed() -> None:
    """A Conflict names the directory; a second removal and a kill of nothing are no errors; a meter says so."""
    with container() as made:
        made.start("import time; time.sleep(60)")
        with pytest.raises(Conflict, match=NAME):
            HOST.remove(NAME, timeout=0.05)
        meter = HOST.meter(NAME)
        HOST.kill(NAME)
        HOST.remove(NAME)
        with pytest.raises(NotFound), meter:
            meter.sample()
        with pytest.raises(ValueError, match="closed"):
            meter.sample()
    HOST.remove(NAME)
    HOST.kill(NAME)
    for method in (HOST.meter, HOST.freeze, HOST.thaw, HOST.processes):
        with pytest.raises(NotFound, match=NAME):
            method(NAME)


@needs_groups
def test_a_group_that_goes_while_it_is_ended_has_ended() -> None:
    """Whoever wanted nobody to be in it any more hears of no error, at whichever step of his somebody takes it away."""
    with container() as made, ThreadPoolExecutor(1) as pool:
        directories = made.plan.directories

        def come_and_go() -> None:
            for _ in range(2000):
                for directory in reversed(directories):
                    groups.remove(directory)
                for directory in directories:
                    os.mkdir(directory)

        coming = pool.submit(come_and_go)
        while not coming.done():
            groups.kill(directories, timeout=PATIENCE_S)
        coming.result()


@needs_groups
def test_a_group_is_found_by_its_directories_from_another_cgroup() -> None:
    """An engine that has another cgroup finds nothing by name, but all by the directories that the plan gave."""
    elsewhere = replace(HOST, parents=dict.fromkeys(HOST.parents, "/nonexistent"))
    with container() as made:
        process = made.start("import time; time.sleep(60)")
        where = made.plan.directories
        with pytest.raises(NotFound):
            elsewhere.meter(NAME)
        with elsewhere.meter(NAME, directories=where) as meter:
            assert meter.sample().processes == 1
        elsewhere.kill(NAME, directories=where)
        assert process.wait(PATIENCE_S) == -signal.SIGKILL
        elsewhere.remove(NAME, directories=where)
        assert HOST.directories(NAME) == ()


@needs_groups
def test_a_sweep_takes_only_old_empty_groups_of_ours() -> None:
    """What is alive, what is young, what has processes, and what another program made stays."""
    tree, parent = next(iter(HOST.parents.items()))
    below = (
        f"{parent}/sweep-{NAME}"  # other engines on this host are about to use groups of theirs, so not beside those
    )
    hierarchy = replace(HOST, parents={tree: below}, controllers=frozenset())
    names = ("alive", "busy", "dead", "other")
    directories = [below, *(f"{below}/{cgroups.PREFIX}{name}" for name in names[:3]), f"{below}/other"]
    for directory in directories:
        os.mkdir(directory)
    try:
        with subprocess.Popen(["sleep", "60"]) as process:
            try:
                groups.write(f"{below}/{cgroups.PREFIX}busy/cgroup.procs", str(process.pid))
                assert hierarchy.sweep({"alive"}) == ()
                assert hierarchy.sweep({"alive"}, older_than=0) == ("dead",)
                assert sorted(name for name in names if hierarchy.directories(name)) == ["alive", "busy"]
                for name in ("dead", "coming"):
                    os.mkdir(f"{below}/{cgroups.PREFIX}{name}")
                    directories.append(f"{below}/{cgroups.PREFIX}{name}")
                groups.write(f"{below}/cgroup.procs", str(process.pid))
                with ThreadPoolExecutor(1) as pool:
                    begun = time.monotonic()
                    waiting = pool.submit(hierarchy.sweep, {"alive"}, older_than=1.0, waits=True)
                    groups.write(f"{below}/{cgroups.PREFIX}coming/cgroup.procs", str(process.pid))
                    assert waiting.result() == ("busy", "dead")  # whose process has left it
                    assert time.monotonic() - begun >= 0.9
                assert sorted(name for name in (*names, "coming") if hierarchy.directories(name)) == ["alive", "coming"]
            finally:
                process.kill()
        assert os.path.isdir(f"{below}/other")
    finally:
        for directory in reversed(directories):
            until(lambda path=directory: groups.remove(path))


@needs_groups
def test_a_sweep_waits_for_groups_that_it_was_slow_to_see(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel takes a group for as old as the first look at it, which a busy host may have long after the sweep began."""
    below = f"{next(iter(HOST.parents.values()))}/slow-{NAME}"
    known = (
        groups.processes
    )  # the groups, what is in them and when they are dated are the kernel's; only the look is slow

    def slow(directories: Sequence[str]) -> tuple[int, ...]:
        time.sleep(0.1)
        return known(directories)

    os.mkdir(below)
    try:
        monkeypatch.setattr(groups, "processes", slow)
        assert groups.sweep([below], older_than=0.5, waits=True) == (below,)
    finally:
        groups.remove(below)


@needs_groups
def test_groups_that_a_container_made_below_its_own_go_too() -> None:
    """A container that was let to make cgroups leaves none behind."""
    with container() as made:
        for directory in made.plan.directories:
            os.makedirs(f"{directory}/inner/most")
    assert HOST.directories(NAME) == ()


@needs("devices")
def test_only_dockers_devices_open(tmp_path: Path) -> None:
    """The kernel's log can be made as a node, for making nodes is harmless, and cannot be opened; /dev/null can."""
    node = tmp_path / "kmsg"
    try:
        os.mknod(node, stat.S_IFCHR | 0o600, os.makedev(1, 11))
        os.close(os.open(node, os.O_RDONLY | os.O_NONBLOCK))
    except PermissionError:
        pytest.skip("needs a temporary folder where device nodes work")
    with container() as made:
        _, output = made.finish(
            f"""
            import stat
            for path in ('/dev/null', '/dev/urandom', {str(node)!r}):
                try:
                    os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK)); print('ok')
                except PermissionError: print('refused')
            os.mknod({str(tmp_path / "made")!r}, stat.S_IFBLK | 0o600, os.makedev(7, 200)); print('made')
            """
        )
    assert output.split() == ["ok", "ok", "refused", "made"]


@needs("cpuset")
def test_what_the_kernel_refuses_is_explained() -> None:
    """The message has what was asked, and the hint what would be possible."""
    plan = HOST.plan(NAME, Resources(cpuset_cpus="4000"))
    for directory in plan.directories:
        os.mkdir(directory)
    try:
        for path, text in plan.writes:
            try:
                groups.write(path, text)
            except OSError as error:
                said = cgroups.explain(path, text, error)
                assert "cpuset.cpus to '4000'" in said.message
                assert "group above" in said.hint
                break
        else:
            pytest.fail("the kernel took processor 4000")
    finally:
        HOST.remove(NAME)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Resources(memory=MIB), "memory limit of 1048576 bytes"),
        (Resources(memory=64 * MIB, memory_swap=MIB), "less than the memory limit, 67108864"),
        (Resources(memory_swap=64 * MIB), "needs a memory limit"),
        (Resources(memory=64 * MIB, memory_reservation=65 * MIB), "more than the limit"),
        (Resources(cpu_quota=10), "quota of 10"),
        (Resources(cpu_period=10), "period of 10"),
        (Resources(cpu_shares=1), "shares of 1"),
    ],
)
def test_a_limit_that_cannot_be_is_refused_before_anything_is_made(limits: Resources, message: str) -> None:
    """With what was asked and what the least or most is."""
    with pytest.raises(NBContainersError, match=message):
        HOST.plan(NAME, limits)


def test_a_name_that_is_a_path_is_refused() -> None:
    """A container's name never leads out of our own cgroup."""
    with pytest.raises(NBContainersError, match=r"\.\./x"):
        HOST.plan("../x", Resources())


def test_nothing_is_left_of_a_detection() -> None:
    """Each try is taken back, and a second one finds the same."""
    assert hierarchies.detect() == HOST
    assert not [
        entry for path in HOST.parents.values() for entry in os.listdir(path) if f"trial-{os.getpid()}" in entry
    ]


def interpreter_for(uid: int) -> str:
    for candidate in (sys.executable, "/usr/bin/python3"):
        with contextlib.suppress(PermissionError):  # it lies in somebody's home
            tried = subprocess.run(
                [candidate, "-c", "import nbcontainers.results"],
                user=uid,
                extra_groups=[],
                env={"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
                capture_output=True,
                check=False,
            )
            if tried.returncode == 0:
                return candidate
    return ""


IN_A_SCOPE = """
import json, os, sys
from nbcontainers.linux import groups, hierarchies
from nbcontainers.oci.resources import Resources
scope, uid = sys.argv[1], int(sys.argv[2])
groups.write(f"{scope}/cgroup.procs", "0")
os.setgroups([])
os.setresgid(uid, uid, uid)
os.setresuid(uid, uid, uid)
found = hierarchies.detect()
plan = found.plan("scoped", Resources(memory=1 << 26, pids=5), devices=False)
os.mkdir(plan.into)
for path, text in plan.writes:
    groups.write(path, text)
child = os.fork()
if not child:
    groups.write(f"{plan.into}/cgroup.procs", "0")
    os._exit(7 if open("/proc/self/cgroup").read().strip().endswith("nbcontainers-scoped") else 1)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
found.remove("scoped")
print(json.dumps([plan.into, plan.unenforced, code, groups.read(f"{scope}/cgroup.type")]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make a slice and become somebody else")
@pytest.mark.skipif(HOST.version != "v2", reason="needs cgroup v2 alone: the guest has it")
@pytest.mark.parametrize("uid", [0, 64_000])
def test_in_a_session_limits_hold_beside_it(uid: int) -> None:
    """Whoever works in a scope among his own processes, as under systemd: groups are made beside it, and it stays what it was."""
    python = interpreter_for(uid)
    if not python:
        pytest.skip("needs a Python that other users can run")
    above = f"{HOST.parents['unified']}/{NAME}.slice"
    scope = f"{above}/app.scope"
    os.makedirs(scope)
    try:
        groups.switch_on(above, {}, cgroups.V2)
        for folder in (above, scope):
            for name in (".", "cgroup.procs", "cgroup.subtree_control"):
                os.chown(f"{folder}/{name}", uid, uid)
        done = subprocess.run(
            [python, "-c", IN_A_SCOPE, scope, str(uid)],
            env={"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == [f"{above}/nbcontainers-scoped", [], 7, "domain"]
    finally:
        groups.remove(above)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_who_may_make_no_group_is_told_which_limits_do_not_hold() -> None:
    """An ordinary user without delegation: no version, no directory, and a reason for each limit."""
    python = interpreter_for(64_000)
    if not python:
        pytest.skip("needs a Python that other users can run")
    code = """
import json
from nbcontainers.linux import hierarchies
from nbcontainers.oci.resources import Resources
found = hierarchies.detect()
plan = found.plan("x", Resources(memory=1 << 26, pids=5, cpu_quota=5000), devices=False)
print(json.dumps([found.version, sorted(found.controllers), plan.directories, plan.writes, plan.unenforced, plan.oom_file]))
"""
    done = subprocess.run(
        [python, "-c", code],
        user=64_000,
        extra_groups=[],
        env={"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    version, controllers, directories, writes, unenforced, oom = json.loads(done.stdout)
    assert (version, controllers, directories, writes, oom) == ("none", [], [], [], "")
    assert [line.split(":")[0] for line in unenforced] == ["cpu limit", "memory limit", "process limit"]


def test_weights_that_nothing_heeds_are_told(tmp_path: Path) -> None:
    """The kernel takes a weight for block devices whether or not a scheduler is there that heeds it."""
    queue = tmp_path / "disks/sda/queue"
    queue.mkdir(parents=True)
    (queue / "scheduler").write_text("none [mq-deadline] kyber bfq\n")
    (tmp_path / "qos").write_text("8:0 enable=0 ctrl=auto rpct=0.00\n")
    disks, cost = str(tmp_path / "disks"), str(tmp_path / "qos")
    assert not limits.weights_count(disks, cost)
    (queue / "scheduler").write_text("none mq-deadline kyber [bfq]\n")
    assert limits.weights_count(disks, cost)
    (tmp_path / "qos").write_text("8:0 enable=1 ctrl=auto rpct=0.00\n")
    assert limits.weights_count("/missing", cost)
    assert not limits.weights_count("/missing", "/missing")
    known = Hierarchy(version="v1", controllers=frozenset({"io"}), parents={"io": "/cg"})
    told = [one for one in known.unsupported(Resources(blkio_weight=300)) if one.startswith("block io weight")]
    assert len(told) == (not limits.weights_count())


@needs("memory", "pids", "cpu")
def test_limits_of_a_group_are_changed() -> None:
    """Those that it has are written anew; what needs a group that it has not names it, to be made and joined."""
    with container(Resources(memory=64 * MIB)) as made:
        wanted = Resources(memory=32 * MIB, memory_swap=32 * MIB, pids=9, cpu_quota=50_000, cpu_period=100_000)
        changes = tuple(HOST.change(f"{cgroups.PREFIX}{NAME}", wanted, made.plan.places))
        new = {directory for directory, _ in changes} - set(made.plan.directories)
        assert new <= set(made.plan.places)
        for directory, writes in changes:
            os.makedirs(directory, exist_ok=True)
            for file, text in writes:
                with contextlib.suppress(OSError):  # with memory both orders are tried, see engine.updating
                    groups.write(f"{directory}/{file}", text)
        with HOST.meter(NAME, directories=[*made.plan.places]) as meter:
            usage = meter.sample()
        assert (usage.memory_limit, usage.processes_limit, usage.cpu_limit) == (32 * MIB, 9, 0.5)
        for directory in new:
            groups.remove(directory)

"""Attacks on a container's walls, really done, from inside and by images, under both profiles; docs/sandbox.md lists them.

What a process inside tries by itself is in ``intruder``; here is what takes somebody outside as well: an image that was made
for it, a volume that another changes meanwhile, a command that is entered, a copy.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nbcontainers.engine import Container, Engine
from nbcontainers.errors import BuildError, LaunchError, NBContainersError
from nbcontainers.events import Output
from nbcontainers.linux import seccomp
from nbcontainers.runtime import door
from tests.machine import IS_ADMIN, descriptors, mounts
from tests.waiting import until

from . import intruder

PROFILES = ("docker", "sandbox")
TEXT = Path(intruder.__file__).read_text()
HOST_SOCKET = f"nbcontainers-attack-{os.getpid()}"
NUMBERS = json.dumps(seccomp.numbers(os.uname().machine))
# What only --privileged and no policy let in, by the attack that then gets it: the others do harm where they are let in.
REAL = {
    "mounts": "mount proc: done",
    "sockets_of_the_kernel": "family 38",
    "keys_of_the_host": "add_key",
    "secrets_of_the_kernel": "/sys/firmware",
    "capabilities": "CapEff",
    **({"calls_of_another_machine": "i386"} if os.uname().machine == "x86_64" else {}),
    "namespaces_of_ones_own": "unshare user: done",
}

BUSYBOX = shutil.which("busybox")

Shell = Callable[..., str]
Profiled = Callable[..., Container]


def said(container: Container) -> str:
    """All that it writes until it ends."""
    out: list[bytes] = []
    container.attach(lambda event: out.append(event.data) if isinstance(event, Output) else None)
    return b"".join(out).decode()


@pytest.fixture(params=PROFILES)
def profile(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def answers(engine: Engine) -> Callable[[str], dict[str, str]]:
    """What each attack of the intruder has gained under a profile; all are made in one container."""
    found: dict[str, dict[str, str]] = {}

    def look(profile: str) -> dict[str, str]:
        if profile not in found:
            with socket.socket(socket.AF_UNIX) as host:  # one of the sockets that it looks for
                host.bind("\0" + HOST_SOCKET)
                host.listen()
                env = [f"HOST_SOCKET={HOST_SOCKET}"]
                container = engine.run("toolbox", "python3", "-c", TEXT, NUMBERS, env=env, rm=True, profile=profile)
                text = said(container)
            assert text.startswith("{"), text
            found[profile] = json.loads(text)
        return found[profile]

    return look


@pytest.fixture
def swapping(engine: Engine, profile: str, tmp_path: Path) -> Iterator[tuple[Container, Path]]:
    """A container in whose /v/way, a volume, a folder and a link to a folder of the host change places without end; that folder."""
    victim, volume = tmp_path / "victim", tmp_path / "volume"
    for folder in (victim, volume / "way", volume / "deep"):
        folder.mkdir(parents=True)
    volume.chmod(0o777)
    (victim / "file").write_text("the host's")
    (volume / "way/file").write_text("inside")
    (volume / "link").symlink_to(victim)
    exchange = {"x86_64": 316, "aarch64": 276}[os.uname().machine]
    code = f"""
import ctypes
swap = ctypes.CDLL(None).syscall
print("swapping", flush=True)
while True:
    assert swap({exchange}, -100, b"/v/way", -100, b"/v/link", 2) == 0
"""
    mount = f"{volume}:/v:idmap" if profile == "sandbox" and IS_ADMIN else f"{volume}:/v"
    words = {"output_limit": "1m", "timeout": 300} if profile == "sandbox" else {}
    container = engine.run("toolbox", "python3", "-c", code, volumes=[mount], profile=profile, detach=True, **words)  # type: ignore[arg-type]
    until(lambda: any(b"swapping" in line.data for line in container.logs()))
    yield container, victim
    assert container.state.status == "running"
    container.remove(force=True)


@pytest.mark.parametrize("attack", intruder.ATTACKS)
def test_an_intruder_gains_nothing(answers: Callable[[str], dict[str, str]], attack: str, profile: str) -> None:
    """What is tried from inside is refused, and for the reason that is meant."""
    assert answers(profile)[attack] == ""


def test_the_attacks_are_real(engine: Engine) -> None:
    """Where everything is allowed that this host can allow, they succeed."""
    words = {"privileged": True, "security_opt": ["seccomp=unconfined"], "network": "none"}
    container = engine.run("toolbox", "python3", "-c", TEXT, NUMBERS, *REAL, rm=True, **words)  # type: ignore[arg-type]
    gained = json.loads(said(container))
    missing = {name: gained[name] for name, words in REAL.items() if words not in gained[name]}
    assert missing == {}


def digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_the_engines_program_cannot_be_written_to(engine: Engine, profile: str) -> None:
    """CVE-2019-5736: an image whose command is /proc/self/exe, and one that waits for commands that are entered into it."""
    before = digest(sys.executable)
    write = "import os; os.close(os.open('/proc/self/exe', os.O_WRONLY)); print('written')"
    with contextlib.suppress(LaunchError):
        assert "written" not in said(engine.run("toolbox", "/proc/self/exe", "-c", write, rm=True, profile=profile))
    lurk = """
import os
print("lurking", flush=True)
while True:
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) > 1:
            for path in (f"/proc/{name}/exe", f"/proc/{name}/fd/3", f"/proc/{name}/fd/200", f"/proc/{name}/cwd/escaped"):
                try:
                    os.close(os.open(path, os.O_RDWR | os.O_CREAT))
                    print("opened", path, os.readlink(f"/proc/{name}/exe"), flush=True)
                except OSError:
                    pass
"""
    container = engine.run("toolbox", "python3", "-c", lurk, profile=profile, detach=True, read_only=True)
    until(lambda: any(b"lurking" in line.data for line in container.logs()))
    for _ in range(10):
        assert container.exec("true").attach() == 0
    opened = [line.data.decode() for line in container.logs() if line.data.startswith(b"opened")]
    container.remove(force=True)
    assert opened == []
    assert digest(sys.executable) == before


def test_no_working_directory_lies_outside(engine: Engine, profile: str) -> None:
    """CVE-2024-21626: -w, the image's WORKDIR and that of exec lead to no descriptor of the engine's, by a link neither."""
    here = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    links = " && ".join(f"ln -s /proc/self/fd/{number} /way{number}" for number in range(3, 12))
    engine.build(f"FROM toolbox\nRUN {links}\n", tag="ways")
    with contextlib.suppress(BuildError, LaunchError):  # where it does work, it is a folder inside
        engine.build("FROM ways\nWORKDIR /proc/self/fd/7\nRUN /bin/pwd -P && touch escaped\n", tag="lost")
    running = engine.run("toolbox", "sleep", "600", profile=profile, detach=True)
    try:
        found = []
        for number in range(3, 12):
            for workdir in (f"/proc/self/fd/{number}", f"/way{number}", f"/proc/1/fd/{number}/etc"):
                with contextlib.suppress(LaunchError):
                    said(engine.run("ways", "touch", "escaped", workdir=workdir, rm=True, profile=profile))
                    found.append((workdir, "it ran"))
            with contextlib.suppress(LaunchError):
                running.exec("true", workdir=f"/proc/self/fd/{number}").attach()
                found.append((f"exec {number}", "it was entered"))
        assert found == []
        assert not os.path.exists("/escaped")
    finally:
        os.close(here)
        running.remove(force=True)
        for container in engine.containers(all=True):
            container.remove(force=True)


def test_a_copy_stays_inside_while_links_are_swapped(swapping: tuple[Container, Path], tmp_path: Path) -> None:
    """CVE-2018-15664: ``cp`` out of and into a folder that becomes a link to the host's, again and again."""
    container, victim = swapping
    (tmp_path / "sent").write_text("sent")
    read: set[str] = set()
    for number in range(100):
        with contextlib.suppress(NBContainersError):
            container.fetch("/v/way/file", str(tmp_path / "got"), follow=number % 2 == 0)
            read.add((tmp_path / "got").read_text())
        with contextlib.suppress(NBContainersError):
            container.bring(str(tmp_path / "sent"), f"/v/way/new{number}")
        if number >= 10 and read:
            break
    assert read == {"inside"}
    assert sorted(os.listdir(victim)) == ["file"]


def test_a_mount_stays_inside_while_links_are_swapped(
    engine: Engine, swapping: tuple[Container, Path], profile: str, tmp_path: Path
) -> None:
    """CVE-2021-30465 and -2025-31133: another container changes the way to the place of a mount while it is mounted."""
    _, victim = swapping
    (tmp_path / "source").mkdir()
    idmap = ":idmap" if profile == "sandbox" and IS_ADMIN else ""
    volumes = [
        f"{tmp_path}/volume:/v{idmap}",
        f"{tmp_path}/source:/v/way/place{idmap}",
        f"{tmp_path}/source:/v/way{idmap}",
    ]
    before, seen = mounts(), []
    for number in range(10):
        with contextlib.suppress(NBContainersError):
            script = "cat /v/way/file /v/link/file 2>/dev/null; true"
            words = {"volumes": volumes[: 2 + number % 2], "profile": profile, "rm": True}
            seen.append(said(engine.run("toolbox", "sh", "-c", script, **words)))  # type: ignore[arg-type]
    assert not [text for text in seen if "host" in text]
    assert sorted(os.listdir(victim)) == ["file"]
    until(lambda: mounts() <= before)


@pytest.mark.parametrize("place", ["/proc/sys", "/proc/self/attr", "/proc/1", "/proc/bus/x/..", "/way/attr"])
def test_nothing_is_mounted_on_files_of_proc(engine: Engine, tmp_path: Path, profile: str, place: str) -> None:
    """CVE-2019-16884 and -2025-52881: else a volume would get what confines a program, or lead the writes of kernel parameters
    elsewhere; by a VOLUME of an image and by a link on the way neither.
    """
    (tmp_path / "net/ipv4").mkdir(parents=True)
    for name in ("ping_group_range", "ip_unprivileged_port_start"):
        (tmp_path / "net/ipv4" / name).symlink_to("../../../sysrq-trigger")
    engine.build(f"FROM toolbox\nRUN ln -s /proc/self /way\nVOLUME {place}\n", tag="covers")
    engine.build("FROM toolbox\nRUN ln -s /proc/self /way\n", tag="leads")
    with pytest.raises(LaunchError, match="of /proc only cpuinfo, diskstats"):
        engine.run("covers", "true", profile=profile, rm=True)
    with pytest.raises(LaunchError, match="of /proc only cpuinfo, diskstats"):
        engine.run("leads", "true", profile=profile, volumes=[f"{tmp_path}:{place}"], rm=True)
    for container in engine.containers(all=True):
        container.remove(force=True)


def test_files_of_proc_that_lxcfs_covers_can_be(shell: Shell, tmp_path: Path, profile: str) -> None:
    """/proc/cpuinfo and its like say nothing that anybody is confined by."""
    (tmp_path / "cpus").write_text("one\n")
    tmp_path.chmod(0o755)
    volumes = [f"{tmp_path}/cpus:/proc/{name}:ro" for name in ("cpuinfo", "meminfo")]
    assert shell("cat /proc/cpuinfo /proc/meminfo", volumes=volumes, profile=profile) == "one\none\n"


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("/dev/null", "not the character device 1:3"),
        ("/dev", "/dev/null"),
        ("/dev/pts", "ptmx"),
    ],
)
def test_devices_and_terminals_are_the_kernels(
    engine: Engine, tmp_path: Path, profile: str, place: str, words: str
) -> None:
    """CVE-2025-31133 and -2025-52565: a volume with a /dev/null or a ptmx of its own masks nothing and is no terminal."""
    source = tmp_path / "null" if place == "/dev/null" else tmp_path / "folder"
    source.touch() if place == "/dev/null" else source.mkdir()
    if place == "/dev/pts":
        (source / "0").symlink_to("/proc/sys/kernel/core_pattern")
    with pytest.raises(LaunchError, match=words):
        engine.run("toolbox", "true", profile=profile, volumes=[f"{source}:{place}"], tty=place == "/dev/pts", rm=True)
    for container in engine.containers(all=True):
        container.remove(force=True)


@pytest.mark.skipif(not BUSYBOX, reason="busybox is not installed")
def test_folders_of_an_image_that_lead_elsewhere_are_not_followed(engine: Engine, tmp_path: Path, profile: str) -> None:
    """CVE-2026-41579: /dev, /sys and /etc of an image are links to a folder of the host's; nothing comes to be there."""
    context, victim = tmp_path / "context", tmp_path / "victim"
    (context / "bin").mkdir(parents=True)
    victim.mkdir()
    victim.chmod(0o777)
    shutil.copy(str(BUSYBOX), context / "bin/busybox")
    (context / "bin/sh").symlink_to("busybox")
    for name in ("dev", "sys", "etc"):
        (context / name).symlink_to(victim)
    engine.build("FROM scratch\nCOPY . /\n", context=context, tag="odd")
    with contextlib.suppress(LaunchError):
        assert said(engine.run("odd", "sh", "-c", f"echo {victim}/*", profile=profile, rm=True)) != ""
    assert os.listdir(victim) == []
    for container in engine.containers(all=True):
        container.remove(force=True)


def test_a_signal_to_all_ends_the_container_only(engine: Engine, profile: str) -> None:
    """``kill -9 -1`` inside reaches no process of the host, though the host's root may be who sends it."""
    with subprocess.Popen(["sleep", "600"]) as victim, contextlib.ExitStack() as last:
        last.callback(victim.kill)
        code = "import os; os.kill(-1, 9)"
        container = engine.run(
            "toolbox", "sh", "-c", f"sleep 99 & python3 -c '{code}'; echo end", rm=True, profile=profile
        )
        said(container)
        assert victim.poll() is None


def test_folders_in_each_other_stop_nobody(engine: Engine) -> None:
    """As many as a path can have are seen, copied, committed and removed; more spoil what is asked of their own container alone."""
    code = "import os\nfor _ in range({}):\n    os.mkdir('d')\n    os.chdir('d')"
    deep = engine.run("toolbox", "python3", "-c", code.format(1100), workdir="/tmp", network="none")
    deeper = engine.run("toolbox", "python3", "-c", code.format(6200), workdir="/tmp", network="none")
    assert (deep.wait(), deeper.wait()) == (0, 0)
    assert len(deep.changes()) == 1101
    with open("/dev/null", "wb") as stream:
        deep.fetch("/tmp/d", stream)
    image = engine.commit(deep, "deep")
    assert engine.run("deep", "rm", "-r", "/tmp/d", rm=True, network="none").wait() == 0
    assert {state.id for state, _ in engine.sizes()} >= {deep.id, deeper.id}
    with pytest.raises(NBContainersError, match="deeper than can be walked|more than 4095 bytes|file descriptors"):
        engine.commit(deeper, "deeper")
    for container in (deep, deeper):
        container.remove()
    engine.remove_image(str(image.id))
    assert engine.check().faults == ()


def test_nobody_else_can_speak_to_the_engine(engine: Engine, profile: str) -> None:
    """Its sockets are files that only their user reaches, in a folder that only he enters; none is abstract or of a network."""
    container = engine.run("toolbox", "sleep", "600", profile=profile, detach=True)
    try:
        state = json.loads((engine.store.root / "containers" / container.id / "state.json").read_text())
        numbers = {leads[8:-1] for leads in descriptors(state["runtime"]["shim"]) if leads.startswith("socket:[")}
        rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
        names = [row[7] for row in rows if row[6] in numbers and len(row) > 7]
        assert names
        for bound in names:
            assert bound.startswith("/")
            name = bound.removesuffix(door.NEW) + door.OPEN  # it was renamed since
            assert os.stat(name).st_mode & 0o777 == 0o600
            assert os.stat(Path(name).parent).st_mode & 0o777 == 0o700
        for family in ("tcp", "tcp6", "udp", "udp6"):
            text = Path(f"/proc/net/{family}").read_text()
            assert not [row for row in text.splitlines()[1:] if row.split()[9] in numbers]
    finally:
        container.remove(force=True)

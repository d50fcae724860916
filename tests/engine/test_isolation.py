"""Namespaces that are shared, devices, kernel parameters, security options and privileged containers, for real."""

from __future__ import annotations

import json
import os
import socket
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nbcontainers.engine import Engine, security
from nbcontainers.errors import Conflict, HostError, LaunchError, NBContainersError, NotFound
from nbcontainers.runtime import host as hosts
from tests.machine import IS_ADMIN

Shell = Callable[..., str]
needs_root = pytest.mark.skipif(
    not IS_ADMIN, reason="needs root with CAP_SYS_ADMIN, who shares namespaces and makes devices"
)


@pytest.fixture(autouse=True)
def clean(engine: Engine) -> Iterator[None]:
    yield
    for container in engine.containers(all=True):
        container.remove(force=True)


def test_ipc_is_private_unless_it_is_asked_for(engine: Engine, shell: Shell) -> None:
    """``none`` has no /dev/shm; ``host`` sees the host's; the default sees neither the host nor others."""
    name = f"nbc-{os.getpid()}"
    place = Path("/dev/shm") / name
    place.write_text("host")
    try:
        assert shell(f"cat /dev/shm/{name}", ipc="host") == "host"
        assert shell(f"ls /dev/shm; ls -d /dev/shm/{name} 2>&1 || true").startswith("ls:")
    finally:
        place.unlink()
    assert "No such file" in shell("ls -d /dev/shm 2>&1 || true", ipc="none")
    own = os.readlink("/proc/self/ns/ipc")
    assert shell("readlink /proc/self/ns/ipc", ipc="host").strip() == own
    assert shell("readlink /proc/self/ns/ipc").strip() != own


@pytest.mark.parametrize(("size", "kilobytes"), [("1m", 1024), ("0", 65536), (0, 65536), (1, 4), (5000, 8)])
def test_shared_memory_has_a_size(shell: Shell, size: int | str, kilobytes: int) -> None:
    """As large as it was asked for, in whole pages; 0 stands for Docker's 64 MiB, and nothing for no bound."""
    assert shell("df -k /dev/shm | tail -n 1", shm_size=size).split()[1] == str(kilobytes)


def test_the_name_of_the_host_is_shared(engine: Engine, shell: Shell) -> None:
    """``--uts host`` has the host's name; another one besides is a contradiction.

    Its files, and whoever shares its network, know it by its number, as in Docker; on the host's network by the host's name.
    """
    assert shell("cat /proc/sys/kernel/hostname", uts="host").strip() == socket.gethostname()
    words = {"network": "none", "uts": "host"}
    container = engine.run("toolbox", "sleep", "600", detach=True, **words)
    own, address, number = shell("cat /etc/hostname; tail -n 1 /etc/hosts; printenv HOSTNAME", **words).splitlines()
    assert (own, address) == (number, f"127.0.0.1\t{number}")
    assert container.inspect()["Config"]["Hostname"] == container.id[:12]
    other = {"network": f"container:{container.id}"}
    assert shell("cat /proc/sys/kernel/hostname", **other).strip() == container.id[:12]
    container.remove(force=True)
    assert shell("cat /etc/hostname", uts="host", network="host").strip() == socket.gethostname()
    with pytest.raises(NBContainersError, match="--hostname and --uts host"):
        engine.create("toolbox", "true", uts="host", hostname="x")
    with pytest.raises(NBContainersError, match="--domainname and --uts host"):
        engine.create("toolbox", "true", uts="host", domainname="x")


def test_ipc_of_another_container_is_shared_if_it_lets(engine: Engine, shell: Shell) -> None:
    """A ``shareable`` container's memory and namespace; others, and those that do not run, are named in the error."""
    shared = engine.run("toolbox", "sleep", "600", ipc="shareable")
    closed = engine.run("toolbox", "sleep", "600")
    shell("echo hello > /dev/shm/x", ipc=f"container:{shared.name}")
    assert shell("cat /dev/shm/x", ipc=f"container:{shared.id[:12]}") == "hello\n"
    inside = os.readlink(f"/proc/{shared.state.pid}/ns/ipc")
    assert shell("readlink /proc/self/ns/ipc", ipc=f"container:{shared.name}").strip() == inside
    with pytest.raises(Conflict, match="does not share its IPC"):
        engine.run("toolbox", "true", ipc=f"container:{closed.name}")
    shared.kill()
    shared.wait()
    with pytest.raises(Conflict, match="does not run"):
        engine.run("toolbox", "true", ipc=f"container:{shared.name}")
    with pytest.raises(NotFound, match="no such container"):
        engine.create("toolbox", "true", ipc="container:nobody")


def test_processes_of_another_container_are_seen(engine: Engine, shell: Shell) -> None:
    """``--pid container:`` joins its process namespace: there pid 1 is the other's; with a single id, without a supervisor."""
    other = engine.run("toolbox", "sleep", "610")
    options: dict[str, object] = {"pid": f"container:{other.name}"}
    if engine.host().tier in ("T2", "T3"):
        with pytest.raises(HostError, match="the supervisor of this container's identities"):
            engine.create("toolbox", "true", **options)  # type: ignore[arg-type]
        options["security_opt"] = ["identity=off"]
    for init in (False, True):  # which could not be process 1
        said = shell("tr '\\0' ' ' < /proc/1/cmdline; echo $PPID", init=init, **options)
        assert said.split() == ["sleep", "610", "0"]
    assert other.state.status == "running"


def test_one_user_namespace_is_lived_in_without_privilege(engine: Engine, shell: Shell) -> None:
    """Who shares another's IPC has users and networks all the same, as far as both are in one; else the error says why."""
    if engine.host().tier == "T0":
        pytest.skip("needs an ordinary user: root shares what it likes")
    other = engine.run("toolbox", "sleep", "600", ipc="shareable", network="none")
    shared: dict[str, object] = {"ipc": f"container:{other.name}", "network": "none"}
    script = "readlink /proc/self/ns/user; touch /dev/shm/f; chown 5:6 /dev/shm/f; stat -c %u:%g /dev/shm/f"
    assert shell(script, **shared).split() == [os.readlink(f"/proc/{other.state.pid}/ns/user"), "5:6"]
    assert shell("id -u", user="7", **shared).strip() == "7"
    assert shell("cat /proc/net/dev | wc -l", **{**shared, "network": f"container:{other.name}"})
    if hosts.probe().allows("container networks"):
        with pytest.raises(Conflict, match="to which it does not belong"):
            engine.run("toolbox", "true", ipc=f"container:{other.name}", network="bridge")


@needs_root
def test_processes_of_the_host_are_seen_and_none_is_left(engine: Engine, shell: Shell) -> None:
    """``--pid host``: without a namespace of its own what a container leaves behind is ended by its cgroup."""
    told = shell("sleep 62 > /dev/null 2>&1 & echo $! $$", pid="host").split()
    assert int(told[1]) > 1
    try:
        status = Path(f"/proc/{told[0]}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return
    assert status[0] == "Z"  # its new parent has not looked yet


@pytest.mark.skipif(os.geteuid() == 0, reason="root has no user namespace to share or not")
@pytest.mark.parametrize(
    ("words", "message"),
    [({"pid": "host"}, "--pid host"), ({"ipc": "container:x"}, "x"), ({"userns": "host"}, "--userns host")],
)
def test_what_needs_privilege_is_refused_with_the_reason(engine: Engine, words: dict[str, str], message: str) -> None:
    """Without privilege a container is in a user namespace, which keeps it from those of others."""
    with pytest.raises((HostError, NotFound), match=message):
        engine.create("toolbox", "true", **words)  # type: ignore[arg-type]


@pytest.mark.parametrize("words", [{"ipc": "x"}, {"pid": "private"}, {"uts": "x"}, {"cgroupns": "x"}, {"userns": "x"}])
def test_modes_that_are_none_are_refused(engine: Engine, words: dict[str, str]) -> None:
    """The hint lists those that there are."""
    with pytest.raises(NBContainersError, match="invalid --") as caught:
        engine.create("toolbox", "true", **words)  # type: ignore[arg-type]
    assert "wanted" in caught.value.hint


def test_kernel_parameters_are_the_containers_own(engine: Engine, shell: Shell) -> None:
    """Those of its namespaces are set, with dots or slashes; the host's are refused, and those of what is shared."""
    before = Path("/proc/sys/kernel/msgmax").read_text()
    words = ["kernel.msgmax=9000", "net/ipv4/ip_default_ttl=77"]
    assert shell("cat /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_default_ttl", sysctl=words) == "9000\n77\n"
    assert Path("/proc/sys/kernel/msgmax").read_text() == before
    for word, options in (
        ("vm.swappiness=1", {}),
        ("kernel.hostname=x", {}),
        ("net.ipv4.ip_default_ttl=1", {"network": "host"}),
        ("kernel.msgmax=1", {"ipc": "host"}),
    ):
        with pytest.raises(NBContainersError, match="kernel parameter") as caught:
            engine.create("toolbox", "true", sysctl=[word], **options)  # type: ignore[arg-type]
        assert caught.value.hint
    for word, said, hint in (
        ("net.ipv4.nosuch=1", "No such file or directory: 'net.ipv4.nosuch=1'", "shows those that there are"),
        ("net.ipv4.ip_forward=abc", "Invalid argument: 'net.ipv4.ip_forward=abc'", "which values"),
    ):
        with pytest.raises(LaunchError, match=f"sysctl: {said}") as refused:
            engine.run("toolbox", "true", sysctl=[word])
        assert hint in refused.value.hint


@pytest.mark.parametrize("word", ["hostname", "domainname"])
@pytest.mark.parametrize("name", ["x" * 65, "ü" * 33, "two words", "two\nlines"])
def test_names_that_a_host_cannot_have_are_refused(engine: Engine, word: str, name: str) -> None:
    """More bytes than the kernel takes, and what would be two words in the hosts file; nothing is made then."""
    with pytest.raises(NBContainersError, match=f"not a {word}") as caught:
        engine.create("toolbox", "true", **{word: name})  # type: ignore[arg-type]
    assert "at most 64 bytes" in caught.value.hint
    assert engine.containers(all=True) == ()


def test_a_program_is_told_the_name_of_its_host(engine: Engine, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """HOSTNAME is the container's own name, that of the host or of the container whose network it has; unless the caller says.

    ``--uts host`` alone changes nothing in it, as in Docker.
    """
    monkeypatch.delenv("HOSTNAME", raising=False)
    script = "printenv HOSTNAME; uname -n; cat /etc/hostname"
    here = f"{os.uname().nodename}\n"
    other = engine.run("toolbox", "sleep", "600", network="none", hostname="one")
    assert shell(script, network="none", hostname="web") == "web\n" * 3
    assert shell(script, network="host") == here * 3
    assert shell("printenv HOSTNAME", network="host", uts="host") == here
    container = engine.create("toolbox", "true", network="none", uts="host")
    assert f"HOSTNAME={container.id[:12]}" in container.spec.process.env
    assert shell(script, network="host", hostname="web") == "web\n" * 3
    assert shell(script, network=f"container:{other.id}") == "one\n" * 3
    assert shell("printenv HOSTNAME", network="none", hostname="web", env=["HOSTNAME=x"]) == "x\n"
    assert shell("! printenv HOSTNAME", network="none", hostname="web", env=["HOSTNAME"]) == ""
    said: list[bytes] = []
    ran = other.exec("printenv", "HOSTNAME").attach(lambda event: said.append(getattr(event, "data", b"")))
    assert (ran, b"".join(said)) == (0, b"one\n")
    assert "HOSTNAME" not in str(other.inspect()["Config"]["Env"])


def test_a_working_directory_is_made(engine: Engine, shell: Shell) -> None:
    """Where it is missing it is root's, as with docker run; for a RUN it is its user's, as with BuildKit."""
    script = "pwd; stat -c '%u:%g %a' . .."
    assert shell(script, workdir="/new/folder", user="1000:50") == "/new/folder\n0:0 755\n0:0 755\n"
    engine.commit(engine.create("toolbox", "true"), "placed", changes=["WORKDIR /new/folder", "USER 1000:50"])
    built = engine.build(f"FROM placed\nRUN ({script}) > said\n")
    assert shell("cat said", image=str(built.image.id)) == "/new/folder\n1000:50 755\n1000:50 755\n"
    engine.build("FROM toolbox\nRUN ln -s ../not/there /way\n", tag="way")
    assert shell("pwd -P; ls /not", image="way", workdir="/way/on") == "/not/there/on\nthere\n"
    for path, said in (("/etc/passwd", "Not a directory: '/etc/passwd'"), ("/etc/passwd/x", "Not a directory")):
        with pytest.raises(LaunchError, match=f"working directory: {said}"):
            engine.run("toolbox", "true", workdir=path)
    with pytest.raises(NBContainersError, match="not an absolute path: 'a/b'"):
        engine.create("toolbox", "true", workdir="a/b")


@needs_root
def test_a_device_is_there_with_the_access_that_was_given(shell: Shell) -> None:
    """The node is made with the host's numbers, and the rule lets it be used as far as it says."""
    if not Path("/dev/loop-control").exists():
        pytest.skip("this host has no /dev/loop-control")
    script = "(exec 3</dev/x) && echo read; (exec 3>>/dev/x) 2>/dev/null && echo write; true"
    assert shell(script, device=["/dev/loop-control:/dev/x:r"]) == "read\n"
    assert shell(script, device=["/dev/loop-control:/dev/x"]) == "read\nwrite\n"
    own = "mknod /dev/x c 10 237; (exec 3</dev/x) 2>/dev/null && echo read; true"
    assert shell(own) == ""
    assert shell(own, device_cgroup_rule=["c 10:* r"]) == "read\n"
    assert "/dev/deep/x" in shell("ls /dev/deep/x", device=["/dev/loop-control:/dev/deep/x"])


def test_what_a_container_has_of_its_own_it_keeps(shell: Shell) -> None:
    """``--device /dev/ptmx`` and the standard streams, as in Docker: those of the host would be of no use there."""
    words = ["/dev/ptmx", "/dev/console"] if Path("/dev/console").exists() else ["/dev/ptmx"]
    assert shell("readlink /dev/ptmx", device=words) == "pts/ptmx\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root makes the node")
def test_a_device_is_bound_without_privilege(engine: Engine, shell: Shell) -> None:
    """The host's own node with the host's permissions; what rules would have to hold is refused."""
    assert shell("head -c 3 /dev/x | wc -c", device=["/dev/zero:/dev/x"]) == "3\n"
    with pytest.raises(NBContainersError, match="no device rules"):
        engine.create("toolbox", "true", device=["/dev/zero:/dev/x:r"])


@pytest.mark.parametrize("word", ["/etc/passwd", "/dev/none", "null", "/dev/null:/dev/x:rr", "/dev/null:/dev/x:/y:r"])
def test_devices_that_are_none_are_refused(engine: Engine, word: str) -> None:
    """With a hint that says how to write one."""
    with pytest.raises(NBContainersError) as caught:
        engine.create("toolbox", "true", device=[word])
    assert caught.value.hint


@pytest.mark.parametrize("word", ["c 1:3", "x 1:3 rwm", "c 1:x r", "c 1:3 rwmx", "c 1 r"])
def test_device_rules_that_are_none_are_refused(engine: Engine, word: str) -> None:
    """As Docker's, which takes TYPE MAJOR:MINOR ACCESS."""
    with pytest.raises(NBContainersError, match="invalid device cgroup rule"):
        engine.create("toolbox", "true", device_cgroup_rule=[word])


def test_a_profile_of_ones_own_filters(engine: Engine, shell: Shell, tmp_path: Path) -> None:
    """``seccomp=FILE`` takes Docker's format; one that is malformed is refused before anything is made."""
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {
                "names": ["mkdir", "mkdirat"],
                "action": "SCMP_ACT_ERRNO",
                "errnoRet": 95,
                "includes": {"caps": ["CAP_KILL"]},
            },
            {"names": ["rmdir"], "action": "SCMP_ACT_ERRNO", "excludes": {"caps": ["CAP_KILL"]}},
        ],
    }
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(profile))
    script = "mkdir /x 2>&1 || true; grep Seccomp: /proc/self/status"
    found = shell(script, security_opt=[f"seccomp={path}"])
    assert "Operation not supported" in found
    assert found.split()[-1] == "2"
    assert shell(script, security_opt=[f"seccomp={path}"], cap_drop=["KILL"]).split() == ["Seccomp:", "2"]
    assert shell(script, security_opt=["seccomp=unconfined", "identity=off"]).split() == ["Seccomp:", "0"]
    path.write_text('{"defaultAction": "SCMP_ACT_MAYBE"}')
    for word in (f"seccomp={path}", "seccomp=/nowhere", "seccomp=/etc/passwd"):
        with pytest.raises(NBContainersError):
            engine.create("toolbox", "true", security_opt=[word])


def test_security_options_are_read(shell: Shell) -> None:
    """no-new-privileges, system paths and cgroups that can be written to; AppArmor and labels where they are not are refused."""
    assert shell("grep NoNewPrivs /proc/self/status", security_opt=["no-new-privileges"]).split()[-1] == "1"
    assert shell("grep NoNewPrivs /proc/self/status", security_opt=["no-new-privileges=false"]).split()[-1] == "0"
    masked = "grep -c ' /proc/[a-z]' /proc/self/mounts || true"
    assert int(shell(masked)) > 3
    assert int(shell(masked, security_opt=["systempaths=unconfined"])) == 0
    for word in ("apparmor=docker-default", "label=type:x", "colour=red", "seccomp", "no-new-privileges=perhaps"):
        with pytest.raises(NBContainersError, match="security option"):
            security.read([word])
    security.read(["apparmor=unconfined", "writable-cgroups"])


def test_a_socket_tells_who_is_at_its_other_end(shell: Shell) -> None:
    """SO_PEERCRED, as PostgreSQL and D-Bus ask it: the ids that the other has taken on, whoever keeps them."""
    code = """
import os, socket, struct
listening = socket.socket(socket.AF_UNIX)
listening.bind("/tmp/s"); os.chmod("/tmp/s", 0o777); listening.listen()
if not (pid := os.fork()):
    os.setgid(6); os.setuid(5)
    one = socket.socket(socket.AF_UNIX); one.connect("/tmp/s"); one.recv(1)
    os._exit(0)
who = lambda one: struct.unpack("iII", one.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
print(who(listening.accept()[0]) == (pid, 5, 6), who(socket.socketpair()[0]) == (os.getpid(), 0, 0))
"""
    assert shell(f"python3 -c '{code}'") == "True True\n"


def test_a_socket_is_bound_by_the_name_that_it_is_given(shell: Shell) -> None:
    """By a path, relative or not, or by none; who makes it, his group and his umask are seen of it, and who comes finds it."""
    code = """
import os, socket
def bound(name):
    one = socket.socket(socket.AF_UNIX); one.bind(name); one.listen()
    other = socket.socket(socket.AF_UNIX); other.connect(one.getsockname())
    return one.getsockname()
def seen(name): return (lambda s: (s.st_uid, s.st_gid, oct(s.st_mode)))(os.lstat(name))
os.mkdir("/d"); os.chown("/d", 0, 7); os.chmod("/d", 0o2777); os.chdir("/d"); os.umask(0o27)
print(bound("a"), bound("../d/b"), bound("/d/c"), bound(b"\\0d"), bound("e" * 107) == "e" * 107, len(bound("")) > 2)
print({seen(name) for name in os.listdir()})
try: bound("a")
except OSError as error: print(error.errno)
os.setgid(6); os.setuid(5); bound("f"); bound("/tmp/f"); print(seen("f"), seen("/tmp/f")); os.chown("/tmp/f", 5, 6)
"""
    assert shell(f"python3 -c '{code}'").splitlines() == [
        "a ../d/b /d/c b'\\x00d' True True",
        "{(0, 7, '0o140750')}",
        "98",
        "(5, 7, '0o140750') (5, 6, '0o140750')",
    ]


def test_identities_can_be_left_alone(engine: Engine, shell: Shell) -> None:
    """With ``identity=off`` nobody answers for users whom the host does not give."""
    script = "touch /f; chown 5 /f 2>/dev/null && stat -c %u /f || echo refused"
    assert shell(script) == "5\n"
    wanted = "refused\n" if engine.host().tier in {"T2", "T3"} else "5\n"
    assert shell(script, security_opt=["identity=off"]) == wanted


def test_a_privileged_container_has_what_this_process_has(engine: Engine, shell: Shell) -> None:
    """No filter, no masks, every capability that there is to give; what is missing is said."""
    found = shell(
        "grep -e Seccomp: -e CapEff /proc/self/status; mount -t tmpfs x /mnt && echo mounted",
        privileged=True,
        security_opt=["identity=off"],
    )
    assert found.split()[3] == "0"
    assert "mounted" in found
    container = engine.run("toolbox", "true", privileged=True)
    container.wait()
    notes = " ".join(container.state.not_enforced)
    if os.geteuid():
        assert "no devices of the host" in notes
    elif "CAP_SYS_RESOURCE" not in engine._host.capabilities:
        assert "CAP_SYS_RESOURCE" in notes
    if os.geteuid() == 0 and Path("/dev/loop-control").exists():
        assert shell(
            "(exec 3</dev/loop-control) && echo opened; touch /proc/sys/kernel/msgmax && echo writable", privileged=True
        )


def test_whoever_is_not_named_has_the_groups_of_root(engine: Engine, shell: Shell) -> None:
    """As in Docker: who gave no user is root, with the groups whose lines in the image list him."""
    engine.build("FROM toolbox\nRUN echo adm:x:4:daemon,root >> /etc/group", tag="grouped")
    assert shell("id -G", image="grouped").split() == ["0", "4"]


def test_groups_and_a_domain(engine: Engine, shell: Shell) -> None:
    """Further groups by number or name, and the NIS domain; where nobody answers for identities no groups can be had."""
    assert shell("cat /proc/sys/kernel/domainname", domainname="example.org") == "example.org\n"
    assert shell("id -G", group_add=["29", "root"]).split() == ["0", "29"]
    if engine.host().tier == "T2":
        with pytest.raises(LaunchError, match="additional groups"):
            engine.run("toolbox", "true", group_add=["29"], security_opt=["identity=off"])


def test_inspect_shows_what_was_asked_for(engine: Engine) -> None:
    """By Docker's keys."""
    words = {"ipc": "shareable", "shm_size": "1m", "annotation": {"a": "b"}, "security_opt": ["no-new-privileges"]}
    host = engine.create("toolbox", "true", memory="64m", cpu_shares=100, cap_add=["NET_ADMIN"], **words).inspect()[
        "HostConfig"
    ]
    assert (host["IpcMode"], host["ShmSize"], host["Annotations"]) == ("shareable", 1 << 20, {"a": "b"})
    assert (host["Memory"], host["CpuShares"], host["CapAdd"]) == (64 << 20, 100, ["CAP_NET_ADMIN"])
    assert host["SecurityOpt"] == ["no-new-privileges"]
    words = {"expose": ["91/udp"], "volumes": ["/own"], "ulimit": ["nofile=100:200", "core=0"], "health_cmd": "true"}
    found = engine.create("toolbox", "true", **words).inspect()
    assert found["HostConfig"]["Ulimits"] == [
        {"Name": "nofile", "Hard": 200, "Soft": 100},
        {"Name": "core", "Hard": 0, "Soft": 0},
    ]
    assert (found["Config"]["ExposedPorts"], found["Config"]["Volumes"]) == ({"91/udp": {}}, {"/own": {}})
    assert found["Config"]["Healthcheck"]["Test"] == ["CMD-SHELL", "true"]


def test_capabilities_are_given_and_taken(shell: Shell) -> None:
    """``--cap-add`` and ``--cap-drop``, as the kernel shows them."""
    masks = [
        int(shell("grep CapEff /proc/self/status", **words).split()[-1], 16)
        for words in ({}, {"cap_add": ["NET_ADMIN"]}, {"cap_drop": ["ALL"]}, {"cap_drop": ["ALL"], "cap_add": ["KILL"]})
    ]
    assert [mask - masks[0] for mask in masks[:2]] == [0, 1 << 12]
    assert masks[2:] == [0, 1 << 5]


def test_the_cgroup_namespace_is_private_unless_it_is_asked_for(shell: Shell) -> None:
    """``--cgroupns host`` sees the host's tree of groups."""
    own = os.readlink("/proc/self/ns/cgroup")
    assert shell("readlink /proc/self/ns/cgroup", cgroupns="host").strip() == own
    assert shell("readlink /proc/self/ns/cgroup").strip() != own


def test_an_image_for_another_platform_is_refused(engine: Engine) -> None:
    """``--platform`` names what the image must be for."""
    image = engine.image("toolbox")
    own = image.config.platform
    engine.create(image, "true", platform=f"linux/{own.architecture}")
    engine.create(image, "true", platform=own.architecture)
    with pytest.raises(NBContainersError, match="linux/s390x was asked for"):
        engine.create(image, "true", platform="linux/s390x")


def test_a_descriptor_that_is_not_open_is_none_on_every_tier(shell: Shell) -> None:
    """Whoever answers the call: EBADF, as the kernel says it, of a file and of a folder that paths begin from."""
    code = """
        import errno, os
        for call in (
            lambda: os.fchmod(99, 0o644), lambda: os.fchmod(-1, 0o644), lambda: os.fchown(99, 1, 1), lambda: os.fstat(99),
            lambda: os.chown("x", 1, 1, dir_fd=99), lambda: os.chmod("x", 0o644, dir_fd=99), lambda: os.stat("x", dir_fd=99),
        ):
            try:
                call()
            except OSError as error:
                print(errno.errorcode[error.errno])
    """
    assert shell(f"python3 -c '{textwrap.dedent(code)}'").split() == ["EBADF"] * 7

"""What a container's first process is: who, with what rights and limits, where, and how it fails to be."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from nbcontainers.errors import LaunchError
from nbcontainers.linux import capabilities
from nbcontainers.oci.runtime import Resources, Rlimit
from nbcontainers.runtime import launch
from nbcontainers.runtime.host import Host

from .conftest import Box


@pytest.fixture
def needs_identities(host: Host) -> None:
    """Skip where only root can be."""
    if not host.identity.holds(1000, 100):
        pytest.skip(f"tier {host.tier} maps no id but root's")


def status(box: Box, **words: object) -> dict[str, str]:
    """The lines of /proc/self/status of a process in a container."""
    lines = box.run("cat", "/proc/self/status", **words)[1].splitlines()
    return {line.split(":")[0]: line.split(":")[1].strip() for line in lines}


def test_it_is_pid_1_and_root(box: Box) -> None:
    """The command itself is the first process, and its user is root."""
    assert box.shell("echo $$; id -u; id -g").split() == ["1", "0", "0"]


def test_it_has_docker_capabilities_and_no_other(box: Box) -> None:
    """Bounding, permitted and effective sets are Docker's, as far as the host can give them; the others are empty."""
    lines = status(box)
    wanted = f"{capabilities.mask(capabilities.DOCKER & box.host.capabilities):016x}"
    assert [lines[name] for name in ("CapBnd", "CapPrm", "CapEff")] == [wanted] * 3
    assert [lines[name] for name in ("CapInh", "CapAmb")] == ["0" * 16] * 2
    if box.host.tier == "T0" and box.host.guards_devices():
        assert wanted == "00000000a80425fb"


def test_it_has_the_capabilities_that_were_asked_for(box: Box) -> None:
    """No capability at all is possible, too."""
    assert status(box, capabilities=frozenset())["CapBnd"] == "0" * 16
    assert status(box, capabilities={"CAP_CHOWN"})["CapEff"] == "0" * 15 + "1"


def test_the_policy_of_system_calls_is_on(box: Box) -> None:
    """A filter is installed, with and without no_new_privs, and it refuses."""
    assert status(box)["Seccomp"] == "2"
    assert status(box)["NoNewPrivs"] == "0"
    lines = status(box, no_new_privileges=True)
    assert (lines["Seccomp"], lines["NoNewPrivs"]) == ("2", "1")
    code, _, err = box.run("unshare", "-m", "true")
    assert code != 0
    assert "Operation not permitted" in err


def test_a_user_is_looked_up_inside(box: Box, needs_identities: None) -> None:
    """Ids, groups and HOME come from the image's files; the capabilities are bounded and none is held."""
    out = box.shell("id; echo $HOME; grep -e CapEff -e CapBnd /proc/self/status; echo again > /dev/stdout", user="ann")
    assert "uid=1000(ann) gid=100(users) groups=" in out
    assert "29(audio)" in out
    assert "/home/ann" in out
    assert f"CapEff:\t{0:016x}" in out
    assert f"CapBnd:\t{0:016x}" not in out
    assert "again" in out


def test_a_user_that_is_nobody_stops_the_start(box: Box) -> None:
    """The error says whom it sought."""
    with pytest.raises(LaunchError, match="unable to find user bob") as caught:
        box.start("true", user="bob")
    assert caught.value.exit_code == 125


def test_home_is_what_was_asked_for(box: Box) -> None:
    """HOME from the environment stays; else it is passwd's."""
    assert box.shell("echo $HOME") == "/root\n"
    assert box.shell("echo $HOME", env=["HOME=/x"]) == "/x\n"


def test_the_environment_is_what_was_asked_for(box: Box) -> None:
    """Nothing of the host's environment comes along; PATH is added; values may hold anything."""
    os.environ["NBC_TEST_LEAK"] = "1"
    try:
        lines = sorted(box.run("env", env=["A=b=c", "E=", "U=ü"])[1].splitlines())
    finally:
        del os.environ["NBC_TEST_LEAK"]
    assert lines == [
        "A=b=c",
        "E=",
        "HOME=/root",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "U=ü",
    ]


def test_the_working_directory_is_made(box: Box) -> None:
    """As in Docker a working directory that is missing is made; it holds with a read-only root too."""
    assert box.shell("pwd; ls -ld /a/b", cwd="/a/b").startswith("/a/b\ndrwxr-xr-x")
    assert box.shell("pwd", cwd="/a/b", readonly_root=True) == "/a/b\n"
    with pytest.raises(LaunchError, match="working directory"):
        box.start("true", cwd="/etc/passwd")


@pytest.mark.parametrize(("annotations", "owner"), [({}, "root:root"), ({launch.WORKDIR: "user"}, "ann:users")])
def test_a_working_directory_that_is_made_is_roots_or_the_users(
    box: Box, needs_identities: None, annotations: dict[str, str], owner: str
) -> None:
    """Root's, as docker run has it; the user's where the specification says so, as BuildKit has it for a RUN."""
    script = ("sh", "-c", "stat -c %U:%G . ..")
    spec = replace(box.spec(*script, cwd="/made/here"), annotations=annotations)
    assert box.run(*script, user="ann", spec=spec) == (0, f"{owner}\n{owner}\n", "")


def test_no_descriptor_leaks(box: Box) -> None:
    """Only the standard streams are open, whatever the engine, zygote and shim have open (CVE-2024-21626)."""
    leak = os.open("/", os.O_RDONLY)
    os.set_inheritable(leak, True)
    try:
        names = box.shell("ls /proc/1/fd; true").split()
    finally:
        os.close(leak)
    assert sorted(names) == ["0", "1", "2"]
    with pytest.raises(LaunchError):
        box.start("pwd", cwd="/proc/self/fd/7")


def test_its_executable_before_exec_is_nothing_of_the_host(box: Box) -> None:
    """An image whose entrypoint is /proc/self/exe gets a sealed copy, in which nothing can be written (CVE-2019-5736)."""
    if not box.host.allows("sealed interpreter"):
        pytest.skip("files in memory cannot be run here")
    zygote = box.runtime.zygote_pid()
    assert zygote is not None
    assert os.readlink(f"/proc/{zygote}/exe").startswith("/memfd:python")
    with pytest.raises(OSError, match="[Tt]ext file busy|not permitted"):
        open(f"/proc/{zygote}/exe", "r+b").close()


def test_signals_are_as_a_program_expects_them(box: Box) -> None:
    """Nothing is ignored or blocked, though Python ignores SIGPIPE and the engine may have been started by nohup."""
    lines = status(box)
    assert int(lines["SigIgn"], 16) == int(lines["SigBlk"], 16) == 0


def test_resource_limits_and_umask_hold(box: Box) -> None:
    """rlimits by their names, umask as given, else 022."""
    limits = (Rlimit(type="RLIMIT_NOFILE", soft=64, hard=128), Rlimit(type="RLIMIT_CORE", soft=0, hard=0))
    out = box.shell("ulimit -Sn; ulimit -Hn; umask", rlimits=limits, umask=0o027)
    assert out.split() == ["64", "128", "0027"]
    assert box.shell("umask") == "0022\n"
    with pytest.raises(LaunchError, match="RLIMIT_NONE"):
        box.start("true", rlimits=(Rlimit(type="RLIMIT_NONE", soft=1, hard=1),))


def test_it_has_names_of_its_own(box: Box) -> None:
    """Hostname, network (a loopback interface that is up), processes, ipc, cgroup and time are its own."""
    out = box.shell("hostname; ip -o link; for n in /proc/self/ns/*; do readlink $n; done", hostname="box1")
    assert out.startswith("box1\n1: lo: <LOOPBACK,UP")
    assert out.count("link/") == 1
    inside = dict(re.findall(r"(\w+):\[(\d+)\]", out))
    for kind in ("mnt", "pid", "net", "ipc", "uts", "cgroup", "time"):
        name = {"mnt": "mount", "net": "network"}.get(kind, kind)
        if name in box.host.namespaces:
            assert inside[kind] not in os.readlink(f"/proc/self/ns/{kind}"), kind


def test_it_can_share_the_network(box: Box) -> None:
    """network=host: the interfaces are the host's, and /sys is there to read."""
    out = box.shell("ip -o link; ls /sys/class/net; touch /sys/x 2>&1 || true", network="host")
    assert {line.split(":")[1].strip() for line in out.splitlines() if "link/" in line} >= {"lo"}
    assert "Read-only file system" in out


def test_the_network_is_tuned_as_docker_does(box: Box) -> None:
    """Low ports need no privilege in a network of one's own; ping neither."""
    out = box.shell(
        "cat /proc/sys/net/ipv4/ip_unprivileged_port_start; cat /proc/sys/net/ipv4/ping_group_range; ping -c1 127.0.0.1"
    )
    assert out.startswith("0\n0\t")
    assert "1 packets received" in out


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (("nope",), 127, r'exec: "nope": executable file not found in \$PATH'),
        (("/bin/nope",), 127, 'exec: "/bin/nope": no such file or directory'),
        (("/bin/sh/x",), 127, "not a directory"),
        (("/etc/passwd",), 126, 'exec: "/etc/passwd": permission denied'),
        (("group",), 127, "not found"),
        (("/etc",), 126, "permission denied"),
        (("/text",), 126, "exec format error"),
        (("/missing-interpreter",), 127, "no such file"),
    ],
)
def test_a_command_that_cannot_run_has_dockers_code(
    box: Box, tmp_path: Path, command: tuple[str, ...], code: int, words: str
) -> None:
    """127 where there is no such command, 126 where it cannot be executed, and what can be done; the state keeps code and cause."""
    for name, content in (("text", "hello"), ("missing-interpreter", "#!/none\n")):
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o755)
    folder, rootfs = box.prepare(tmp_path)
    with pytest.raises(LaunchError, match=words) as caught:
        box.runtime.start(folder, box.spec(*command, env=["PATH=/etc:/bin"]), rootfs, state=box.state(folder, command))
    assert (caught.value.exit_code, caught.value.stage) == (code, "exec")
    assert caught.value.hint
    found = box.runtime.open(folder).state
    assert (found.status, found.exit_code, found.pid) == ("created", code, 0)
    assert re.search(words, found.error)


def test_a_start_that_fails_says_where(box: Box) -> None:
    """The stage is named, the code is 125, and a hint says what to do where one is known."""
    from nbcontainers.oci.runtime import Mount

    missing = Mount(destination="/x", type="bind", source="/does/not/exist", options=("rbind",))
    with pytest.raises(LaunchError, match="/does/not/exist") as caught:
        box.start("true", mounts=[missing])
    assert (caught.value.stage, caught.value.exit_code) == ("mount /x", 125)
    assert caught.value.hint
    bogus = Mount(destination="/x", type="nosuchfs", source="none")
    with pytest.raises(LaunchError, match="mount /x"):
        box.start("true", mounts=[bogus])


def test_arguments_may_be_many_and_long(box: Box) -> None:
    """The plan has no size that a message on a socket would cut."""
    words = [f"{number:0100d}" for number in range(5000)]
    code, out, _ = box.run("sh", "-c", "echo $#", "sh", *words)
    assert (code, out) == (0, "5000\n")


def test_limits_on_processes_hold(box: Box) -> None:
    """By a cgroup, or by RLIMIT_NPROC: so many as were asked for, a fork beyond that fails and the host is left alone."""
    if os.geteuid() == 0 and "pids" not in box.host.hierarchy.controllers:
        pytest.skip("no pids controller, and RLIMIT_NPROC does not bind root")
    script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 60 & echo $i; done; echo made"
    code, out, err = box.run("sh", "-c", script, resources=Resources(pids=8))
    assert code != 0
    assert "fork" in err
    assert out.split() == ["1", "2", "3", "4", "5", "6", "7"]  # and the shell

"""The profile for code that is not trusted: what holds in it, and that nothing opens it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from nbcontainers.engine import Engine, userns
from nbcontainers.errors import NBContainersError
from tests.waiting import PATIENCE_S

Shell = Callable[..., str]
# Each call with arguments that fail in another way where it is allowed.
CALLS = {
    "ptrace": (101, 117),
    "mount": (165, 40),
    "unshare": (272, 97),
    "setns": (308, 268),
    "keyctl": (250, 219),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "fsopen": (430, 430),
    "bpf": (321, 280),
    "process_vm_readv": (310, 270),
}


def test_it_has_nothing_to_give(engine: Engine, shell: Shell) -> None:
    """No capability, no new privileges, a filter, loopback alone, a root that cannot be written to, and /tmp that can."""
    script = "grep -e Cap -e NoNewPrivs -e Seccomp: /proc/self/status; ls /sys/class/net; "
    script += "touch /tmp/x; touch /x 2>/dev/null || echo no; id -u; for one in hosts hostname resolv.conf; do "
    script += "echo x 2>/dev/null >>/etc/$one && echo $one; done; true"
    lines = shell(script, profile="sandbox").split("\n")
    status = dict(line.split(":\t") for line in lines[:7])
    assert {int(value, 16) for name, value in status.items() if name.startswith("Cap")} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert lines[7:9] == ["lo", "no"]
    assert lines[9:] == ["0", ""]


def test_its_ids_are_nobodys(engine: Engine, shell: Shell) -> None:
    """It lives in a user namespace: root's sandbox in one with ids that nothing else has, where root has what that takes; else its
    container says that its root is not another one.
    """
    rows = [line.split() for line in shell("cat /proc/self/uid_map", profile="sandbox").splitlines()]
    assert "4294967295" not in {row[2] for row in rows}
    is_told = any(note.startswith("user ids: root of a container is root here") for note in engine.host().not_enforced)
    assert is_told == (os.geteuid() == 0 and engine.host().tier != "T0")
    if os.geteuid() == 0 and not is_told:
        assert int(rows[0][1]) >= userns.FIRST


def test_calls_that_look_into_others_are_refused(shell: Shell) -> None:
    """EPERM (or ENOSYS, as for what no policy knows), where the call itself would say something else."""
    numbers = {name: pair[os.uname().machine != "x86_64"] for name, pair in CALLS.items()}
    code = "import ctypes;c=ctypes.CDLL(None,use_errno=True);"
    code += f"print([n for n,k in {numbers!r}.items() if c.syscall(k,-1,-1,-1,-1,-1,-1)!=-1 or ctypes.get_errno() not in (1,38)])"
    assert shell(f'python3 -c "{code}"', profile="sandbox") == "[]\n"


def test_its_limits_hold_and_are_shown(engine: Engine) -> None:
    """Memory, processes and processors unless others are given; time and output end it with the reason."""
    container = engine.create("toolbox", "true", profile="sandbox", memory="64m")
    limits = container.spec.resources
    assert (limits.memory, limits.pids) == (64 << 20, 512)
    assert limits.cpus is not None
    container.remove()
    for words, script, why in (
        ({"timeout": 0.5}, "sleep 60", "ended because it ran longer than its limit of 0.5 seconds"),
        ({"output_limit": "64k"}, "yes", "ended because it wrote more than its limit of 64 KiB"),
    ):
        container = engine.run("toolbox", "sh", "-c", script, profile="sandbox", **words)  # type: ignore[arg-type]
        assert container.wait(PATIENCE_S) == 137
        assert container.state.error == why
        container.remove()


@pytest.mark.parametrize(
    "words",
    [
        {"privileged": True},
        {"cap_add": ["KILL"]},
        {"network": "host"},
        {"pid": "host"},
        {"ipc": "host"},
        {"uts": "host"},
        {"cgroupns": "host"},
        {"device": ["/dev/null"]},
        {"security_opt": ["seccomp=unconfined"]},
        {"security_opt": ["systempaths=unconfined"]},
        {"sysctl": ["kernel.msgmax=1"]},
        {"oom_kill_disable": True},
    ],
)
def test_nothing_opens_it(engine: Engine, words: dict[str, Any]) -> None:
    """What would is refused, not dropped."""
    with pytest.raises(NBContainersError, match="would open the sandbox"):
        engine.create("toolbox", "true", profile="sandbox", **words)
    with pytest.raises(NBContainersError, match="no profile is called 'safe'"):
        engine.create("toolbox", "true", profile="safe")

"""Docker's policy, loaded into a real process: what the kernel then answers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nbcontainers.linux import capabilities, seccomp

MACHINE = os.uname().machine

# Runs in a process of its own, under the filter; prints what each call answered.
SCRIPT = """
import ctypes, errno, json, mmap, os, socket, subprocess, sys, threading
from nbcontainers.linux import syscalls
asked = json.loads(sys.stdin.read())
syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
syscalls.seccomp(bytes.fromhex(asked["program"]), asked["flags"])
call = ctypes.CDLL(None, use_errno=True).syscall
call.restype = ctypes.c_long
answers = {}
for name, number, *arguments in asked["calls"]:
    result = call(ctypes.c_long(number), *map(ctypes.c_ulong, arguments))
    answers[name] = errno.errorcode[ctypes.get_errno()] if result < 0 else "ok"
for family, kind in asked["sockets"]:
    try:
        socket.socket(family, kind).close()
        answers[f"socket {family}"] = "ok"
    except OSError as error:
        answers[f"socket {family}"] = errno.errorcode[error.errno]
done = []
threads = [threading.Thread(target=done.append, args=(number,)) for number in range(3)]
[thread.start() for thread in threads], [thread.join() for thread in threads]
answers["threads"] = len(done)
answers["subprocess"] = subprocess.run(["/bin/sh", "-c", "exit 7"]).returncode
def ends(action):
    pid = os.fork()
    if pid == 0:
        action()
        os._exit(0)
    return os.waitpid(pid, 0)[1]
answers["x32"] = ends(lambda: call(ctypes.c_long(0x40000000 | 39)))
if os.uname().machine == "x86_64":
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(bytes.fromhex("b814000000cd80c3"))  # mov eax, 20 (getpid of i386); int 0x80; ret
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    answers["int 0x80"] = ends(ctypes.CFUNCTYPE(ctypes.c_int)(address))
print(json.dumps(answers), flush=True)
os._exit(0)
"""


def answers(profile: dict, calls: list[tuple], sockets: list[tuple[int, int]] = ()) -> dict:
    program = seccomp.compile(profile)
    asked = {"program": program.hex(), "flags": seccomp.flags(profile), "calls": calls, "sockets": list(sockets)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=600,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def number(name: str) -> int:
    return seccomp.numbers(MACHINE)[name]


@pytest.fixture(scope="module")
def found() -> dict:
    profile = seccomp.docker_profile(capabilities.DOCKER)
    calls = [
        ("keyctl", number("keyctl"), 0, 2**64 - 3, 0),
        ("clone3", number("clone3"), 0, 0),
        ("io_uring_setup", number("io_uring_setup"), 1, 0),
        ("unknown", 9999),
        ("unshare", number("unshare"), 0x10000000),
        ("clone newuser", number("clone"), 0x10000000, 0, 0, 0, 0),
        ("mount", number("mount"), 0, 0, 0, 0, 0),
        ("listns", number("listns"), 0, 0, 0, 0),
        ("personality linux", number("personality"), 0),
        ("personality no random", number("personality"), 0x40000),
        ("personality query", number("personality"), 0xFFFFFFFF),
        ("getpid", number("getpid")),
        ("chroot", number("chroot"), 0),
        ("no call", 2**64 - 1),
    ]
    families = [(1, 1), (2, 2), (16, 2), (38, 5), (40, 1), (12, 1)]
    return answers(profile, calls, families)


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ("keyctl", "EPERM"),
        ("clone3", "ENOSYS"),
        ("io_uring_setup", "EPERM"),
        ("unknown", "ENOSYS"),
        ("unshare", "EPERM"),
        ("clone newuser", "EPERM"),
        ("mount", "EPERM"),
        ("listns", "ENOSYS"),
        ("personality linux", "ok"),
        ("personality no random", "EPERM"),
        ("personality query", "ok"),
        ("getpid", "ok"),
        ("chroot", "EFAULT"),
        ("no call", "ENOSYS"),
        ("socket 1", "ok"),
        ("socket 2", "ok"),
        ("socket 16", "ok"),
        ("socket 38", "EPERM"),
        ("socket 40", "EPERM"),
        ("socket 12", "EPERM"),
        ("threads", 3),
        ("subprocess", 7),
    ],
)
def test_the_kernel_answers_as_the_policy_says(found: dict, call: str, answer: object) -> None:
    """What is refused answers EPERM, what is newer than the policy ENOSYS; threads and processes still start."""
    assert found[call] == answer


@pytest.mark.skipif(MACHINE != "x86_64", reason="needs x86-64, which has other machines' calls")
@pytest.mark.parametrize("way", ["x32", "int 0x80"])
def test_calls_of_another_machine_end_the_process(found: dict, way: str) -> None:
    """They would go round every rule about numbers."""
    assert os.WTERMSIG(found[way]) == signal.SIGSYS


def test_a_capability_opens_what_it_stands_for() -> None:
    """With CAP_SYS_ADMIN clone3 and mount reach the kernel, whose own answers come back."""
    profile = seccomp.docker_profile({*capabilities.DOCKER, "CAP_SYS_ADMIN"})
    calls = [("clone3", number("clone3"), 0, 0), ("unshare", number("unshare"), 0)]
    opened = answers(profile, calls)
    assert (opened["clone3"], opened["unshare"]) == ("EINVAL", "ok")


@pytest.mark.peer("runc")
def test_runc_takes_dockers_policy(tmp_path: Path) -> None:
    """The object is a linux.seccomp of the runtime specification: runc loads it and the container sees a filter."""
    busybox = next((path for path in ("/bin/busybox", "/usr/bin/busybox") if os.path.exists(path)), "")
    if not shutil.which("runc") or not busybox or os.geteuid() != 0:
        pytest.skip("needs root, runc and busybox-static")
    (tmp_path / "rootfs/bin").mkdir(parents=True)
    shutil.copy(busybox, tmp_path / "rootfs/bin/busybox")
    subprocess.run(["runc", "spec"], cwd=tmp_path, check=True)
    spec = json.loads((tmp_path / "config.json").read_text())
    spec["process"] |= {"terminal": False, "args": ["/bin/busybox", "grep", "Seccomp:", "/proc/self/status"]}
    spec["linux"] |= {"seccomp": seccomp.docker_profile(capabilities.DOCKER)}
    spec["linux"]["resources"] = {}
    (tmp_path / "config.json").write_text(json.dumps(spec))
    done = subprocess.run(
        ["runc", "--root", str(tmp_path / "state"), "run", f"nbc-seccomp-{os.getpid()}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["Seccomp:", "2"]

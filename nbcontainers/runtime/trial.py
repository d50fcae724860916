"""What this host allows, found by doing it: run by ``host.probe`` in a process of its own, which has one thread.

Prints JSON: a list of [name, whether it holds, detail]. Imports only what the zygote imports too.
"""

from __future__ import annotations

import os

from ..linux import nftables, syscalls
from ..linux.network import Links
from ..linux.syscalls import AT_EMPTY_PATH, MOUNT_ATTR_RDONLY, MS_PRIVATE, MS_REC, PR_CAPBSET_READ, RESOLVE_IN_ROOT
from . import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

NAMESPACES = (
    ("mount", syscalls.CLONE_NEWNS),
    ("pid", syscalls.CLONE_NEWPID),
    ("network", syscalls.CLONE_NEWNET),
    ("ipc", syscalls.CLONE_NEWIPC),
    ("uts", syscalls.CLONE_NEWUTS),
    ("cgroup", syscalls.CLONE_NEWCGROUP),
    ("time", syscalls.CLONE_NEWTIME),
)
OF_ROOT = {
    "CAP_SYS_ADMIN": 21,
    "CAP_SYS_PTRACE": 19,
    "CAP_SETUID": 7,
    "CAP_SETGID": 6,
    "CAP_SETPCAP": 8,
    "CAP_CHOWN": 0,
    "CAP_FOWNER": 3,
    "CAP_KILL": 5,
    "CAP_SYS_CHROOT": 18,
}
"""What root needs for containers without a user namespace, by its number: to make them, and to enter, watch and end other users'.
Numbers, for ``linux.capabilities`` imports more than all that is here.
"""
_ALLOW = (0x06).to_bytes(2, "little") + b"\0\0" + (0x7FFF0000).to_bytes(4, "little")  # BPF_RET, SECCOMP_RET_ALLOW


def main() -> None:
    """Try everything and print what came of it."""
    root = _try(syscalls.CLONE_NEWNS, False, _change_root)
    user = _try(syscalls.CLONE_NEWUSER, True, lambda: None)
    lacks = " or ".join(name for name, number in OF_ROOT.items() if not syscalls.prctl(PR_CAPBSET_READ, number))
    userns = bool(root or lacks) and not user
    results = [("root", not root, root), ("user namespace", not user, user)]
    if os.geteuid() == 0:
        results.append(("capabilities of root", not lacks, f"no {lacks}" if lacks else ""))
    everything = 0
    for name, flag in NAMESPACES:
        refused = _try(flag, userns, lambda: None)
        everything |= 0 if refused else flag
        results.append((f"{name} namespace", not refused, refused))
    trials: tuple[tuple[str, Callable[[], object]], ...] = (
        ("mounts", _change_root),
        ("proc", lambda: os.close(syscalls.fsmount("proc", []))),
        ("sysfs", lambda: os.close(syscalls.fsmount("sysfs", []))),
        ("devpts", lambda: os.close(syscalls.fsmount("devpts", [("newinstance", ""), ("ptmxmode", "0666")]))),
        ("mqueue", lambda: os.close(syscalls.fsmount("mqueue", []))),
        ("overlay", _overlay),
        ("device nodes", _device),
        ("seccomp", lambda: syscalls.seccomp(_ALLOW)),
        ("container networks", _bridge),
        ("address translation", _translate),
    )
    for name, act in trials:
        refused = _try(everything, userns, act)
        results.append((name, not refused, refused))
    results.append(("process tree", os.path.exists("/proc/self/task/self/children") or _has_children(), ""))
    os.write(1, record.to_json(results).encode())


def _has_children() -> bool:
    return os.path.exists(f"/proc/self/task/{os.getpid()}/children")


def _try(flags: int, userns: bool, act: Callable[[], object]) -> str:
    """Do something in new namespaces, in a process of its own: empty if that went well, else what the kernel said."""
    told, tell = os.pipe()
    go, mapped = os.pipe()
    wanted = flags | (syscalls.CLONE_NEWUSER if userns else 0)
    try:
        pid, pidfd = syscalls.clone3(wanted)
    except OSError as error:
        for descriptor in (told, tell, go, mapped):
            os.close(descriptor)
        return _words(error)
    if pid == 0:
        _act(told, tell, go, mapped, act)
    for descriptor in (tell, go, pidfd):
        os.close(descriptor)
    said = b""
    try:
        if userns:
            _map(pid)
        os.write(mapped, b"m")
    except OSError as error:
        said = _words(error).encode()
    os.close(mapped)
    while part := os.read(told, 4096):
        said += part
    os.close(told)
    _, status = os.waitpid(pid, 0)
    return said.decode() or ("" if status == 0 else f"status {os.waitstatus_to_exitcode(status)}")


def _act(told: int, tell: int, go: int, mapped: int, act: Callable[[], object]) -> None:
    code = 1
    try:
        os.close(told)
        os.close(mapped)
        if os.read(go, 1):
            act()
            code = 0
    except BaseException as error:
        os.write(tell, _words(error).encode() or b"refused")
    finally:
        os._exit(code)


def _words(error: BaseException) -> str:
    """What went wrong, for people: without the number, which OSError puts before it."""
    text = str(error)
    return text.partition("] ")[2] if text.startswith("[Errno ") else text


def _map(pid: int) -> None:
    words = (("setgroups", "deny"), ("uid_map", f"0 {os.geteuid()} 1\n"), ("gid_map", f"0 {os.getegid()} 1\n"))
    for name, text in words:
        with open(f"/proc/{pid}/{name}", "w") as file:
            file.write(text)


def _mount_tmpfs() -> None:
    """A tmpfs on /tmp, made read-only and back by descriptor, and a path resolved below it."""
    syscalls.mount("", "/", "", MS_REC | MS_PRIVATE)
    mount = syscalls.fsmount("tmpfs", [("mode", "755")])
    target = os.open("/tmp", os.O_PATH | os.O_DIRECTORY)
    syscalls.move_mount(mount, target)
    syscalls.mount_setattr(mount, "", AT_EMPTY_PATH, set_=MOUNT_ATTR_RDONLY)
    syscalls.mount_setattr(mount, "", AT_EMPTY_PATH, clear=MOUNT_ATTR_RDONLY)
    os.mkdir("a", dir_fd=mount)
    os.close(syscalls.openat2(mount, "/../a", os.O_PATH, resolve=RESOLVE_IN_ROOT))


def _change_root() -> None:
    """Make that the root, as a container does (which Docker's own policy never allows)."""
    _mount_tmpfs()
    os.chdir("/tmp")
    syscalls.pivot_root(".", ".")


def _overlay() -> None:
    """An overlay with ``userxattr``, in which a folder of the lower layer is replaced, which needs the attribute to hold.

    A tmpfs has such attributes since Linux 6.6; on an older kernel, whether a disk has them is found where the store is.
    """
    _mount_tmpfs()
    for name in ("lower", "lower/a", "upper", "work", "merged"):
        os.mkdir("/tmp/" + name)
    options = "lowerdir=/tmp/lower,upperdir=/tmp/upper,workdir=/tmp/work,userxattr"
    syscalls.mount("overlay", "/tmp/merged", "overlay", 0, options)
    try:
        os.setxattr("/tmp/lower", "user.nbcontainers", b"")
    except OSError:
        return
    os.rmdir("/tmp/merged/a")
    os.mkdir("/tmp/merged/a")


def _translate() -> None:
    """A table with the rules by which containers are reached and reach others: each kind may be a module that is not there."""
    table = nftables.Table("trial", [("forward", "filter"), ("prerouting", "nat"), ("postrouting", "nat")])
    table.add("prerouting", nftables.redirect_to("127.0.0.1", 1))
    table.add("postrouting", [nftables.masquerade()])
    table.close()


def _bridge() -> None:
    """A bridge, and a pair of interfaces of which one is plugged into it."""
    links, own = Links(), os.open("/proc/self/ns/net", os.O_RDONLY)
    links.add_veth("veth", "eth0", own, master=links.add_bridge("bridge", b"\x02\x42\0\0\0\1", 1500))
    links.remove("veth")


def _device() -> None:
    _mount_tmpfs()
    os.mknod("/tmp/null", 0o20666, os.makedev(1, 3))
    os.close(os.open("/tmp/null", os.O_RDWR))

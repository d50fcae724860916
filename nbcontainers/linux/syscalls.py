"""The system calls that Python has no function for, typed; each raises OSError as those of ``os`` do.

The zygote imports this module, so it imports only ``ctypes``, ``errno``, ``os``, ``sys`` and ``time``. Init makes some two hundred of these
calls, and all of them before the command can run: what it calls most has no step that C can do.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
import time
from struct import Struct

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_mount = _libc.mount
_mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_void_p]
_unshare, _setns, _umount2, _fstatfs = _libc.unshare, _libc.setns, _libc.umount2, _libc.fstatfs
_sethostname = _libc.sethostname
_sync_file_range = _libc.sync_file_range
_sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
_SYNC_FILE_RANGE_WRITE = 2
_prctl = _libc.prctl
_prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4

# include/uapi/linux/sched.h
CLONE_NEWTIME = 0x00000080
CLONE_VM = 0x00000100
CLONE_PIDFD = 0x00001000
CLONE_VFORK = 0x00004000
CLONE_PARENT = 0x00008000
CLONE_PARENT_SETTID = 0x00100000
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_INTO_CGROUP = 0x200000000

# include/uapi/linux/mount.h
MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_SYNCHRONOUS = 16
MS_REMOUNT = 32
MS_NOSYMFOLLOW = 256
MS_NOATIME = 1024
MS_NODIRATIME = 2048
MS_BIND = 4096
MS_REC = 16384
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MS_RELATIME = 1 << 21
MS_STRICTATIME = 1 << 24
MNT_DETACH = 2
MOVE_MOUNT_F_EMPTY_PATH = 4
MOVE_MOUNT_T_EMPTY_PATH = 64
OPEN_TREE_CLONE = 1
AT_SYMLINK_NOFOLLOW = 0x100
AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
MOUNT_ATTR_RDONLY = 1
MOUNT_ATTR_NOSUID = 2
MOUNT_ATTR_NODEV = 4
MOUNT_ATTR_NOEXEC = 8
MOUNT_ATTR_ATIME = 0x70
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR_IDMAP = 0x00100000

# include/uapi/linux/openat2.h
RESOLVE_NO_XDEV = 1
RESOLVE_NO_MAGICLINKS = 2
RESOLVE_NO_SYMLINKS = 4
RESOLVE_BENEATH = 8
RESOLVE_IN_ROOT = 16

# include/uapi/linux/prctl.h
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_GET_NO_NEW_PRIVS = 39
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4

# The numbers of calls newer than 2019 are the same on every architecture; the others differ.
_X86 = os.uname().machine == "x86_64"
_SYS_PIVOT_ROOT = 155 if _X86 else 41
_SYS_CLONE = 56 if _X86 else 220
_SYS_CAPSET = 126 if _X86 else 91
_SYS_SECCOMP = 317 if _X86 else 277
_SYS_STATX = 332 if _X86 else 291
_SYS_BPF = 321 if _X86 else 280
_SYS_NEWFSTATAT = 262 if _X86 else 79
_SYS_OPEN_TREE = 428
_SYS_MOVE_MOUNT = 429
_SYS_FSOPEN = 430
_SYS_FSCONFIG = 431
_SYS_FSMOUNT = 432
_SYS_CLONE3 = 435
_SYS_CLOSE_RANGE = 436
_SYS_OPENAT2 = 437
_SYS_PIDFD_GETFD = 438
_SYS_MOUNT_SETATTR = 442

_CLOEXEC = os.O_CLOEXEC
_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()  # as os.fsencode has them
_SIGCHLD = 17
_FSCONFIG_SET_FLAG, _FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE = 0, 1, 6
_SECCOMP_SET_MODE_FILTER = 1


_Statfs = ctypes.c_long * 32  # it begins with f_type and is shorter than this
# flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup
_clone_args = Struct("=10Qq")
_open_how = Struct("=3Q")  # flags, mode, resolve
_OPEN_HOW = _open_how.size
_mount_attr = Struct("=4Q")  # attr_set, attr_clr, propagation, userns_fd


class _SockFprog(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


class _CapHeader(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


def _error(*about: str | bytes) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), *map(os.fsdecode, about))


def _check(result: int, *about: str | bytes) -> int:
    if result < 0:
        raise _error(*about)
    return result


def unshare(flags: int) -> None:
    """Leave shared namespaces; see unshare(2). A new user namespace needs a process with one thread."""
    _check(_unshare(flags))


def setns(descriptor: int, flags: int) -> None:
    """Enter a namespace (or, with a pidfd, several); see setns(2)."""
    _check(_setns(descriptor, flags))


def clone3(flags: int, *, cgroup: int = -1) -> tuple[int, int]:
    """Fork into new namespaces and return (pid, pidfd) in the parent, (0, -1) in the child; see clone3(2).

    Only for a process with one thread: Python's own after-fork work is not done. ``cgroup`` is a descriptor for
    CLONE_INTO_CGROUP. The pidfd is close-on-exec. Docker's policy has clone3 not be there, for it cannot look at its flags: then clone.
    """
    pidfd = ctypes.c_int(-1)
    signal = 0 if flags & CLONE_PARENT else _SIGCHLD  # a sibling has the signal of the one who made it
    args = _clone_args.pack(flags | CLONE_PIDFD, ctypes.addressof(pidfd), 0, 0, signal, 0, 0, 0, 0, 0, cgroup)
    pid: int = _syscall(_SYS_CLONE3, args, _clone_args.size)
    if pid < 0 and ctypes.get_errno() == errno.ENOSYS and cgroup < 0 and not flags & CLONE_NEWTIME:
        pid = _syscall(_SYS_CLONE, ctypes.c_ulong(flags | CLONE_PIDFD | signal), None, ctypes.byref(pidfd), None, None)
    return _check(pid), pidfd.value


def borrow(flags: int, *, cgroup: int = -1) -> int:
    """Go on as a sibling of this process that has its memory, in new namespaces; see clone3(2). Returns that one's pid here, in it alone.

    This process is where it was until the other executes something or ends, and must not go on then: the stack is not its own any
    more. So whoever made it stops it meanwhile. OSError comes back here.
    """
    pid = ctypes.c_int(0)
    shared = CLONE_VM | CLONE_VFORK | CLONE_PARENT | CLONE_PARENT_SETTID
    args = _clone_args.pack(flags | shared, 0, 0, ctypes.addressof(pid), 0, 0, 0, 0, 0, 0, cgroup)
    _check(_syscall(_SYS_CLONE3, args, _clone_args.size))
    return pid.value


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Mount a file system or change a mount; see mount(2)."""
    options = os.fsencode(data) or None
    _check(_mount(os.fsencode(source) or None, os.fsencode(target), kind.encode() or None, flags, options), target)


def umount(target: str, flags: int = 0) -> None:
    """Take a mount away; see umount2(2)."""
    _check(_umount2(os.fsencode(target), flags), target)


def pivot_root(new: str, old: str) -> None:
    """Make ``new`` the root and move the old one to ``old``; see pivot_root(2), where both may be ``.``."""
    _check(_syscall(_SYS_PIVOT_ROOT, os.fsencode(new), os.fsencode(old)), new)


# Whatever is renamed or mounted anywhere on the host while ".." is followed below a root makes the kernel answer EAGAIN, and the
# caller ask again: openat2(2), "ERRORS". On a busy machine that is now and then; whoever does it on purpose does not win for ever.
_PATIENCE_S = 5.0


def openat2(
    directory: int, path: str | bytes, flags: int, *, resolve: int, mode: int = 0, missing_ok: bool = False
) -> int:
    """Open a path below a directory under the rules ``resolve`` (RESOLVE_IN_ROOT …); see openat2(2). Close-on-exec is added.

    With ``missing_ok`` the answer is -1 where there is no such path.
    """
    name = path if isinstance(path, bytes) else path.encode(_ENCODING, _ERRORS)
    how = _open_how.pack(flags | _CLOEXEC, mode, resolve)
    until = 0.0
    answer: int
    while (answer := _syscall(_SYS_OPENAT2, directory, name, how, _OPEN_HOW)) < 0:
        number = ctypes.get_errno()
        if missing_ok and number in (errno.ENOENT, errno.ENOTDIR):
            return -1
        now = time.monotonic()
        until = until or now + _PATIENCE_S
        if number != errno.EAGAIN or now > until:
            raise _error(path)
    return answer


def open_tree(directory: int, path: str, flags: int) -> int:
    """A descriptor of a mount, or with OPEN_TREE_CLONE of a detached copy; see open_tree(2). Close-on-exec is added."""
    tree: int = _syscall(_SYS_OPEN_TREE, directory, path.encode(_ENCODING, _ERRORS), flags | _CLOEXEC)
    if tree < 0:
        raise _error(path)
    return tree


def move_mount(from_fd: int, to_fd: int, to_path: str = "") -> None:
    """Attach the mount behind one descriptor at another, or at ``to_path`` below it; see move_mount(2)."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | (0 if to_path else MOVE_MOUNT_T_EMPTY_PATH)
    if _syscall(_SYS_MOVE_MOUNT, from_fd, b"", to_fd, to_path.encode(_ENCODING, _ERRORS), flags) < 0:
        raise _error(to_path)


def mount_setattr(
    directory: int, path: str, flags: int, *, set_: int = 0, clear: int = 0, propagation: int = 0, userns: int = 0
) -> None:
    """Change the attributes of a mount, or with AT_RECURSIVE of a tree of them; see mount_setattr(2)."""
    attr = _mount_attr.pack(set_, clear, propagation, userns)
    name = path.encode(_ENCODING, _ERRORS)
    if _syscall(_SYS_MOUNT_SETATTR, directory, name, flags, attr, _mount_attr.size) < 0:
        raise _error(path)


def fsmount(kind: str, options: list[tuple[str, str]], attributes: int = 0) -> int:
    """A descriptor of a new, detached mount; an option with an empty value is a flag; see fsopen(2).

    Unlike mount(2) it has no page-sized limit on the options: overlays of hundreds of layers fit.
    """
    context: int = _syscall(_SYS_FSOPEN, kind.encode(), 1)
    if context < 0:
        raise _error(kind)
    try:
        for key, value in options:
            command = _FSCONFIG_SET_STRING if value else _FSCONFIG_SET_FLAG
            text = value.encode(_ENCODING, _ERRORS) if value else None
            if _syscall(_SYS_FSCONFIG, context, command, key.encode(), text, 0) < 0:
                raise _error(key)
        if _syscall(_SYS_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0) < 0:
            raise _error(kind)
        mount: int = _syscall(_SYS_FSMOUNT, context, 1, attributes)
        if mount < 0:
            raise _error(kind)
        return mount
    finally:
        os.close(context)


def statx(directory: int, path: bytes, flags: int, mask: int) -> bytearray:
    """``struct statx`` of a file, as the kernel writes it; see statx(2)."""
    buffer = bytearray(256)
    target = (ctypes.c_char * 256).from_buffer(buffer)
    _check(_syscall(_SYS_STATX, directory, path, flags, ctypes.c_uint(mask), target), path)
    return buffer


_stat = ctypes.create_string_buffer(144 if _X86 else 128)


def newfstatat(directory: int, path: bytes, flags: int) -> ctypes.Array[ctypes.c_char]:
    """``struct stat`` of a file, as this machine's kernel writes it; it is the same buffer at each call. See stat(2)."""
    _check(_syscall(_SYS_NEWFSTATAT, directory, path, _stat, flags), path)
    return _stat


def filesystem_type(descriptor: int) -> int:
    """The magic number of the file system behind a descriptor (``f_type``); see fstatfs(2) and linux/magic.h."""
    buffer = _Statfs()
    if _fstatfs(descriptor, buffer) < 0:
        raise _error()
    return int(buffer[0])


def prctl(option: int, a: int = 0, b: int = 0, c: int = 0, d: int = 0) -> int:
    """See prctl(2)."""
    answer: int = _prctl(option, a, b, c, d)
    if answer < 0:
        raise _error()
    return answer


def bound(capabilities: int) -> None:
    """Let nothing that is executed gain other capabilities than these, a mask; see PR_CAPBSET_DROP in prctl(2)."""
    for number in range(64):
        if not capabilities >> number & 1 and _prctl(PR_CAPBSET_DROP, number, 0, 0, 0) < 0:
            if ctypes.get_errno() == errno.EINVAL:  # the first number that this kernel does not know
                return
            raise _error()


def set_name(name: str) -> None:
    """Name this process as ps and /proc/PID/comm show it: 15 bytes of it; see PR_SET_NAME in prctl(2)."""
    buffer = ctypes.create_string_buffer(os.fsencode(name)[:15])
    prctl(PR_SET_NAME, ctypes.addressof(buffer))


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """Set the capability sets of this thread, as masks; see capset(2)."""
    header = _CapHeader(version=0x20080522, pid=0)
    low = [value & 0xFFFFFFFF for value in (effective, permitted, inheritable)]
    high = [value >> 32 for value in (effective, permitted, inheritable)]
    _check(_syscall(_SYS_CAPSET, ctypes.byref(header), (ctypes.c_uint32 * 6)(*low, *high)))


def close_range(first: int, last: int = 0xFFFFFFFF) -> None:
    """Close every descriptor from ``first`` to ``last``; see close_range(2)."""
    _check(_syscall(_SYS_CLOSE_RANGE, ctypes.c_uint(first), ctypes.c_uint(last), 0))


def seccomp(program: bytes, flags: int = 0) -> int:
    """Install a BPF program (struct sock_filter, packed) as this thread's filter; see seccomp(2).

    With SECCOMP_FILTER_FLAG_NEW_LISTENER the descriptor of the listener is returned, else 0.
    """
    buffer = ctypes.create_string_buffer(program, len(program))
    prog = _SockFprog(length=len(program) // 8, filter=ctypes.addressof(buffer))
    return _check(_syscall(_SYS_SECCOMP, _SECCOMP_SET_MODE_FILTER, flags, ctypes.byref(prog)))


def bpf(command: int, attributes: bytes) -> int:
    """Ask the kernel for something of programs or maps; ``attributes`` is the packed part of ``union bpf_attr``; see bpf(2)."""
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    return _check(_syscall(_SYS_BPF, command, ctypes.byref(buffer), len(attributes)))


def getsockopt(descriptor: int, level: int, option: int, data: bytes) -> bytes:
    """An option of a socket that wants to be told what is asked for: ``data`` goes in, and comes back filled in; see getsockopt(2)."""
    buffer, size = ctypes.create_string_buffer(data, len(data)), ctypes.c_uint32(len(data))
    _check(_libc.getsockopt(descriptor, level, option, buffer, ctypes.byref(size)))
    return buffer.raw[: size.value]


def sethostname(name: str) -> None:
    """Set the host name of this UTS namespace."""
    data = name.encode()
    _check(_sethostname(data, len(data)))


def setdomainname(name: str) -> None:
    """Set the NIS domain name of this UTS namespace."""
    data = name.encode()
    _check(_libc.setdomainname(data, len(data)))


def syncfs(descriptor: int) -> None:
    """Bring to the disk all that was written to the file system of an open file; see syncfs(2)."""
    _check(_libc.syncfs(descriptor))


def sync_file_range(descriptor: int, start: int, length: int) -> None:
    """Have the disk begin with what was written to a part of a file, and do not wait for it; see SYNC_FILE_RANGE_WRITE."""
    _check(_sync_file_range(descriptor, start, length, _SYNC_FILE_RANGE_WRITE))


def pidfd_getfd(pidfd: int, number: int) -> int:
    """A descriptor of our own for what a process has open; see pidfd_getfd(2)."""
    return _check(_syscall(_SYS_PIDFD_GETFD, pidfd, number, 0))


def disconnect(descriptor: int) -> None:
    """Have a socket be connected to nobody, so that it can be connected anew: connect(2) with AF_UNSPEC."""
    _check(_libc.connect(descriptor, bytes(16), 16))

"""A container without namespaces: PRoot shows its files, Landlock guards the host's; what runs between clone and exec of PRoot.

Neither is a boundary as a namespace is. PRoot sees each system call that names a file and answers it as if the container's tree were the
root; Landlock has the kernel refuse to open, for whatever reason, what is no part of the container. PRoot takes its words as they are:
users, folders and the program are looked up here, by the same rules. Imports only what keeps the zygote's children small.

Source: proot(1); Documentation/userspace-api/landlock.rst.
"""

from __future__ import annotations

import errno
import os
import stat

from ..linux import landlock, starter, syscalls
from ..linux.syscalls import PR_CAPBSET_READ, PR_SET_NO_NEW_PRIVS
from . import becoming, init, terminal
from .descriptors import keep_only

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from .plan import Plan, Shown, View

STARTER = "/dev/.nbcontainers"
"""Where the parent of each command is shown: see ``starter``."""
_MOST_LINKS = 40  # as many as the kernel follows


def guard(plan: Plan) -> None:
    """Let this process, and what it starts, open what the plan's view names and nothing else, and gain nothing by executing a file."""
    view = _view(plan)
    syscalls.prctl(PR_SET_NO_NEW_PRIVS, 1)
    if view["landlock"]:
        landlock.restrict(view["landlock"], view["rules"])


def run(plan: Plan, stdio: tuple[int, int, int], report: int, go: int, *, is_first: bool) -> NoReturn:
    """Become a command of the container; never returns.

    Args:
        plan: the container's, or with another command's words in the place of its own.
        stdio, report, go: see ``init.run``; -1 for what there is not, in the place of which stands /dev/null.
        is_first: it makes the working directory where that is missing.
    """
    stage = "descriptors"
    try:
        report, go = keep_only(stdio, report, go)
        init.await_word(go)
        view = _view(plan)
        stage = "session"
        os.setsid()
        if plan["terminal"]:
            stage = "terminal"
            _open_terminal(plan["terminal"], report)
        elif -1 in stdio:
            stage = "/dev/null"
            _read_nothing(stdio)
        stage = "user"
        uid, gid, _, home = becoming.identify(plan, lambda path: locate(view, path))
        stage = "working directory"
        os.umask(0o022)
        folder = locate(view, plan["cwd"])
        if is_first:
            _make(plan, folder, (uid, gid))
        os.chdir(folder)
        os.umask(plan["umask"])
        stage = "limits"
        init.limit(plan)
        stage = "identity"
        _bound(plan["capabilities"] if uid == 0 else 0)
        stage = "seccomp"
        init.guard(plan, -1, (uid, gid, []))
        stage = "parent"
        init.tie_to_shim(go)
        stage = "exec"
        _execute(plan, view, (uid, gid), home, report)
    except BaseException as error:
        init.tell(report, stage, error)
    finally:
        os._exit(125)


def make_directory(plan: Plan) -> None:
    """Make the working directory in a root that the container may not write to; nobody runs there yet, so links stay where they are."""
    view = _view(plan)
    folder = locate(view, plan["cwd"])
    if (view["root"], True) in view["rules"] or not folder.startswith(f"{view['root']}/"):
        return  # the first process makes it, as what it may
    try:
        uid, gid, _, _ = becoming.identify(plan, lambda path: locate(view, path))
    except becoming.Refused:
        return  # the first process tells
    _make(plan, folder, (uid, gid))


def _make(plan: Plan, folder: str, user: tuple[int, int]) -> None:
    whose = user if plan["cwd_is_users"] else (0, 0)
    becoming.make_directory(folder, *whose, is_recorded=os.geteuid() != 0)


def _view(plan: Plan) -> View:
    found = plan["view"]
    assert found is not None
    return found


def _execute(plan: Plan, view: View, ids: tuple[int, int], home: str, report: int) -> NoReturn:
    """Become PRoot, which starts the parent of the command."""
    env = {**plan["env"], b"HOME": plan["env"].get(b"HOME") or os.fsencode(home)}
    args = plan["args"]
    path = args[0] if b"/" in args[0] else _along_path(view, plan["cwd"], args[0], env)
    identity = [] if ids == (0, 0) == (os.geteuid(), os.getegid()) else ["-i", f"{ids[0]}:{ids[1]}"]
    binds = [word for host, guest, _ in view["binds"] for word in ("-b", f"{host}:{guest}!")]
    words = [view["program"], "-v", "-1", "-r", view["root"], "-w", plan["cwd"], *identity, *binds, STARTER]
    os.dup2(report, starter.DESCRIPTOR, inheritable=True)
    # With its loader there, and all places of binds, it makes no files of its own.
    own = {b"PROOT_LOADER": os.fsencode(view["loader"]), b"PROOT_TMP_DIR": os.fsencode(view["folder"])}
    # It sets PWD, where that stands already or as the last one: this one goes with what is its own, unless the command is to have it.
    own |= {b"PROOT_VERBOSE": b"-1"} if b"PWD" in env else {b"PWD": os.fsencode(plan["cwd"])}
    theirs = {name: value for name, value in env.items() if name not in own}
    os.execve(
        view["program"], [*map(os.fsencode, words), path, *args], {**own, **theirs}
    )  # in this order: see ``starter``


def locate(view: Shown, path: str) -> str:
    """The path of the host that one of the container leads to, see ``resolve``."""
    return resolve(view, path)[0]


def resolve(view: Shown, path: str) -> tuple[str, str]:
    """The paths, of the host and of the container, that one of the container leads to: links are followed as inside. Its last parts need
    not be there.
    """
    host, found, links = view["root"], "/", 0
    waiting = [name for name in reversed(path.split("/")) if name]
    while waiting:
        name = waiting.pop()
        if name in {".", ".."}:
            found = os.path.dirname(found) if name == ".." else found
            host = _shown(view, found)
            continue
        found = f"{found.rstrip('/')}/{name}"
        host = _shown(view, found)
        try:
            target = os.readlink(host)
        except OSError:  # no link, or nothing
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        waiting += [part for part in reversed(target.split("/")) if part]
        found = "/" if target.startswith("/") else os.path.dirname(found)
        host = _shown(view, found)
    return host, found


def _shown(view: Shown, path: str) -> str:
    """What is shown at a path of the container without links: of a bind that it lies in, else of the root."""
    around = [bind for bind in view["binds"] if f"{path}/".startswith(f"{bind[1]}/")]
    host, guest, _ = max(around, key=lambda bind: len(bind[1]), default=(view["root"], "", True))
    return host + (path[len(guest) :] if path != "/" else "")


def _along_path(view: View, cwd: str, name: bytes, env: dict[bytes, bytes]) -> bytes:
    def lies(candidate: bytes) -> str:
        return locate(view, os.path.join(cwd, os.fsdecode(candidate)))

    return becoming.along_path(name, env.get(b"PATH", becoming.DEFAULT_PATH), lies)


def _open_terminal(size: list[int], report: int) -> None:
    """A terminal of this host as standard streams; the session of the command, which comes later, takes it as its own."""
    master, slave = terminal.pair_of(os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC), *size)
    terminal.hand_over(report, master)
    for number in range(3):
        os.dup2(slave, number)
    os.close(slave)


def _read_nothing(stdio: tuple[int, int, int]) -> None:
    nothing = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY)
    for number, given in enumerate(stdio):
        if given < 0:
            os.dup2(nothing, number)
    os.close(nothing)


def _bound(capabilities: int) -> None:
    """Let root gain no others; an ordinary user has none."""
    if os.geteuid() != 0:
        return
    for number in range(64):
        try:
            has_it = syscalls.prctl(PR_CAPBSET_READ, number)
        except OSError:  # the first number that this kernel does not know
            break
        if has_it and not capabilities >> number & 1:
            syscalls.bound(capabilities)
            break


def empty(view: View) -> None:
    """Make the folders that each run of the container finds empty (tmpfs, /dev/shm) anew."""
    clear(view)
    for path, mode in view["emptied"]:
        os.mkdir(path)
        os.chmod(path, mode)
    for number, (host, guest, _) in enumerate(view["binds"]):
        place = _shown({"root": view["root"], "binds": view["binds"][:number]}, guest)
        if any(place.startswith(f"{path}/") for path, _ in view["emptied"]) and not os.path.lexists(place):
            make_place(place, is_directory=os.path.isdir(host))


def make_place(place: str, *, is_directory: bool) -> None:
    """Make what something is to be shown at, with the folders around it."""
    os.makedirs(place if is_directory else os.path.dirname(place), exist_ok=True)
    if not is_directory:
        os.close(os.open(place, os.O_CREAT | os.O_CLOEXEC, 0o644))


def clear(view: View) -> None:
    """Take them away."""
    for path, _ in view["emptied"]:
        _remove(path)


def _remove(path: str) -> None:
    """Take a tree away; what is in it may be without rights for us."""
    try:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)
            return
        os.chmod(path, 0o700)
        for name in os.listdir(path):
            _remove(f"{path}/{name}")
        os.rmdir(path)
    except FileNotFoundError:
        pass

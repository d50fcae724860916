"""The id maps of a process's new user namespace, written for it: by ourselves or, where that takes privilege, by newuidmap(1).

The zygote imports this module, so it imports only what is small.
"""

from __future__ import annotations

import os


def write(pid: int, uid_map: str, gid_map: str, *, helped: bool) -> None:
    """Say who is who: lines of ``container host size``. OSError where the kernel or the helper refuses.

    Args:
        pid: who made the namespace.
        uid_map: see user_namespaces(7).
        gid_map: the same for groups.
        helped: have newuidmap and newgidmap write them, which look ids up in /etc/subuid and /etc/subgid. Without them a user
            can map one id only, and gives up setgroups(2) for it.
    """
    if helped:
        for program, words in (("newuidmap", uid_map), ("newgidmap", gid_map)):
            _run(program, [program, str(pid), *words.split()])
        return
    if os.geteuid():
        _put(pid, "setgroups", "deny")
    _put(pid, "uid_map", uid_map)
    try:
        _put(pid, "gid_map", gid_map)
    except PermissionError:
        if os.geteuid():
            raise
        _put(pid, "setgroups", "deny")  # root without CAP_SETGID can do what a user can
        _put(pid, "gid_map", gid_map)


def _put(pid: int, name: str, text: str) -> None:
    descriptor = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _run(program: str, words: list[str]) -> None:
    path = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    said, end = os.pipe()
    try:
        child = os.posix_spawn(_found(program, path["PATH"]), words, path, file_actions=[(os.POSIX_SPAWN_DUP2, end, 2)])
        _, status = os.waitpid(child, 0)
        os.close(end)
        end = -1
        if status:
            why = os.read(said, 1024).decode(errors="replace").strip().removeprefix(f"{program}: ")
            raise PermissionError(1, f"{program} refuses the ids {' '.join(words[2:])}: {why}")
    finally:
        os.close(said)
        if end >= 0:
            os.close(end)


def _found(program: str, path: str) -> str:
    for folder in path.split(":"):
        if os.access(f"{folder}/{program}", os.X_OK):
            return f"{folder}/{program}"
    raise FileNotFoundError(2, f"{program} is not installed")

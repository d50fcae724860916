"""A container's process comes to be, with its cgroups: the one that waited for it, or one that is made now.

Imports only what keeps the zygote small.
"""

from __future__ import annotations

import os

from ..linux import mapping, syscalls
from . import beforehand, groups, init, mother, remapped, rootfs, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .lender import Lender
    from .pipes import Pipes
    from .plan import Plan
    from .plug import Plug


class Failed(Exception):
    """The container cannot be started: stage, errno, message, exit code."""


def bear(
    plan: Plan, pipes: Pipes, channel: int, plug: Plug, begun: Callable[[], None]
) -> tuple[int, int, int, Lender | None]:
    """(pid, pidfd, a descriptor of its mount namespace or -1, who lends it memory) of a container's process, whose groups are there.

    Args:
        plan: what it becomes.
        pipes: those to it.
        channel: to the supervisor of identities, -1 for none.
        plug: its networks; entered where it is made now.
        begun: called once the process that waited is on its way, or there is none.

    Raises:
        Failed: nothing of it is left but its groups.
    """
    spare = beforehand.take(pipes, channel) if plan["view"] is None else None
    begun()
    try:
        if groups.make(plan, plan["pattern"]["groups"]["directories"] if spare else ()):
            mother.expect(-1)  # what she would read is not what there is to do any more
    except OSError as error:
        if spare is not None:
            spare.end()
        raise Failed("cgroup", error.errno, str(error), 125) from error
    if plan["view"] is not None:
        return *_show(plan, pipes), -1, None
    if spare is not None:
        return spare.pid, spare.pidfd, spare.mounts, spare.lender
    pid, pidfd = _clone(plan, pipes, channel, plug)
    mounts = rootfs.namespace(pid)
    if plan["uid_map"]:
        try:
            mapping.write(pid, plan["uid_map"], plan["gid_map"], helped=plan["helped_maps"])
        except OSError as error:
            beforehand.kill(pid, pidfd)
            raise Failed("user namespace", error.errno, str(error), 125) from error
        pipes.tell()
    return pid, pidfd, mounts, None


def _show(plan: Plan, pipes: Pipes) -> tuple[int, int]:
    """(pid, pidfd) of the PRoot of a container that has no namespaces."""
    from . import keeper, view  # on hosts without them only

    assert plan["view"] is not None
    stage = "tmpfs"
    try:
        view.empty(plan["view"])
        stage = "working directory"
        view.make_directory(plan)
        stage = "Landlock"
        keeper.engage(plan)
        stage = "fork"
        return keeper.bear(plan, pipes.ends, is_first=True)
    except OSError as error:
        raise Failed(stage, error.errno, str(error.strerror), 125) from error


def _clone(plan: Plan, pipes: Pipes, channel: int, plug: Plug) -> tuple[int, int]:
    group, flags = -1, plan["flags"]
    try:
        given = remapped.take(plan, shown.take)
    except remapped.Refused as refused:
        raise Failed(*refused.args, 125) from refused
    remapped.give(plan, pipes.stdio)
    try:
        plug.enter()
        if plan["into_cgroup"]:
            group = os.open(plan["into_cgroup"], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            flags |= syscalls.CLONE_INTO_CGROUP
        pid, pidfd = mother.bear(flags, group, (*pipes.ends, channel)) or syscalls.clone3(flags, cgroup=group)
    except OSError as error:
        raise Failed("namespaces", error.errno, error.strerror, 125) from error
    if pid == 0:
        os.close(pipes.go)
        init.run(plan, lambda: (pipes.stdio, pipes.report_end, pipes.go_end, channel), given)
    for descriptor in (group, *given[0], *given[1]):
        if descriptor >= 0:
            os.close(descriptor)
    return pid, pidfd

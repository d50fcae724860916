"""Limits changed after a container was made: written down for its next start, and at once where it runs."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from ..errors import HostError, NBContainersError, NotFound
from ..linux import cgroups, groups
from ..linux.limits import Write, check
from ..oci.resources import Resources
from ..oci.runtime import RuntimeSpec
from ..results import ContainerState
from ..runtime import launch
from ..runtime import state as states
from ..runtime.groups import CHANGES
from ..runtime.host import Host
from ..store import durable
from . import limits
from .options import RunOptions

WORDS = (
    "memory memory_swap memory_reservation cpus cpu_period cpu_quota cpu_shares cpu_rt_period cpu_rt_runtime cpuset_cpus "
    "cpuset_mems pids_limit blkio_weight"
).split()
"""The options that can be changed: docker update's."""
_SAME_NAME = frozenset(WORDS) - {"memory", "memory_swap", "cpus", "pids_limit"}


def changed(spec: RuntimeSpec, options: RunOptions) -> tuple[RuntimeSpec, Resources]:
    """(the specification with all limits afterwards, those to be written now): NBContainersError where they do not go together.

    As in Docker, 0 and no word leave a limit as it is; memory and swap together stay what they were made, whoever chose that.
    """
    for word in options:
        if word not in WORDS:
            raise NBContainersError(
                f"{word!r} cannot be changed once a container is made", hint=f"what can: {', '.join(WORDS)}"
            )
    before = spec.resources
    given = cast("RunOptions", {word: value for word, value in options.items() if value})
    if given.get("memory_swap") and not given.get("memory"):
        given["memory"] = before.memory
    new = limits.read(given)
    values: dict[str, Any] = {name: getattr(new, name) for name in _SAME_NAME & set(given)}
    annotations = _with_processors(spec, given, new, values)
    if given.get("memory") or given.get("memory_swap"):
        swap = new.memory_swap if given.get("memory_swap") or before.memory_swap is None else before.memory_swap
        if swap is not None and 0 < swap < (new.memory or 0):
            raise NBContainersError(
                f"a memory limit of {new.memory} bytes is more than the limit on memory and swap together, {swap}",
                hint="change --memory-swap at the same time",
            )
        values |= {"memory": new.memory, "memory_swap": swap}
    now = dict(values)
    if pids := given.get("pids_limit"):
        values["pids"] = pids if pids > 0 else None
        now["pids"] = max(-1, pids)  # no limit has to be written, too
    after = replace(before, **values)
    check(after)
    return replace(spec, resources=after, annotations=annotations), Resources(**now)


def _with_processors(spec: RuntimeSpec, given: RunOptions, new: Resources, values: dict[str, Any]) -> dict[str, str]:
    """Add quota and period to the values, and return what annotations there are then: one limit has one way to say it."""
    before, is_whole = spec.resources, limits.WHOLE in spec.annotations
    annotations = {name: text for name, text in spec.annotations.items() if name != limits.WHOLE}
    ends = (new.cpu_quota or 0) < 0
    if is_whole and (new.cpu_period or (new.cpu_quota or 0) > 0) and not given.get("cpus"):
        raise NBContainersError(
            "--cpu-period and --cpu-quota cannot be changed where --cpus was given",
            hint="--cpus changes it, and --cpu-quota -1 takes the limit away",
        )
    if given.get("cpus"):
        if not is_whole and (before.cpu_period or (before.cpu_quota or 0) > 0):
            raise NBContainersError(
                "--cpus cannot be changed where --cpu-period or --cpu-quota was given",
                hint="these change it: the one is the part of the other",
            )
        values |= {"cpu_quota": new.cpu_quota, "cpu_period": new.cpu_period}
    elif is_whole and ends:
        values |= {"cpu_quota": new.cpu_quota, "cpu_period": None}
        return annotations
    return {**annotations, limits.WHOLE: "true"} if is_whole or given.get("cpus") else annotations


def apply(folder: Path, host: Host, state: ContainerState, spec: RuntimeSpec, now: Resources) -> None:
    """Hold a running container to what changes ``now``, and its further runs to the limits of its specification.

    Raises:
        HostError: no cgroup of it can hold one of them; nothing was changed then.
        NBContainersError: the kernel refuses a value, such as less memory than it uses.
    """
    try:
        _apply(host, state, states.load_extra(folder), now)
        _tell(folder, spec, state.id, host)
    except NotFound:  # its run has ended: a next one reads what it is told, or has its groups by then
        _tell(folder, spec, state.id, host)
        with contextlib.suppress(NotFound):
            _apply(host, state, states.load_extra(folder), now)


def _apply(host: Host, state: ContainerState, extra: dict[str, Any], now: Resources) -> None:
    """As ``apply``; NotFound where its run ended meanwhile, and its groups with it."""
    name = f"{cgroups.PREFIX}{extra.get('cgroup', state.id)}"
    places: Sequence[str] = extra.get("cgroup_places") or ()
    hierarchy = host.hierarchy
    if not places:
        raise HostError(
            f"the limits of {state.name} cannot be changed while it runs: no cgroup holds them here",
            tier=host.tier,
            hint="stop it first; the limits then hold from its next start on",
        )
    made: list[str] = []
    try:
        with groups.unless_gone():
            for directory, writes in tuple(hierarchy.change(name, now, places)):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(directory, 0o755)
                    made.append(directory)
                _write(directory, writes)
                if directory in made:
                    _gather(directory, places)
    except NotFound as error:
        for directory in reversed(made):
            groups.remove(directory)
        raise NotFound(f"the run of container {state.name} that was to be limited has ended") from error


def _write(directory: str, writes: Sequence[Write]) -> None:
    """Write each; of two that bound each other (memory, and memory with swap) the order depends on what was there before."""
    waiting = list(writes)
    refused: tuple[str, str, OSError] | None = None
    while waiting:
        file, text = waiting.pop(0)
        try:
            groups.write(f"{directory}/{file}", text)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.EBUSY) and waiting and not refused:
                waiting.append((file, text))
                refused = (file, text, error)
                continue
            if _is_gone(directory, file, error):
                raise NotFound(f"{directory} is gone") from error
            file, text, first = refused or (file, text, error)  # the later one may only follow from it
            raise cgroups.explain(f"{directory}/{file}", text, first) from error


def _is_gone(directory: str, file: str, error: OSError) -> bool:
    """Whether an error says that a group is not there any more, and not that its kernel does not know the file."""
    if error.errno == errno.ENOENT:
        return not os.path.isdir(directory) or os.path.exists(f"{directory}/{file}")  # of the next run, by now
    return error.errno == errno.ENODEV


def _gather(directory: str, places: Sequence[str]) -> None:
    """Bring every process of the container into a group that was made now; those that are started meanwhile, too."""
    other = next((path for path in places if path != directory and os.path.isdir(path)), "")
    if not other:
        raise NotFound("the container has no group any more to take its processes from")
    while missing := set(groups.processes([other])) - set(groups.processes([directory])) - {0}:
        for pid in missing:
            with contextlib.suppress(ProcessLookupError):
                groups.write(f"{directory}/cgroup.procs", str(pid))
    if not os.path.isdir(other):
        raise NotFound("the container's other group is gone")


def _tell(folder: Path, spec: RuntimeSpec, identifier: str, host: Host) -> None:
    """Let the shim know what holds from now on: for what it starts anew, and for what enters later."""
    durable.replace(folder / CHANGES, launch.changes(spec, identifier, host), temporary=folder)

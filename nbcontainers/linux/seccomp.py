"""Seccomp profiles: from Docker's public JSON format to the runtime specification's, and from there to BPF.

Three steps, each a plain value: ``resolve`` decides what of a profile holds for a set of capabilities, a machine and a kernel
(``includes``, ``excludes``, ``archMap``) and gives the ``linux.seccomp`` object of the runtime specification, which runc accepts;
``compile`` makes the program that syscalls.seccomp installs, with ``flags``. ``docker_profile`` is ``resolve`` on Docker's default.

Where a profile leaves a choice we do what runc and libseccomp do, so that a profile means the same here as there:

- A name that the machine does not have, or that is newer than our table, is skipped.
- An unconditional rule for a call wins over conditional ones; then the first that holds in the order of the profile wins.
- Conditions on several arguments must all hold; where one argument is named twice each condition is a rule of its own.
- A rule with the default action says nothing. Calls newer than the newest that the profile names get ENOSYS, so that a program
  built against a newer C library falls back to what it did before (not where the default is to allow, log or trace, or ENOSYS).

Only the machine's own calls are let in: other architectures' (``int 0x80``) and x32's end the process, whatever ``architectures`` says.

Source: OCI runtime specification, "Linux Container Configuration", Seccomp; seccomp(2); docs.docker.com/engine/security/seccomp.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import NBContainersError
from ..oci.runtime import Json
from .bpf import Condition, Operator, Range, Rule, assemble

_ALLOW, _LOG, _TRACE, _NOTIFY = 0x7FFF0000, 0x7FFC0000, 0x7FF00000, 0x7FC00000
_ERRNO, _TRAP, _KILL_THREAD, _KILL_PROCESS = 0x00050000, 0x00030000, 0x00000000, 0x80000000
_ACTIONS: Mapping[str, int] = {
    "SCMP_ACT_ALLOW": _ALLOW,
    "SCMP_ACT_ERRNO": _ERRNO,
    "SCMP_ACT_KILL": _KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": _KILL_PROCESS,
    "SCMP_ACT_KILL_THREAD": _KILL_THREAD,
    "SCMP_ACT_LOG": _LOG,
    "SCMP_ACT_NOTIFY": _NOTIFY,
    "SCMP_ACT_TRACE": _TRACE,
    "SCMP_ACT_TRAP": _TRAP,
}
_OPERATORS: Mapping[str, Operator] = {
    f"SCMP_CMP_{word}": word for word in ("EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ")
}
_FLAGS: Mapping[str, int] = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 32,
}
_NEW_LISTENER = 8
_EPERM, _ENOSYS = 1, 38
_LARGEST_ERRNO = 4095  # the kernel returns no larger one (MAX_ERRNO)

# machine -> (the kernel's AUDIT_ARCH, libseccomp's name, Docker's name)
_MACHINES: Mapping[str, tuple[int, str, str]] = {
    "x86_64": (0xC000003E, "SCMP_ARCH_X86_64", "amd64"),
    "aarch64": (0xC00000B7, "SCMP_ARCH_AARCH64", "arm64"),
}
_NOT_IN_SANDBOX = frozenset(
    (
        "ptrace process_vm_readv process_vm_writev process_madvise pidfd_getfd kcmp perf_event_open bpf userfaultfd "
        "mount umount umount2 move_mount open_tree open_tree_attr fsopen fsconfig fsmount fspick mount_setattr pivot_root "
        "add_key request_key keyctl io_uring_setup io_uring_enter io_uring_register lookup_dcookie "
        "name_to_handle_at open_by_handle_at quotactl quotactl_fd swapon swapoff unshare setns chroot"
    ).split()
)
_X32, _NO_CALL = 0x40000000, 0xFFFFFFFF
_NO_CALL_OF_PROOT = 0xFFFFFFFE


def docker_profile(capabilities: Collection[str], architecture: str = "") -> dict[str, Any]:
    """Docker's default policy for a container with these capabilities, as the runtime specification's ``linux.seccomp``.

    ``architecture`` is the machine as uname writes it, or as images do (``amd64``); empty for this one.
    """
    return resolve(_docker(), capabilities, architecture)


@functools.cache
def sandbox_profile(architecture: str = "") -> dict[str, Any]:
    """The policy for code that is not trusted: Docker's for no capability, less what lets programs look into each other or mount."""
    profile = docker_profile((), architecture)
    rules = []
    for entry in profile["syscalls"]:
        names = [name for name in entry["names"] if name not in _NOT_IN_SANDBOX]
        if names:
            rules.append({**entry, "names": names})
    return {**profile, "syscalls": rules}


def resolve(profile: Json, capabilities: Collection[str], architecture: str = "", kernel: str = "") -> dict[str, Any]:
    """What of a profile in Docker's format holds, as the runtime specification's ``linux.seccomp``.

    ``kernel`` is a release as uname writes it, empty for this one. NBContainersError where the profile is malformed.
    """
    machine = _machine(architecture)
    _, own, docker = _MACHINES[machine]
    release = _release(kernel or os.uname().release)
    held = set(capabilities)
    resolved: dict[str, Any] = {"defaultAction": _text(profile, "defaultAction", "the profile")}
    if profile.get("defaultErrnoRet") is not None:
        resolved["defaultErrnoRet"] = profile["defaultErrnoRet"]
    if profile.get("archMap") and profile.get("architectures"):
        raise NBContainersError("the seccomp profile has both 'architectures' and 'archMap'", hint="keep one of them")
    resolved["architectures"] = list(profile.get("architectures") or ()) or [own]
    for entry in profile.get("archMap") or ():
        if entry.get("architecture") == own:
            resolved["architectures"] = [own, *(entry.get("subArchitectures") or ())]
    if profile.get("flags"):
        resolved["flags"] = list(profile["flags"])
    resolved["syscalls"] = [
        {
            "names": list(_names(entry)),
            "action": _text(entry, "action", "a rule of the seccomp profile"),
            **{key: entry[key] for key in ("errnoRet", "args") if entry.get(key) not in (None, [])},
        }
        for entry in profile.get("syscalls") or ()
        if _holds(entry.get("includes") or {}, held, docker, release, wanted=True)
        and _holds(entry.get("excludes") or {}, held, docker, release, wanted=False)
    ]
    return resolved


def compile(profile: Json, architecture: str = "", *, foreign: bool = False, traced: bool = False) -> bytes:  # noqa: A001 - seccomp.compile reads as what it does
    """The BPF program (packed ``struct sock_filter``) of a ``linux.seccomp`` object.

    ``foreign`` lets other architectures' calls (and x32's) pass, for a filter that is not there to guard; ``traced`` is for programs
    that PRoot traces, which skips a call in a way of its own.

    NBContainersError where it is malformed (the message says what was wanted), longer than the kernel takes, or a profile in
    Docker's format that was not resolved: its conditions would be lost.
    """
    machine = _machine(architecture)
    audit, _, _ = _MACHINES[machine]
    known = numbers(machine)
    default = _action(profile, "defaultAction", "defaultErrnoRet", "the profile")
    if default == _NOTIFY:
        raise NBContainersError(
            "the default action of a seccomp profile cannot be SCMP_ACT_NOTIFY",
            hint="who answers could not answer its own calls; name the calls to be notified of",
        )
    if profile.get("archMap"):
        raise _unresolved("archMap")
    rules: dict[int, list[Rule]] = {}
    newest = -1
    for entry in profile.get("syscalls") or ():
        for key in ("includes", "excludes"):
            if entry.get(key):
                raise _unresolved(key)
        names = _names(entry)
        action = _action(entry, "action", "errnoRet", f"the rule for {names[0]}")
        alternatives = list(_alternatives(entry, names[0]))
        for number in (known[name] for name in names if name in known):
            newest = max(newest, number)
            if action != default:
                rules.setdefault(number, []).extend(Rule(action, conditions) for conditions in alternatives)
    permissive = default & 0xFFFF0000 in {_ALLOW, _LOG, _TRACE} or default == _ERRNO | _ENOSYS
    newer = default if newest < 0 or permissive else _ERRNO | _ENOSYS
    x32 = machine == "x86_64" and not foreign
    return assemble(
        audit,
        list(_ranges(rules, default, newest, newer, x32=x32, traced=traced)),
        _ALLOW if foreign else _KILL_PROCESS,
    )


def flags(profile: Json) -> int:
    """The flags for seccomp(2) that a ``linux.seccomp`` object asks for, with NEW_LISTENER where a rule notifies.

    As in runc, SPEC_ALLOW where the profile names none: filters shall not slow the program down by mitigations it did not ask for.
    """
    mask = 0
    given = profile.get("flags")
    for name in ("SECCOMP_FILTER_FLAG_SPEC_ALLOW",) if given is None else given:
        if name not in _FLAGS:
            raise NBContainersError(
                f"no seccomp flag is called {name!r}", hint=f"there are {', '.join(sorted(_FLAGS))}"
            )
        mask |= _FLAGS[name]
    notifies = any(entry.get("action") == "SCMP_ACT_NOTIFY" for entry in profile.get("syscalls") or ())
    return mask | (_NEW_LISTENER if notifies else 0)


def _ranges(
    rules: Mapping[int, list[Rule]], default: int, newest: int, newer: int, *, x32: bool, traced: bool
) -> Iterable[Range]:
    after = 0
    for number in sorted(rules):
        if number > after:
            yield Range(after, default)
        unconditional = next((rule for rule in rules[number] if not rule.conditions), None)
        if unconditional:
            yield Range(number, unconditional.action)
        else:
            yield Range(number, default, tuple(rules[number]))
        after = number + 1
    if after <= newest:
        yield Range(after, default)
    yield Range(newest + 1, newer)
    if x32:  # the same AUDIT_ARCH with a bit set in the number; -1 is a call that a tracer has skipped, -2 one that PRoot has
        yield Range(_X32, _KILL_PROCESS)
        yield Range(_NO_CALL_OF_PROOT if traced else _NO_CALL, newer)


def _alternatives(entry: Json, name: str) -> Iterable[tuple[Condition, ...]]:
    conditions = tuple(_condition(argument, name) for argument in entry.get("args") or ())
    if len({condition.argument for condition in conditions}) == len(conditions):
        yield conditions
    else:
        yield from ((condition,) for condition in conditions)


def _condition(argument: Json, name: str) -> Condition:
    about = f"an argument of the rule for {name}"
    operator = _OPERATORS.get(_text(argument, "op", about))
    if operator is None:
        raise NBContainersError(
            f"the comparison {argument['op']!r} of {about} is not known", hint=f"there are {', '.join(_OPERATORS)}"
        )
    return Condition(
        _integer(argument, "index", about, 5),
        operator,
        _integer(argument, "value", about, 2**64 - 1),
        _integer({"valueTwo": 0, **argument}, "valueTwo", about, 2**64 - 1),
    )


def _action(data: Json, key: str, errno_key: str, about: str) -> int:
    name = _text(data, key, about)
    if name not in _ACTIONS:
        raise NBContainersError(f"the action {name!r} of {about} is not known", hint=f"there are {', '.join(_ACTIONS)}")
    action, given = _ACTIONS[name], data.get(errno_key) is not None
    if action in {_ERRNO, _TRACE}:
        return action | (
            _integer(data, errno_key, about, _LARGEST_ERRNO if action == _ERRNO else 0xFFFF) if given else _EPERM
        )
    if given:
        raise NBContainersError(
            f"{about} has {errno_key}, and {name} returns no number", hint="SCMP_ACT_ERRNO and SCMP_ACT_TRACE do"
        )
    return action


def _names(entry: Json) -> tuple[str, ...]:
    names = entry.get("names") or ([entry["name"]] if entry.get("name") else [])
    if (
        not isinstance(names, list | tuple)
        or not names
        or not all(isinstance(name, str) and name for name in names)
        or (entry.get("names") and entry.get("name"))
    ):
        raise NBContainersError(f"a rule of the seccomp profile needs 'names', a list of system calls: {dict(entry)}")
    return tuple(names)


def _text(data: Json, key: str, about: str) -> str:
    value = data.get(key)
    if not isinstance(value, str) or not value:
        raise NBContainersError(f"{about} needs {key!r}, a string: got {value!r}")
    return value


def _integer(data: Json, key: str, about: str, most: int) -> int:
    value = data.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise NBContainersError(f"{about} needs {key!r}, an integer from 0 to {most}: got {value!r}")
    return value


def _unresolved(key: str) -> NBContainersError:
    return NBContainersError(
        f"a seccomp profile with {key!r} is in Docker's format, which depends on capabilities and machine",
        hint="resolve it first",
    )


def _holds(terms: Json, held: set[str], machine: str, release: tuple[int, int], *, wanted: bool) -> bool:
    """Whether ``includes`` (all must hold) lets a rule in, or ``excludes`` (none may hold) does not keep it out."""
    found: list[bool] = []
    if terms.get("arches"):
        found.append(machine in terms["arches"])
    if terms.get("caps"):
        found.append(held >= set(terms["caps"]) if wanted else bool(held & set(terms["caps"])))
    if terms.get("minKernel"):
        found.append(release >= _release(terms["minKernel"]))
    return all(found) if wanted else not any(found)


def _release(text: str) -> tuple[int, int]:
    match = re.match(r"(\d+)\.(\d+)", text)
    if not match:
        raise NBContainersError(f"a kernel's version begins with two numbers, as 4.8: got {text!r}")
    return int(match[1]), int(match[2])


def _machine(architecture: str) -> str:
    name = architecture or os.uname().machine
    for machine, (_, _, docker) in _MACHINES.items():
        if name in {machine, docker}:
            return machine
    raise NBContainersError(
        f"seccomp profiles cannot be compiled for {name!r}", hint=f"they can for {', '.join(_MACHINES)}"
    )


@functools.cache
def _docker() -> Json:
    data: Json = json.loads((Path(__file__).parent / "seccomp_docker.json").read_text())
    return data


@functools.cache
def numbers(machine: str) -> Mapping[str, int]:
    """System call numbers by name, from runs of names by their first number (see syscall_numbers.json)."""
    runs = json.loads((Path(__file__).parent / "syscall_numbers.json").read_text())[machine]
    return {
        name: int(first) + place for first, lines in runs.items() for place, name in enumerate(" ".join(lines).split())
    }

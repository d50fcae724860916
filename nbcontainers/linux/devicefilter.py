"""Device rules on cgroup v2: a program for the kernel, made from the rules, that says who may open or make which node.

On v1 the kernel keeps the rules itself (devices.allow, devices.deny). What it makes of them there, this module does to begin with,
and what comes out is compiled to eBPF. A group is bound by its own program and by those of the groups above it, and a program goes
with its group.

Source: bpf(2); include/uapi/linux/bpf.h (struct bpf_cgroup_dev_ctx, struct bpf_insn); security/device_cgroup.c. A shim imports this
module, so it imports only what is small.
"""

from __future__ import annotations

import ctypes
import os
import struct

from . import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..oci.resources import DeviceRule

    Key = tuple[str, int | None, int | None]

_MAKE, _READ, _WRITE = 1, 2, 4  # BPF_DEVCG_ACC_*
_BITS = {"m": _MAKE, "r": _READ, "w": _WRITE}
_ALL = _MAKE | _READ | _WRITE
_TYPES = {"b": 1, "c": 2}  # BPF_DEVCG_DEV_*

_PROG_LOAD, _PROG_ATTACH = 5, 8  # enum bpf_cmd
_PROG_TYPE_CGROUP_DEVICE, _CGROUP_DEVICE = 15, 6  # enum bpf_prog_type, bpf_attach_type
_ALLOW_MULTI = 2  # BPF_F_ALLOW_MULTI: groups below may have programs of their own, and every one must agree

# Operations of struct bpf_insn.
_LOAD, _MOVE, _COPY, _AND, _SHIFT, _EXIT = 0x61, 0xB4, 0xBC, 0x54, 0x74, 0x95
_IF_EQUAL, _IF_NOT = 0x15, 0x55
_ANSWER, _CONTEXT, _TYPE, _ACCESS, _MAJOR, _MINOR, _REST = 0, 1, 2, 3, 4, 5, 6  # registers


def program(rules: Iterable[DeviceRule]) -> bytes:
    """The program that lets through what the rules do, one after another as v1 takes them; without any rule everything."""
    allowed, exceptions = _settled(rules)
    code = [
        _insn(_LOAD, _TYPE, _CONTEXT, 0),
        _insn(_COPY, _ACCESS, _TYPE),
        _insn(_AND, _TYPE, value=0xFFFF),
        _insn(_SHIFT, _ACCESS, value=16),
        _insn(_LOAD, _MAJOR, _CONTEXT, 4),
        _insn(_LOAD, _MINOR, _CONTEXT, 8),
    ]
    for (kind, major, minor), access in exceptions.items():
        code += _case(kind, major, minor, access, allowed)
    return b"".join((*code, _insn(_MOVE, _ANSWER, value=int(allowed)), _insn(_EXIT)))


def _settled(rules: Iterable[DeviceRule]) -> tuple[bool, dict[Key, int]]:
    """(whether what no exception names is allowed, the exceptions to that): what the kernel keeps of rules on v1."""
    allowed, exceptions = True, dict[tuple[str, "int | None", "int | None"], int]()
    for rule in rules:
        if rule.type == "a":
            allowed, exceptions = rule.allow, {}
            continue
        key, access = (rule.type, rule.major, rule.minor), sum(_BITS[letter] for letter in rule.access)
        if rule.allow == allowed:
            exceptions[key] = exceptions.get(key, 0) & ~access
        else:
            exceptions[key] = exceptions.get(key, 0) | access
    return allowed, {key: access for key, access in exceptions.items() if access}


def _case(kind: str, major: int | None, minor: int | None, access: int, allowed: bool) -> list[bytes]:
    """One exception: it lets through what lies wholly in its access, or stops what has a part in it."""
    tests: list[tuple[int, int, int]] = [(_IF_NOT, _TYPE, _TYPES[kind])]
    tests += [
        (_IF_NOT, register, number) for register, number in ((_MAJOR, major), (_MINOR, minor)) if number is not None
    ]
    part: list[bytes] = []
    if allowed:
        part = [_insn(_COPY, _REST, _ACCESS), _insn(_AND, _REST, value=access)]
        tests.append((_IF_EQUAL, _REST, 0))
    elif access != _ALL:
        part = [_insn(_COPY, _REST, _ACCESS), _insn(_AND, _REST, value=_ALL & ~access)]
        tests.append((_IF_NOT, _REST, 0))
    end = [_insn(_MOVE, _ANSWER, value=int(not allowed)), _insn(_EXIT)]
    left = len(tests) + len(end)
    return [
        *part,
        *(
            _insn(code, register, off=left - number, value=value)
            for number, (code, register, value) in enumerate(tests, 1)
        ),
        *end,
    ]


def _insn(code: int, target: int = 0, source: int = 0, off: int = 0, *, value: int = 0) -> bytes:
    return struct.pack("<BBhi", code, source << 4 | target, off, value)


def attach(directory: str, code: bytes) -> None:
    """Have a program decide for a cgroup v2 directory from now on. OSError where the kernel refuses: only root may."""
    license_ = ctypes.create_string_buffer(b"GPL")
    buffer = ctypes.create_string_buffer(code, len(code))
    about = (_PROG_TYPE_CGROUP_DEVICE, len(code) // 8, ctypes.addressof(buffer), ctypes.addressof(license_))
    loaded = syscalls.bpf(_PROG_LOAD, struct.pack("<IIQQ48x", *about))
    try:
        group = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            syscalls.bpf(_PROG_ATTACH, struct.pack("<IIII", group, loaded, _CGROUP_DEVICE, _ALLOW_MULTI))
        finally:
            os.close(group)
    finally:
        os.close(loaded)

"""Profiles and the programs made of them, compared call by call with libseccomp's, and with what a profile says."""

from __future__ import annotations

import functools
import itertools
import json
import math
import os
import re
import struct
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nbcontainers.errors import NBContainersError
from nbcontainers.linux import capabilities, seccomp

AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
I386, ARM = 0x40000003, 0x40000028
X32 = 0x40000000
ALLOW, EPERM, ENOSYS, KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000
NOTHING = (0,) * 6


def run(program: bytes, number: int, arch: int, arguments: tuple[int, ...] = NOTHING) -> int:
    """What the kernel would answer: an interpreter of the classic BPF that seccomp allows."""
    data = struct.pack("<IIQ6Q", number, arch, 0, *arguments)
    at = accumulator = 0
    while True:
        code, yes, no, value = struct.unpack_from("=HBBI", program, at * 8)
        at += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, value)
            case 0x06:
                return value
            case 0x05:
                at += value
            case 0x15:
                at += yes if accumulator == value else no
            case 0x25:
                at += yes if accumulator > value else no
            case 0x35:
                at += yes if accumulator >= value else no
            case 0x45:
                at += yes if accumulator & value else no
            case 0x54:
                accumulator &= value
            case _:
                raise AssertionError(f"an instruction that seccomp does not allow: {code:#x}")


@functools.cache
def peer():
    """Libseccomp through pyseccomp, or a skip."""
    try:
        return pytest.importorskip("pyseccomp", reason="needs pyseccomp (PyPI) to compare with libseccomp")
    except RuntimeError:
        pytest.skip("needs libseccomp.so.2 (Debian: libseccomp2)")


def actions(name: str, number: int | None) -> int:
    lib = peer()
    number = 1 if number is None else number
    return {
        "SCMP_ACT_ALLOW": lib.ALLOW,
        "SCMP_ACT_ERRNO": lib.ERRNO(number),
        "SCMP_ACT_KILL": lib.KILL,
        "SCMP_ACT_KILL_THREAD": lib.KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS": lib.KILL_PROCESS,
        "SCMP_ACT_TRAP": lib.TRAP,
        "SCMP_ACT_LOG": lib.LOG,
        "SCMP_ACT_NOTIFY": lib.NOTIFY,
        "SCMP_ACT_TRACE": lib.TRACE(number),
    }[name]


def libseccomp(profile: dict, machine: str) -> tuple[bytes, set[str]]:
    """The program that libseccomp makes of a profile, and the names that it does not know."""
    lib = peer()
    arch = {"x86_64": lib.Arch.X86_64, "aarch64": lib.Arch.AARCH64}[machine]
    default = actions(profile["defaultAction"], profile.get("defaultErrnoRet"))
    made = lib.SyscallFilter(default)
    if lib.system_arch() != arch:
        made.add_arch(arch)
        made.remove_arch(lib.system_arch())
    made.set_attr(lib.Attr.ACT_BADARCH, lib.KILL_PROCESS)
    unknown = set()
    for rule in profile["syscalls"]:
        action = actions(rule["action"], rule.get("errnoRet"))
        for name in rule["names"]:
            if lib.resolve_syscall(arch, name) < 0:
                unknown.add(name)
            elif action != default:
                arguments = [
                    lib.Arg(item["index"], getattr(lib, item["op"][9:]), item["value"], item.get("valueTwo", 0))
                    for item in rule.get("args", ())
                ]
                made.add_rule(action, name, *arguments)
    with tempfile.TemporaryFile() as file:
        made.export_bpf(file)
        file.seek(0)
        return file.read(), unknown


def values(profile: dict, names: set[str]) -> list[tuple[int, ...]]:
    """Arguments around every boundary that the rules for these calls speak of, in each half of 64 bits."""
    edges: dict[int, set[int]] = {}
    for rule in profile["syscalls"]:
        for item in rule.get("args", ()) if names & set(rule["names"]) else ():
            for value in (item["value"], item.get("valueTwo", 0)):
                near = {value - 1, value, value + 1, value ^ 1 << 32, value ^ 1 << 63, value & 0xFFFFFFFF, ~value, 0}
                edges.setdefault(item["index"], set()).update(edge % 2**64 for edge in near)
    columns = [sorted(edges.get(index, {0})) for index in range(6)]
    if math.prod(map(len, columns)) <= 4000:
        return list(itertools.product(*columns))
    # Too many to try: walk through each column at a pace of its own, so that the pairs differ from round to round.
    return [
        tuple(column[at * pace % len(column)] for column, pace in zip(columns, (1, 3, 5, 7, 11, 13), strict=True))
        for at in range(200)
    ]


def numbers(machine: str) -> dict[str, int]:
    return dict(seccomp.numbers(machine))


def newest(profile: dict, machine: str) -> int:
    table = numbers(machine)
    return max((table[name] for rule in profile["syscalls"] for name in rule["names"] if name in table), default=-1)


@pytest.mark.peer("libseccomp")
@pytest.mark.parametrize("held", [capabilities.DOCKER, frozenset(), capabilities.ALL], ids=["docker", "none", "all"])
@pytest.mark.parametrize("machine", AUDIT)
def test_dockers_policy_decides_every_call_as_libseccomp_does(machine: str, held: frozenset[str]) -> None:
    """Numbers 0 to 600, x32 and other machines, with arguments around every boundary; newer calls get runc's ENOSYS."""
    profile = seccomp.docker_profile(held, machine)
    ours = seccomp.compile(profile, machine)
    theirs, unknown = libseccomp(profile, machine)
    by_number = {number: name for name, number in numbers(machine).items()}
    arch, last = AUDIT[machine], newest(profile, machine)
    for number in range(601):
        name = by_number.get(number, "")
        for arguments in values(profile, {name}):
            answer = run(ours, number, arch, arguments)
            if number > last:
                assert answer == ENOSYS, number
            elif name not in unknown:
                assert answer == run(theirs, number, arch, arguments), (name, number, arguments)
    foreign = [(arch ^ 1, 0), (I386, 1), (ARM, 1)]
    if machine == "x86_64":
        foreign += [(arch, X32), (arch, X32 + 39), (arch, 2**32 - 2), (AUDIT["aarch64"], 1)]
    for other, number in foreign:
        assert run(ours, number, other) == run(theirs, number, other) == KILL
    assert run(ours, 2**32 - 1, arch) == ENOSYS


@pytest.mark.peer("libseccomp")
@pytest.mark.parametrize("machine", AUDIT)
def test_the_table_of_calls_agrees_with_libseccomp(machine: str) -> None:
    """Every call that both know has one number, and what libseccomp does not know yet is newer than its release."""
    lib = peer()
    arch = {"x86_64": lib.Arch.X86_64, "aarch64": lib.Arch.AARCH64}[machine]
    known = {name: lib.resolve_syscall(arch, name) for name in numbers(machine)}
    assert {name: n for name, n in known.items() if n >= 0} == {
        name: n for name, n in numbers(machine).items() if known[name] >= 0
    }
    unknown = {n for name, n in numbers(machine).items() if known[name] < 0}
    assert all(n >= 424 or n in {335, 336} for n in unknown), unknown


def test_the_table_of_calls_agrees_with_the_kernels_headers() -> None:
    """Every number in the headers of this machine is in the table, under the same name."""
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if not header.exists():
        pytest.skip("needs asm/unistd_64.h of x86-64 (Debian: linux-libc-dev)")
    found = re.findall(r"^#define __NR_(\w+) (\d+)$", header.read_text(), re.MULTILINE)
    assert {name: int(number) for name, number in found}.items() <= numbers("x86_64").items()


def test_the_table_holds_the_newest_calls() -> None:
    """Those that Debian 12's headers do not have, on both machines."""
    for machine in AUDIT:
        table = numbers(machine)
        assert (table["statmount"], table["listmount"], table["lsm_get_self_attr"]) == (457, 458, 459)
        assert (table["mseal"], table["setxattrat"], table["open_tree_attr"]) == (462, 463, 467)
        assert (table["file_getattr"], table["file_setattr"]) == (468, 469)


OPERATORS = ["EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ"]
WORDS = st.one_of(
    st.sampled_from([0, 1, 40, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**63, 2**64 - 1]), st.integers(0, 2**64 - 1)
)
ARGUMENTS = st.builds(
    lambda index, op, value, two: {"index": index, "op": f"SCMP_CMP_{op}", "value": value, "valueTwo": two},
    st.integers(0, 5),
    st.sampled_from(OPERATORS),
    WORDS,
    WORDS,
)
CALLS = ["read", "write", "socket", "clone", "ioctl", "personality", "statx", "openat2", "mseal", "no_such_call"]
RETURNS = st.one_of(
    st.sampled_from([{"action": f"SCMP_ACT_{word}"} for word in ("ALLOW", "KILL", "KILL_PROCESS", "TRAP", "LOG")]),
    st.builds(lambda number: {"action": "SCMP_ACT_ERRNO", "errnoRet": number}, st.integers(0, 4095)),
    st.builds(lambda number: {"action": "SCMP_ACT_TRACE", "errnoRet": number}, st.integers(0, 65535)),
    st.just({"action": "SCMP_ACT_NOTIFY"}),
)
DEFAULTS = RETURNS.filter(lambda item: item["action"] != "SCMP_ACT_NOTIFY").map(
    lambda item: (
        {"defaultAction": item["action"]} | ({"defaultErrnoRet": item["errnoRet"]} if "errnoRet" in item else {})
    )
)


def profiles(conditions: st.SearchStrategy) -> st.SearchStrategy:
    rule = st.builds(
        lambda names, action, args: {"names": names, **action, "args": args},
        st.lists(st.sampled_from(CALLS), min_size=1, max_size=3, unique=True),
        RETURNS,
        conditions,
    )
    return st.builds(lambda default, rules: {**default, "syscalls": rules}, DEFAULTS, st.lists(rule, max_size=8))


def word(profile: dict, key: str = "action", number: str = "errnoRet") -> int:
    codes = {
        "ALLOW": ALLOW,
        "ERRNO": 0x50000,
        "KILL": 0,
        "KILL_PROCESS": KILL,
        "TRAP": 0x30000,
        "LOG": 0x7FFC0000,
        "NOTIFY": 0x7FC00000,
        "TRACE": 0x7FF00000,
    }
    return codes[profile[key][9:]] | profile.get(number, 0)


def holds(item: dict, arguments: tuple[int, ...]) -> bool:
    left, value, two = arguments[item["index"]], item["value"], item["valueTwo"]
    return {
        "EQ": left == value,
        "NE": left != value,
        "LT": left < value,
        "LE": left <= value,
        "GT": left > value,
        "GE": left >= value,
        "MASKED_EQ": left & value == two & value,
    }[item["op"][9:]]


def said(profile: dict, name: str, arguments: tuple[int, ...]) -> int:
    """What the profile says, read as the module's page does."""
    default = word(profile, "defaultAction", "defaultErrnoRet")
    rules = []
    for rule in profile["syscalls"]:
        if name in rule["names"] and word(rule) != default:
            apart = len({item["index"] for item in rule["args"]}) < len(rule["args"])
            rules += [(word(rule), [item]) for item in rule["args"]] if apart else [(word(rule), rule["args"])]
    for action, items in rules:
        if not items:
            return action
    for action, items in rules:
        if all(holds(item, arguments) for item in items):
            return action
    permissive = default == ENOSYS or default & 0xFFFF0000 in {ALLOW, 0x7FFC0000, 0x7FF00000}
    last = newest(profile, "x86_64")
    return ENOSYS if numbers("x86_64")[name] > last >= 0 and not permissive else default


@settings(max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(profile=profiles(st.lists(ARGUMENTS, max_size=4)), arguments=st.tuples(*[WORDS] * 6))
def test_a_program_decides_what_its_profile_says(profile: dict, arguments: tuple[int, ...]) -> None:
    """Any mixture of actions, comparisons and orders; on every call that is named and on one that is not."""
    program = seccomp.compile(profile, "amd64")
    for name in [*CALLS[:-1], "getpid", "listns"]:
        for row in [arguments, *values(profile, {name})[:200]]:
            assert run(program, numbers("x86_64")[name], AUDIT["x86_64"], row) == said(profile, name, row), name


FEW = st.lists(ARGUMENTS, max_size=4, unique_by=lambda item: item["index"]).map(lambda items: [items])
EQUAL = st.lists(WORDS, min_size=1, max_size=6, unique=True).map(
    lambda found: [[{"index": 0, "op": "SCMP_CMP_EQ", "value": value, "valueTwo": 0}] for value in found]
)


@pytest.mark.peer("libseccomp")
@settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(rules=st.dictionaries(st.sampled_from(CALLS[:6]), st.one_of(FEW, EQUAL), min_size=1))
def test_random_profiles_decide_as_libseccomp_does(rules: dict[str, list]) -> None:
    """Any conditions in one rule for a call, or a choice of values for one argument of it.

    Nothing wilder: libseccomp does not say which of several actions wins where conditions overlap, and where rules for one call
    overlap 2.5.4 itself errs (arguments 2, 0 pass "0 is 0 and 1 is 0, or 0 is not 1 and 1 is 1").
    """
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [
            {"names": [name], "action": "SCMP_ACT_ALLOW", "args": items}
            for name, several in rules.items()
            for items in several
        ],
    }
    ours = seccomp.compile(profile, "x86_64")
    theirs, _ = libseccomp(profile, "x86_64")
    for name in rules:
        for row in values(profile, {name})[:500]:
            number = numbers("x86_64")[name]
            assert run(ours, number, AUDIT["x86_64"], row) == run(theirs, number, AUDIT["x86_64"], row), (name, row)


def rule(names: list[str], action: str = "SCMP_ACT_ALLOW", **more: object) -> dict:
    return {"names": names, "action": action, **more}


def test_far_jumps_reach() -> None:
    """A policy with hundreds of conditions on each of many calls needs jumps that one byte cannot hold."""
    many = [
        rule([name], args=[{"index": 0, "op": "SCMP_CMP_EQ", "value": value}])
        for name in ("read", "ioctl", "openat2", "statx")
        for value in range(150)
    ]
    profile = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [*many, rule(["getpid", "mseal"])]}
    program = seccomp.compile(profile, "x86_64")
    assert 2400 < len(program) // 8 <= 4096
    table = numbers("x86_64")
    for name in ("read", "ioctl", "openat2", "statx"):
        for value, answer in ((0, ALLOW), (149, ALLOW), (150, EPERM)):
            assert run(program, table[name], AUDIT["x86_64"], (value, *NOTHING[1:])) == answer
    assert run(program, table["getpid"], AUDIT["x86_64"]) == run(program, table["mseal"], AUDIT["x86_64"]) == ALLOW
    assert run(program, table["close"], AUDIT["x86_64"]) == EPERM


def test_a_program_longer_than_the_kernel_takes_is_refused() -> None:
    """4096 instructions are the most, and the error says how many there would be."""
    many = [rule(["read"], args=[{"index": 0, "op": "SCMP_CMP_EQ", "value": value}]) for value in range(900)]
    with pytest.raises(NBContainersError, match=r"needs 4\d{3} instructions.* 4096"):
        seccomp.compile({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": many}, "x86_64")


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        ({}, "'defaultAction'"),
        ({"defaultAction": "ALLOW"}, "action 'ALLOW'"),
        ({"defaultAction": "SCMP_ACT_NOTIFY"}, "SCMP_ACT_NOTIFY"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 5}, "returns no number"),
        ({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 5000}, "from 0 to 4095: got 5000"),
        ({"defaultAction": "SCMP_ACT_ERRNO", "archMap": [{}]}, "'archMap'"),
        ({"syscalls": [rule(["read"], includes={"caps": ["CAP_KILL"]})]}, "'includes'"),
        ({"syscalls": [rule([])]}, "'names'"),
        ({"syscalls": [rule(["read"], "DENY")]}, "'DENY' of the rule for read"),
        ({"syscalls": [rule(["read"], errnoRet=1)]}, "returns no number"),
        ({"syscalls": [rule(["read"], args=[{"index": 6, "op": "SCMP_CMP_EQ", "value": 1}])]}, "from 0 to 5: got 6"),
        ({"syscalls": [rule(["read"], args=[{"index": 0, "op": "EQ", "value": 1}])]}, "comparison 'EQ'"),
        ({"syscalls": [rule(["read"], args=[{"index": 0, "op": "SCMP_CMP_EQ", "value": "1"}])]}, "got '1'"),
        ({"syscalls": [rule(["read"], args=[{"index": 0, "op": "SCMP_CMP_EQ", "value": -1}])]}, "got -1"),
    ],
)
def test_a_malformed_profile_is_refused_with_what_was_wanted(profile: dict, message: str) -> None:
    """Nothing of a profile is passed over in silence but names that this machine does not have."""
    whole = profile if "syscalls" not in profile else {"defaultAction": "SCMP_ACT_ERRNO", **profile}
    with pytest.raises(NBContainersError, match=re.escape(message)):
        seccomp.compile(whole, "x86_64")


def test_an_unknown_machine_is_refused() -> None:
    """The hint names those that are known."""
    with pytest.raises(NBContainersError, match="'s390x'") as caught:
        seccomp.compile({"defaultAction": "SCMP_ACT_ALLOW"}, "s390x")
    assert "aarch64" in caught.value.hint


def test_a_profile_is_resolved_for_capabilities_machine_and_kernel() -> None:
    """Docker's includes must all hold and none of its excludes may."""
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 13,
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
        "syscalls": [
            {"name": "read", "action": "SCMP_ACT_ALLOW", "args": [], "comment": "as older profiles write it"},
            rule(["mount"], includes={"caps": ["CAP_SYS_ADMIN", "CAP_KILL"]}),
            rule(["clone"], excludes={"caps": ["CAP_SYS_ADMIN"], "arches": ["s390x"]}),
            rule(["ptrace"], includes={"minKernel": "4.8"}),
            rule(["arch_prctl"], includes={"arches": ["amd64", "x32"]}),
            rule(["socket"], excludes={"minKernel": "6.0"}),
        ],
    }

    def names(held: set[str], machine: str, kernel: str) -> list[str]:
        return [entry["names"][0] for entry in seccomp.resolve(profile, held, machine, kernel)["syscalls"]]

    assert names({"CAP_SYS_ADMIN"}, "amd64", "6.1.0-13-cloud") == ["read", "ptrace", "arch_prctl"]
    assert names({"CAP_SYS_ADMIN", "CAP_KILL"}, "arm64", "4.10.1") == ["read", "mount", "ptrace", "socket"]
    assert names(set(), "x86_64", "4.7") == ["read", "clone", "arch_prctl", "socket"]
    resolved = seccomp.resolve(profile, set(), "x86_64")
    assert resolved["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    assert resolved["defaultErrnoRet"] == 13
    assert seccomp.resolve(profile, set(), "arm64")["architectures"] == ["SCMP_ARCH_AARCH64"]
    with pytest.raises(NBContainersError, match="both"):
        seccomp.resolve({**profile, "architectures": ["SCMP_ARCH_X86_64"]}, set())


def test_dockers_policy_is_plain_runtime_specification() -> None:
    """Only keys that the specification has, so that runc takes it; and it survives JSON."""
    profile = seccomp.docker_profile(capabilities.DOCKER)
    assert json.loads(json.dumps(profile)) == profile
    assert set(profile) == {"defaultAction", "defaultErrnoRet", "architectures", "syscalls"}
    assert {key for entry in profile["syscalls"] for key in entry} <= {"names", "action", "errnoRet", "args"}


def test_flags_are_the_kernels() -> None:
    """What runc sets where a profile names none, what a profile names, and a listener where one is needed."""
    assert seccomp.flags({}) == 4
    assert seccomp.flags({"flags": []}) == 0
    assert seccomp.flags({"flags": ["SECCOMP_FILTER_FLAG_LOG"], "syscalls": [rule(["read"], "SCMP_ACT_NOTIFY")]}) == 10
    with pytest.raises(NBContainersError, match="'LOG'"):
        seccomp.flags({"flags": ["LOG"]})


def test_the_default_policy_is_short() -> None:
    """It decides every call in some ten comparisons, so that an image of a program starts as fast as without it."""
    program = seccomp.compile(seccomp.docker_profile(capabilities.DOCKER))
    assert len(program) // 8 < 400
    assert os.uname().machine in AUDIT

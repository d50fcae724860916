"""A decision over a system call's architecture, number and arguments, as a classic BPF program for seccomp(2).

The program is a balanced tree over ranges of numbers: about eight comparisons decide any call. What is decided by the number
alone never loads an argument, so that the kernel (5.11 and newer) keeps the answer in a bitmap and does not run the program again.

Source: seccomp(2); linux/filter.h; Documentation/userspace-api/seccomp_filter.rst.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Literal, NamedTuple

from ..errors import NBContainersError

LIMIT = 4096
"""Instructions that the kernel takes at most (BPF_MAXINSNS)."""

Operator = Literal["EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ"]

# struct seccomp_data: int nr; __u32 arch; __u64 instruction_pointer; __u64 args[6]. Both machines are little-endian.
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_LOAD, _JUMP, _IF_EQ, _IF_GT, _IF_GE, _AND, _RETURN = 0x20, 0x05, 0x15, 0x25, 0x35, 0x54, 0x06
_WORD = 0xFFFFFFFF
_FURTHEST = 255  # a conditional jump's distance is one byte


class Condition(NamedTuple):
    """``argument <operator> value`` on 64 bits, unsigned; MASKED_EQ is ``argument & value == wanted & value``."""

    argument: int
    operator: Operator
    value: int
    wanted: int = 0


class Rule(NamedTuple):
    """What is returned where all conditions hold."""

    action: int
    conditions: tuple[Condition, ...] = ()


class Range(NamedTuple):
    """System calls from ``first`` up to the next range: the first rule that holds decides, else ``otherwise`` does."""

    first: int
    otherwise: int
    rules: tuple[Rule, ...] = ()


class _Instruction(NamedTuple):
    code: int
    yes: int
    no: int
    value: int


def assemble(architecture: int, ranges: Sequence[Range], refused: int) -> bytes:
    """The program as packed ``struct sock_filter``; calls of any other architecture get the action ``refused``.

    ``ranges`` are sorted, and the first begins at 0. NBContainersError where it would be longer than the kernel takes.
    """
    merged: list[Range] = []
    for entry in ranges:
        if not (merged and merged[-1][1:] == entry[1:]):
            merged.append(entry)
    code = [
        _Instruction(_LOAD, 0, 0, _ARCHITECTURE),
        _Instruction(_IF_EQ, 1, 0, architecture),
        _Instruction(_RETURN, 0, 0, refused),
        _Instruction(_LOAD, 0, 0, _NUMBER),
        *_tree(merged),
    ]
    if len(code) > LIMIT:
        raise NBContainersError(
            f"the seccomp profile needs {len(code)} instructions, and the kernel takes {LIMIT}",
            hint="fewer conditions on arguments make it shorter",
        )
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def _tree(ranges: Sequence[Range]) -> list[_Instruction]:
    if len(ranges) == 1:
        return _decision(ranges[0])
    middle = (len(ranges) + 1) // 2
    low, high = _tree(ranges[:middle]), _tree(ranges[middle:])
    if len(low) <= _FURTHEST:
        return [_Instruction(_IF_GE, len(low), 0, ranges[middle].first), *low, *high]
    far = _Instruction(_JUMP, 0, 0, len(low))
    return [_Instruction(_IF_GE, 0, 1, ranges[middle].first), far, *low, *high]


def _decision(entry: Range) -> list[_Instruction]:
    code: list[_Instruction] = []
    for rule in entry.rules:
        code += _rule(rule)
    return [*code, _Instruction(_RETURN, 0, 0, entry.otherwise)]


def _rule(rule: Rule) -> list[_Instruction]:
    # Six arguments at most, of at most six instructions each: every jump in here is short.
    code = [_Instruction(_RETURN, 0, 0, rule.action)]
    for condition in reversed(rule.conditions):
        code = _condition(condition, len(code)) + code
    return code


def _condition(condition: Condition, rest: int) -> list[_Instruction]:
    """Fall through to the ``rest`` instructions that follow where it holds, else jump over them.

    The kernel loads 32 bits at a time: the upper half decides unless it is equal, then the lower half does.
    """
    high, low = condition.value >> 32, condition.value & _WORD
    offset = _ARGUMENTS + 8 * condition.argument
    load_high, load_low = _Instruction(_LOAD, 0, 0, offset + 4), _Instruction(_LOAD, 0, 0, offset)
    match condition.operator:
        case "EQ":
            return [
                load_high,
                _Instruction(_IF_EQ, 0, rest + 2, high),
                load_low,
                _Instruction(_IF_EQ, 0, rest, low),
            ]
        case "NE":
            return [
                load_high,
                _Instruction(_IF_EQ, 0, 2, high),
                load_low,
                _Instruction(_IF_EQ, rest, 0, low),
            ]
        case "GT" | "GE":
            last = _IF_GT if condition.operator == "GT" else _IF_GE
            return [
                load_high,
                _Instruction(_IF_GT, 3, 0, high),
                _Instruction(_IF_EQ, 0, rest + 2, high),
                load_low,
                _Instruction(last, 0, rest, low),
            ]
        case "LT" | "LE":
            last = _IF_GE if condition.operator == "LT" else _IF_GT
            return [
                load_high,
                _Instruction(_IF_GT, rest + 3, 0, high),
                _Instruction(_IF_EQ, 0, 2, high),
                load_low,
                _Instruction(last, rest, 0, low),
            ]
        case "MASKED_EQ":
            wanted = condition.wanted & condition.value
            return [
                load_high,
                _Instruction(_AND, 0, 0, high),
                _Instruction(_IF_EQ, 0, rest + 3, wanted >> 32),
                load_low,
                _Instruction(_AND, 0, 0, low),
                _Instruction(_IF_EQ, 0, rest, wanted & _WORD),
            ]

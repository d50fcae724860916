"""Where the content of a sparse file in a tar archive belongs: GNU's four ways of writing it, as (offset, length) parts.

Source: GNU tar manual, "Storing Sparse Files" (old format, PAX 0.0, 0.1 and 1.0).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..errors import IntegrityError

Parts = tuple[tuple[int, int], ...]

_RECORD = 512
_MOST_PARTS = 1 << 20
_LONGEST = 20  # digits of a number


def old(block: bytes, record: Callable[[], bytes]) -> tuple[Parts, int]:
    """Read the map of a GNU header of type S: its parts and the file's size."""
    parts = _numbers(block[386:482])
    more = block[482]
    while more:
        extension = record()
        if len(extension) < _RECORD or len(parts) > _MOST_PARTS:
            raise IntegrityError("a sparse file whose map has no end")
        parts += _numbers(extension[:504])
        more = extension[504]
    return tuple(parts), _number(block[483:495])


def pax(
    records: Mapping[bytes, bytes],
    listed: Sequence[tuple[bytes, bytes]],
    name: bytes,
    record: Callable[[], bytes],
    stored: int,
) -> tuple[Parts, int, bytes, int]:
    """Read the map of a PAX sparse file: parts, the file's size, its name, and how many stored bytes the map itself took."""
    name = records.get(b"GNU.sparse.name", name)
    size = _decimal(records.get(b"GNU.sparse.realsize", records.get(b"GNU.sparse.size", b"")))
    used = 0
    if b"GNU.sparse.major" in records:
        if (records[b"GNU.sparse.major"], records.get(b"GNU.sparse.minor")) != (b"1", b"0"):
            raise IntegrityError("a sparse file of an unknown version")
        numbers, used = _leading(record, stored)
    elif b"GNU.sparse.map" in records:
        numbers = [_decimal(text) for text in records[b"GNU.sparse.map"].split(b",")]
    else:
        numbers = [_decimal(value) for key, value in listed if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes")]
    if len(numbers) % 2:
        raise IntegrityError("a sparse file whose map lacks a number")
    return tuple(zip(numbers[::2], numbers[1::2], strict=True)), size, name, used


def check(parts: Parts, size: int, stored: int) -> None:
    """Refuse a map that lies: parts out of order or beyond the file's end, or not as long together as what is stored."""
    at = 0
    for offset, length in parts:
        if offset < at or length < 0:
            raise IntegrityError("a sparse file whose parts overlap")
        at = offset + length
    if at > size or sum(length for _, length in parts) != stored:
        raise IntegrityError("a sparse file whose map does not fit its content")


def _leading(record: Callable[[], bytes], stored: int) -> tuple[list[int], int]:
    """The map of version 1.0: it stands before the content, decimal lines padded to whole records: count, offset, length."""
    numbers: list[int] = []
    rest, used, wanted = b"", 0, 1
    while len(numbers) < wanted:
        block = record() if used + _RECORD <= stored else b""
        if not block or len(rest) > _LONGEST or wanted > 2 * _MOST_PARTS:
            raise IntegrityError("a sparse file whose map has no end")
        used += _RECORD
        *lines, rest = (rest + block).split(b"\n")  # each record once: a map may be long
        for line in lines[: wanted - len(numbers)] if numbers else lines[:1]:
            numbers.append(_decimal(line))
        if len(numbers) == 1 and wanted == 1:
            wanted = 1 + 2 * numbers[0]
            numbers += map(_decimal, lines[1:wanted])
    return numbers[1:], used


def _numbers(fields: bytes) -> list[tuple[int, int]]:
    found = []
    for at in range(0, len(fields) - 23, 24):
        if not fields[at]:
            break
        found.append((_number(fields[at : at + 12]), _number(fields[at + 12 : at + 24])))
    return found


def _number(text: bytes) -> int:
    if text[0] == 0x80:
        return int.from_bytes(text[1:], "big")
    digits = text.strip(b" \0")
    if digits.strip(b"01234567"):
        raise IntegrityError(f"a sparse file with {text!r} for a number")
    return int(digits or b"0", 8)


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > _LONGEST:
        raise IntegrityError(f"a sparse file with {text[:40]!r} for a number")
    return int(text)

"""One header of a tar archive: to and from its 512-byte records, ustar with PAX records before it where those are needed.

Source: POSIX.1-2017, pax, "pax Interchange Format" and "ustar Interchange Format"; GNU tar manual, "Basic Tar Format".
"""

from __future__ import annotations

import functools
import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import IntegrityError

REGULAR, HARDLINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
RECORD = 512

_XATTR = b"SCHILY.xattr."
_OCTAL_SIZE = 0o77777777777
_OCTAL_ID = 0o7777777
_MOST_BYTES = (1 << 63) - 1
_MOST_ID = (1 << 32) - 1
_MOST_TIME = 10**9 << 63  # nanoseconds
_FIELDS = struct.Struct("100s8s8s8s12s12s8x1s100s6s66x8s8s155s12x")
_NAME_FIELDS = {b"path": "name", b"linkpath": "link"}
_NUMBER_FIELDS = {b"uid": "uid", b"gid": "gid", b"size": "size"}


@dataclass(slots=True)
class Header:
    """One entry. ``name`` has no trailing slash for a folder; ``type`` is tar's type flag; ``size`` is the body's, holes included."""

    name: bytes
    type: bytes = REGULAR
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime_ns: int = 0
    link: bytes = b""
    major: int = 0
    minor: int = 0
    xattrs: dict[bytes, bytes] = field(default_factory=dict)


def verify(block: bytes) -> None:
    """Raise IntegrityError unless the checksum is right."""
    wanted = number(block[148:155])  # six digits, a zero byte and a space
    # The low half of Adler's checksum is 1 + the sum of all bytes, modulo 65521 (RFC 1950), and ten times faster than sum().
    rest = (zlib.adler32(block) & 0xFFFF) - 1 - sum(block[148:156]) + 256 - wanted
    if rest % 65521:
        signed = sum(block[:148]) + sum(block[156:]) + 256 - 256 * sum(byte > 127 for byte in block[:148] + block[156:])
        if wanted != signed:  # as some old writers added it up
            raise IntegrityError("a tar header with a wrong checksum", hint="it is damaged, or it is no tar archive")


def parse(block: bytes) -> Header:
    """The fields of one record, as they stand in it."""
    name, mode, uid, gid, size, mtime, kind, link, magic, major, minor, prefix = _FIELDS.unpack(block)
    name = name.partition(b"\0")[0]
    if prefix[0] and magic == b"ustar\0":
        name = prefix.partition(b"\0")[0] + b"/" + name
    device = kind in b"34"
    header = Header(
        name,
        kind,
        _often(mode) & 0o7777,
        _often(uid),
        _often(gid),
        number(size),
        _often(mtime) * 1_000_000_000,
        link.partition(b"\0")[0],
        number(major) if device else 0,
        number(minor) if device else 0,
    )
    if header.size < 0 or header.uid < 0 or header.gid < 0:
        raise IntegrityError(f"a tar header with a negative number: {os.fsdecode(name)!r}")
    return header


def number(text: bytes) -> int:
    """A number in octal digits or GNU's base 256."""
    if text[-1] in b"\0 ":  # as nearly all are written: digits and one such byte
        try:
            return int(text[:-1], 8)
        except ValueError:
            pass
    if text[0] == 0xFF:
        return int.from_bytes(text, "big", signed=True)
    if text[0] & 0x80:
        return int.from_bytes(text, "big") - (0x80 << 8 * (len(text) - 1))
    digits = text.strip(b" \0")
    if digits.strip(b"01234567"):
        raise IntegrityError(f"a tar header with {text!r} for a number", hint="it is damaged, or it is no tar archive")
    return int(digits or b"0", 8)


_often = functools.lru_cache(512)(number)  # modes, owners and times are the same in most headers


def pax_records(data: bytes) -> list[tuple[bytes, bytes]]:
    """The keys and values of a PAX header's content, in order."""
    records, at = [], 0
    while at < len(data) and data[at]:
        space = data.find(b" ", at, at + 20)
        length = data[at:space] if space > 0 else b""
        end = at + int(length) if length.isdigit() else 0
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if end <= space + 2 or end > len(data) or data[end - 1] != 10 or not equals or not key:
            raise IntegrityError("a PAX header with a record that is none")
        records.append((key, value))
        at = end
    return records


def extend(header: Header, extended: Mapping[bytes, bytes]) -> None:
    """Let PAX records say what they say over the header."""
    for key, value in extended.items():
        if key == b"mtime" and value:
            header.mtime_ns = _nanoseconds(value)
        elif key.startswith(_XATTR):
            header.xattrs[key[len(_XATTR) :]] = value
        elif not value:
            continue  # an empty value takes back what a global header said: nothing, here
        elif key in _NAME_FIELDS:
            setattr(header, _NAME_FIELDS[key], value)
        elif key in _NUMBER_FIELDS:
            if not value.isdigit() or len(value) > 20:
                raise IntegrityError(f"a PAX header with {key.decode()} {value[:40]!r}")
            setattr(header, _NUMBER_FIELDS[key], int(value))


def bound(header: Header) -> None:
    """Refuse numbers and names that no kernel takes, which base 256 and PAX records can say: IntegrityError."""
    if b"\0" in header.name or b"\0" in header.link:
        raise IntegrityError(f"a tar entry with a zero byte in its name: {os.fsdecode(header.name)!r}")
    if (
        header.size > _MOST_BYTES
        or header.uid > _MOST_ID
        or header.gid > _MOST_ID
        or not -_MOST_TIME < header.mtime_ns < _MOST_TIME
        or not (0 <= header.major <= _MOST_ID and 0 <= header.minor <= _MOST_ID)
    ):
        raise IntegrityError(f"a tar entry with a number beyond every bound: {os.fsdecode(header.name)!r}")


def _nanoseconds(value: bytes) -> int:
    whole, _, fraction = value.partition(b".")
    if not (whole + fraction).removeprefix(b"-").isdigit() or len(whole) > 20:
        raise IntegrityError(f"a PAX header with mtime {value[:40]!r}")
    if not fraction.isdigit():
        fraction = b"0"
    time = int(whole.lstrip(b"-") or b"0") * 1_000_000_000 + int(fraction[:9].ljust(9, b"0"))
    return -time if value[0] == 45 else time


def pack(entry: Header) -> bytes:
    """The header's records: a PAX header before the ustar one where that cannot say it all."""
    name = entry.name + b"/" if entry.type == DIRECTORY else entry.name
    link, prefix, records = entry.link, b"", b""
    if len(name) > 100:
        cut = name.rfind(b"/", 0, 156)
        if cut > 0 and 0 < len(name) - cut - 1 <= 100:
            prefix, name = name[:cut], name[cut + 1 :]
        else:
            records, name = _pax(b"path", name), name[:100]
    if len(link) > 100:
        records, link = records + _pax(b"linkpath", link), link[:100]
    uid, gid, size = entry.uid, entry.gid, entry.size if entry.type in b"0x" else 0
    if uid > _OCTAL_ID:
        records, uid = records + _pax(b"uid", b"%d" % uid), 0
    if gid > _OCTAL_ID:
        records, gid = records + _pax(b"gid", b"%d" % gid), 0
    if size > _OCTAL_SIZE:
        records, size = records + _pax(b"size", b"%d" % size), 0
    seconds, fraction = divmod(entry.mtime_ns, 1_000_000_000)
    if fraction or not 0 <= seconds <= _OCTAL_SIZE:
        sign, (whole, part) = b"-" * (entry.mtime_ns < 0), divmod(abs(entry.mtime_ns), 1_000_000_000)
        records += _pax(b"mtime", b"%s%d.%09d" % (sign, whole, part))
        seconds = min(max(seconds, 0), _OCTAL_SIZE)
    for key in sorted(entry.xattrs):
        records += _pax(_XATTR + key, entry.xattrs[key])
    block = b"%s%07o\0%07o\0%07o\0%011o\0%011o\0        %b%sustar\x0000%s%07o\0%07o\0%s" % (
        name.ljust(100, b"\0"),
        entry.mode & 0o7777,
        uid,
        gid,
        size,
        seconds,
        entry.type,
        link.ljust(100, b"\0"),
        bytes(64),
        entry.major,
        entry.minor,
        prefix.ljust(167, b"\0"),
    )
    # In ASCII the sum stays below 65521, so that Adler's checksum is the sum and one (RFC 1950).
    checksum = (zlib.adler32(block) & 0xFFFF) - 1 if block.isascii() else sum(block)
    block = b"%b%06o\0 %b" % (block[:148], checksum, block[156:])
    return block if not records else _extended(len(records)) + records + bytes(-len(records) % RECORD) + block


@functools.cache
def _extended(length: int) -> bytes:
    return pack(Header(b"PaxHeader", b"x", size=length))


def _pax(key: bytes, value: bytes) -> bytes:
    """``LENGTH KEY=VALUE`` and a newline, where the length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)

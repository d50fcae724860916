r"""A container's log: one JSON object per line as Docker's json-file driver has them, and nothing lost.

``{"log":"text\n","stream":"stdout","time":"2026-01-02T03:04:05.678901234Z"}``. A line that came in pieces stands in as many
records, in the order and at the times in which they came: a ``log`` without a newline goes on in its stream's next record.
Bytes that are no UTF-8 stand as U+FFFD in ``log``, where Docker puts them too, and whole in base64 under ``raw``.

The shim imports this: only what keeps the zygote small.
"""

from __future__ import annotations

import time
from _json import encode_basestring, scanstring
from binascii import a2b_base64, b2a_base64

NAME = "log"
STDIN, STDOUT, STDERR = 0, 1, 2
STREAMS = ("stdin", "stdout", "stderr")
_HEAD, _STREAM, _TIME, _RAW = '{"log":', ',"stream":"', '","time":"', '","raw":"'
_NEWLINE = "\n"  # an f-string takes no backslash before Python 3.12
_LONGEST_CHARACTER = 4
_BESIDE = 80  # bytes of a record beside its line


def records(stream: int, data: bytes, now_ns: int) -> bytes:
    """What the log gets for bytes that a stream wrote: a record per line, the last one perhaps unfinished."""
    seconds, rest = divmod(now_ns, 1_000_000_000)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    tail = f"{_STREAM}{STREAMS[stream]}{_TIME}{stamp}.{rest:09d}Z"
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return "".join(_record(line, tail) for line in _lines(data)).encode()
    end = tail + '"}\n'
    *lines, last = text.split("\n")
    written = [f"{_HEAD}{encode_basestring(line + _NEWLINE)}{end}" for line in lines]
    if last:
        written.append(f"{_HEAD}{encode_basestring(last)}{end}")
    return "".join(written).encode()


def pieces(data: bytes, most: int) -> list[bytes]:
    """The same bytes in pieces of whole lines, whose records have not many more than ``most`` bytes each unless a line has."""
    if len(data) * _BESIDE < most:  # as nearly always, even if each byte were a line
        return [data]
    found, begin, end, size = [], 0, 0, 0
    while end < len(data):
        after = data.find(b"\n", end) + 1 or len(data)
        size += after - end + _BESIDE
        end = after
        if size >= most or end == len(data):
            found.append(data[begin:end])
            begin, size = end, 0
    return found


def parse(record: bytes) -> tuple[int, bytes, str] | None:
    """(stream, bytes as written, time) of a record; None for a torn one, which a full disk or a crash can leave."""
    try:
        text = record.decode()
        if not text.startswith(_HEAD) or not text.endswith('"}\n'):
            return None
        content, end = scanstring(text, len(_HEAD) + 1)
        stream, _, rest = text[end + len(_STREAM) :].partition('"')
        stamp, _, raw = rest[len(_TIME) - 1 : -3].partition(_RAW)
        return STREAMS.index(stream), a2b_base64(raw) if raw else content.encode(), stamp
    except ValueError:
        return None


def line_end(record: bytes) -> tuple[bytes, bool]:
    """(the beginning of what names a record's stream, whether its line ends with it), not parsed: a log may have millions."""
    text, _, stream = record.rpartition(b'","stream":"')
    backslashes = len(text) - len(text[:-1].rstrip(b"\\")) - 1
    return stream[:4], text.endswith(b"n") and backslashes % 2 == 1


def whole_characters(data: bytes) -> int:
    """How many bytes to take so that no UTF-8 character is cut at the end; all of them if that is no start of one."""
    for back in range(1, min(_LONGEST_CHARACTER, len(data) + 1)):
        byte = data[-back]
        if byte < 0x80:
            break
        if byte >= 0xC0:
            wanted = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(data) - back if back < wanted else len(data)
    return len(data)


def _record(line: bytes, tail: str) -> str:
    try:
        return f'{_HEAD}{encode_basestring(line.decode())}{tail}"}}\n'
    except UnicodeDecodeError:
        shown = encode_basestring(line.decode("utf-8", "replace"))
        return f'{_HEAD}{shown}{tail}{_RAW}{b2a_base64(line, newline=False).decode()}"}}\n'


def _lines(data: bytes) -> list[bytes]:
    *lines, last = data.split(b"\n")
    return [line + b"\n" for line in lines] + ([last] if last else [])

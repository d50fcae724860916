"""Another process's memory, as far as ptrace(2) allows; see process_vm_readv(2).

The zygote imports this module, so it imports only what is small.
"""

from __future__ import annotations

import ctypes
import errno
import os

_libc = ctypes.CDLL(None, use_errno=True)
_read = _libc.process_vm_readv
_write = _libc.process_vm_writev
_read.restype = _write.restype = ctypes.c_ssize_t
_PAGE = 4096
_LONGEST = 4096  # PATH_MAX, with its zero
_USUAL = 256  # as long are nearly all paths


class _Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


_buffer = ctypes.create_string_buffer(_LONGEST + 1)
_near = _Vector(ctypes.addressof(_buffer), _LONGEST)
_far = _Vector(0, 0)
_source, _target = _Vector(0, 0), _Vector(0, 0)
_source_at, _target_at = ctypes.byref(_source), ctypes.byref(_target)
_near_at, _far_at = ctypes.byref(_near), ctypes.byref(_far)


def read(pid: int, address: int, size: int) -> bytes:
    """``size`` bytes of a process; OSError (EFAULT) where it has not got them."""
    local = ctypes.create_string_buffer(size or 1)
    near, far = _Vector(ctypes.addressof(local), size), _Vector(address, size)
    count = _read(pid, ctypes.byref(near), 1, ctypes.byref(far), 1, 0)
    if count != size:
        raise OSError(ctypes.get_errno() if count < 0 else errno.EFAULT, os.strerror(errno.EFAULT))
    return local.raw[:size]


def read_text(pid: int, address: int) -> bytes:
    """The bytes up to a zero, of which there must be one within 4096; OSError (EFAULT, ENAMETOOLONG) where not."""
    text, size = b"", _USUAL
    while len(text) < _LONGEST:
        begin = address + len(text)
        # Not beyond a page: the next one may not be there.
        _far.base, _far.length = begin, min(size, _LONGEST - len(text), _PAGE - begin % _PAGE)
        count = _read(pid, _near_at, 1, _far_at, 1, 0)
        if count <= 0:
            raise OSError(ctypes.get_errno() or errno.EFAULT, os.strerror(errno.EFAULT))
        _buffer[count] = b"\0"
        part = _buffer.value
        text += part
        if len(part) < count:
            return text
        size = _LONGEST
    raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))


def write(pid: int, address: int, data: bytes | ctypes.Array[ctypes.c_char]) -> None:
    """Put bytes into a process, where it could write itself; OSError (EFAULT) where it could not."""
    size = len(data)
    local = (ctypes.c_char * size).from_buffer_copy(data) if isinstance(data, bytes) else data
    _source.base = ctypes.addressof(local)
    _source.length = _target.length = size
    _target.base = address
    count = _write(pid, _source_at, 1, _target_at, 1, 0)
    if count != size:
        raise OSError(ctypes.get_errno() if count < 0 else errno.EFAULT, os.strerror(errno.EFAULT))

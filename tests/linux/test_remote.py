"""Another process's memory, with this process for the other."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os

import pytest

from nbcontainers.linux import remote


@pytest.fixture
def pages() -> int:
    """The address of two pages of memory, behind which there is nothing."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    kinds = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    address = libc.mmap(None, 3 * mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE, kinds, -1, 0)
    libc.munmap(address + 2 * mmap.PAGESIZE, mmap.PAGESIZE)
    return int(address)


@pytest.mark.parametrize("length", [0, 1, 255, 256, 257, 3000, 4095])
@pytest.mark.parametrize("place", ["begin", "across", "end"])
def test_a_path_is_read_up_to_its_zero(pages: int, length: int, place: str) -> None:
    """However long it is, and wherever pages end."""
    end = 2 * mmap.PAGESIZE
    offset = {"begin": 0, "across": mmap.PAGESIZE - min(length, 200), "end": end - length - 1}[place]
    ctypes.memmove(pages + offset, b"x" * length + b"\0", length + 1)
    assert remote.read_text(os.getpid(), pages + offset) == b"x" * length


def test_what_is_no_path_is_refused(pages: int) -> None:
    """Too long, or not there to its end."""
    ctypes.memset(pages, ord("x"), 2 * mmap.PAGESIZE)
    for offset, number in ((0, errno.ENAMETOOLONG), (2 * mmap.PAGESIZE - 100, errno.EFAULT)):
        with pytest.raises(OSError, match=os.strerror(number)) as caught:
            remote.read_text(os.getpid(), pages + offset)
        assert caught.value.errno == number


def test_bytes_are_written_and_read(pages: int) -> None:
    """As many as were given; not beyond what there is."""
    remote.write(os.getpid(), pages + 10, b"hello")
    assert remote.read(os.getpid(), pages + 10, 5) == b"hello"
    with pytest.raises(OSError, match=os.strerror(errno.EFAULT)):
        remote.write(os.getpid(), pages + 2 * mmap.PAGESIZE - 2, b"hello")

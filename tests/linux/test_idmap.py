"""The ids of a container, as both the store and the runtime see them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from nbcontainers.errors import IntegrityError
from nbcontainers.linux import idmap
from nbcontainers.oci.runtime import IdMapping


def test_the_host_holds_every_id() -> None:
    """Without a user namespace any owner can stand in a file."""
    assert idmap.of_host().holds(12345, 54321)


def test_a_single_identity_holds_root_only() -> None:
    """Root inside is the caller, and there is nobody else."""
    identity = idmap.single()
    assert identity.uid_mappings == (IdMapping(container=0, host=os.geteuid(), size=1),)
    assert identity.holds(0, 0)
    assert not identity.holds(0, 5)
    assert not identity.holds(1, 0)


def test_maps_are_written_as_the_kernel_reads_them() -> None:
    """What ``text`` writes is what ``parse`` reads, and what this very process shows in /proc."""
    maps = (IdMapping(container=0, host=1000, size=1), IdMapping(container=1, host=100000, size=65536))
    assert idmap.text(maps) == "0 1000 1\n1 100000 65536\n"
    assert idmap.parse(idmap.text(maps)) == maps
    with open("/proc/self/uid_map") as file:
        assert idmap.parse(file.read())


def test_a_map_that_is_none_is_refused() -> None:
    """A torn map is an IntegrityError, not a wrong owner."""
    with pytest.raises(IntegrityError, match="not an id map"):
        idmap.parse("0 1000\n")


def test_the_kernel_takes_a_single_map() -> None:
    """A process in a user namespace of its own may write its own single map."""
    script = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); from nbcontainers.linux import idmap, syscalls\n"
        "identity = idmap.single()\n"
        "try: syscalls.unshare(syscalls.CLONE_NEWUSER)\n"
        "except OSError as error: print('refused', error); raise SystemExit\n"
        "for name, value in (('setgroups', 'deny'), ('uid_map', idmap.text(identity.uid_mappings)),"
        " ('gid_map', idmap.text(identity.gid_mappings))):\n"
        "    with open('/proc/self/' + name, 'w') as file: file.write(value)\n"
        "print(os.getuid(), os.getgid())\n"
    )
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(idmap.__file__))))
    done = subprocess.run([sys.executable, "-c", script, root], capture_output=True, text=True, check=True)
    if done.stdout.startswith("refused"):
        pytest.skip(f"user namespaces are not allowed here: {done.stdout.strip()}")
    assert done.stdout.split() == ["0", "0"]

"""Texts by which the kernel counts: pressure, block devices, network interfaces; each read into plain values.

Source: Documentation/accounting/psi.rst; admin-guide/cgroup-v2.rst, io.stat; cgroup-v1/blkio-controller.rst; proc_pid_net(5).
"""

from __future__ import annotations

from ..results import BlockUse, NetworkUse, Pressure


def pressure(text: bytes) -> Pressure:
    """Read a pressure file (cpu.pressure …): ``some`` is of its first line, ``full`` of its second, 0 where there is none."""
    words = text.split()
    full = words[6:10] if len(words) > 9 else (b"avg10=0", b"", b"", b"total=0")
    return Pressure(
        some=float(words[1][6:]),
        full=float(full[0][6:]),
        some_seconds=int(words[4][6:]) * 1e-6,
        full_seconds=int(full[3][6:]) * 1e-6,
    )


def block_v2(text: bytes) -> tuple[BlockUse, ...]:
    """Read ``io.stat``: a line for each device, which has nothing but its numbers where the group did not use it."""
    found = []
    for line in text.splitlines():
        device, *words = line.split()
        counts = dict(word.split(b"=") for word in words if b"=" in word)
        if b"rbytes" in counts:
            found.append(
                BlockUse(
                    device=device.decode(),
                    read=int(counts[b"rbytes"]),
                    written=int(counts[b"wbytes"]),
                    reads=int(counts[b"rios"]),
                    writes=int(counts[b"wios"]),
                )
            )
    return tuple(found)


def block_v1(size: bytes, operations: bytes) -> tuple[BlockUse, ...]:
    """Read ``blkio.throttle.io_service_bytes_recursive`` and ``io_serviced_recursive``."""
    counts: dict[bytes, dict[bytes, int]] = {}
    for prefix, text in ((b"", size), (b"#", operations)):
        for line in text.splitlines():
            words = line.split()
            if len(words) == 3:  # the last line, of all together, has two
                counts.setdefault(words[0], {})[prefix + words[1]] = int(words[2])
    return tuple(
        BlockUse(
            device=device.decode(),
            read=row.get(b"Read", 0),
            written=row.get(b"Write", 0),
            reads=row.get(b"#Read", 0),
            writes=row.get(b"#Write", 0),
        )
        for device, row in counts.items()
    )


def network(text: bytes) -> tuple[NetworkUse, ...]:
    """Read ``/proc/PID/net/dev``, whose first two lines are titles; the loopback interface is left out."""
    found = []
    for line in text.splitlines()[2:]:
        name, _, rest = line.partition(b":")
        name = name.strip()
        if name == b"lo":
            continue
        words = rest.split()
        found.append(
            NetworkUse(
                interface=name.decode(errors="replace"),
                received=int(words[0]),
                sent=int(words[8]),
                packets_received=int(words[1]),
                packets_sent=int(words[9]),
                dropped=int(words[3]) + int(words[11]),
            )
        )
    return tuple(found)

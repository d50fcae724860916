"""The kernel's texts of counts, as several kernels have written them."""

from __future__ import annotations

import pytest

from nbcontainers.linux import counters
from nbcontainers.linux.meter import Meter
from nbcontainers.results import BlockUse, NetworkUse, Pressure

PSI = b"some avg10=1.53 avg60=0.20 avg300=0.00 total=5816\nfull avg10=0.50 avg60=0.10 avg300=0.00 total=816\n"
NET = b"""\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     200       2    0    0    0     0          0         0      200       2    0    0    0     0       0          0
  eth0: 1296416     844    0    3    0     0          0         0    54321     700    0    1    0     0       0          0
wg-0:1 2 0 0 0 0 0 0 3 4 0 0 0 0 0 0
"""


def test_pressure_is_read() -> None:
    """Percent of ten seconds, and seconds in all; a kernel that says nothing of ``full`` (5.2 for cpu) leaves 0."""
    assert counters.pressure(PSI) == Pressure(some=1.53, full=0.5, some_seconds=0.005816, full_seconds=0.000816)
    assert counters.pressure(PSI.splitlines()[0]) == Pressure(some=1.53, full=0, some_seconds=0.005816, full_seconds=0)


def test_block_devices_of_v2_are_read() -> None:
    """A line for each device, with words that some kernels do not have, and devices that were never used."""
    text = b"254:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n7:1 \n253:0 rbytes=1 wbytes=0 rios=1 wios=0 cost.usage=5\n"
    assert counters.block_v2(text) == (
        BlockUse(device="254:0", read=4096, written=8192, reads=1, writes=2),
        BlockUse(device="253:0", read=1, written=0, reads=1, writes=0),
    )
    assert counters.block_v2(b"") == ()


def test_block_devices_of_v1_are_read() -> None:
    """Two files, a line for each device and kind, and a total that is none."""
    size = (
        b"8:0 Read 827392\n8:0 Write 10\n8:0 Sync 0\n8:0 Async 827402\n8:0 Discard 0\n8:0 Total 827402\nTotal 827402\n"
    )
    times = b"8:0 Read 152\n8:0 Write 3\n8:0 Total 155\nTotal 155\n"
    assert counters.block_v1(size, times) == (BlockUse(device="8:0", read=827392, written=10, reads=152, writes=3),)
    assert counters.block_v1(b"Total 0\n", b"Total 0\n") == ()


def test_interfaces_are_read() -> None:
    """Names may touch their numbers; loopback is no network."""
    assert counters.network(NET) == (
        NetworkUse(interface="eth0", received=1296416, sent=54321, packets_received=844, packets_sent=700, dropped=4),
        NetworkUse(interface="wg-0", received=1, sent=3, packets_received=2, packets_sent=4, dropped=0),
    )


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_meter_has_them_all(tmp_path, version: str) -> None:
    """From the files of a group on each kind of host; what is parsed once is parsed again when it changed."""
    files = {"pids.current": "3\n"} | {f"{name}.pressure": PSI.decode() for name in ("cpu", "memory", "io")}
    if version == "v2":
        files |= {
            "memory.current": "4096\n",
            "cpu.stat": "usage_usec 5000\nuser_usec 1\nnr_periods 9\nnr_throttled 4\nthrottled_usec 2000\n",
            "io.stat": "254:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n",
        }
    else:
        files |= {
            "memory.usage_in_bytes": "4096\n",
            "cpuacct.usage": "5000000\n",
            "cpu.stat": "nr_periods 9\nnr_throttled 4\nthrottled_time 2000000\n",
            "blkio.throttle.io_service_bytes_recursive": "254:0 Read 4096\n254:0 Write 8192\nTotal 12288\n",
            "blkio.throttle.io_serviced_recursive": "254:0 Read 1\n254:0 Write 2\nTotal 3\n",
        }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with Meter([str(tmp_path)]) as meter:
        usage = meter.sample()
        assert usage.source == f"cgroup {version}"
        assert (usage.cpu_seconds, usage.memory, usage.processes) == (pytest.approx(0.005), 4096, 3)
        assert (usage.periods, usage.throttled_periods, usage.throttled_seconds) == (9, 4, pytest.approx(0.002))
        assert usage.cpu_pressure == usage.memory_pressure == usage.io_pressure == counters.pressure(PSI)
        assert usage.block == (BlockUse(device="254:0", read=4096, written=8192, reads=1, writes=2),)
        assert usage.network is None
        (tmp_path / "io.pressure").write_text(PSI.decode().replace("1.53", "9.99"))
        assert meter.sample().io_pressure.some == 9.99

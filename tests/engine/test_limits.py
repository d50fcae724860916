"""What docker's words for limits mean, and how those that mean nothing are refused."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack, cast

import pytest

from nbcontainers.engine import limits, requests, updating
from nbcontainers.engine.options import RunOptions
from nbcontainers.errors import NBContainersError
from nbcontainers.oci.resources import Resources, Throttle
from nbcontainers.oci.runtime import Process, RuntimeSpec


def disk() -> str:
    """A block device of this host."""
    for path in sorted(Path("/dev").iterdir()):
        if path.is_block_device():
            return str(path)
    pytest.skip("this host shows no block device")


def test_limits_become_what_the_kernel_reads() -> None:
    """Half a processor is 50 of every 100 ms; memory and as much swap again; no process limit is none."""
    found = limits.resources({"memory": "64m", "cpus": 0.5, "pids_limit": -1})
    assert (found.memory, found.memory_swap) == (64 << 20, 128 << 20)
    assert (found.cpu_quota, found.cpu_period, found.cpus) == (50_000, 100_000, 0.5)
    assert found.pids is None


@pytest.mark.parametrize(
    ("words", "swap"),
    [
        ({"memory": "64m", "memory_swap": "64m"}, 64 << 20),
        ({"memory": "64m", "memory_swap": -1}, -1),
        ({"memory": "64m", "memory_swap": "-1"}, -1),
        ({"memory": "64m", "memory_swap": 0}, 128 << 20),
        ({}, None),
    ],
)
def test_swap_is_counted_with_memory(words: RunOptions, swap: int | None) -> None:
    """As Docker: both together, -1 for any amount, nothing said for as much again."""
    assert limits.resources(words).memory_swap == swap


def test_zero_means_none_but_for_swappiness() -> None:
    """Docker's zero values are no limits; a swappiness of 0 is one."""
    found = limits.resources({"memory": 0, "cpus": 0, "cpu_shares": 0, "blkio_weight": 0, "memory_swappiness": 0})
    assert found.to_json() == {"memory": {"swappiness": 0}}
    assert limits.resources({"memory_swappiness": -1}).to_json() == {}


def test_limits_of_disks_name_them_by_number() -> None:
    """Bytes may have a unit, operations not."""
    path = disk()
    number = os.stat(path).st_rdev
    found = limits.resources(
        {"device_read_bps": [f"{path}:1m"], "device_write_iops": [f"{path}:30"], "blkio_weight_device": [f"{path}:200"]}
    )
    major, minor = os.major(number), os.minor(number)
    assert found.throttles == (
        Throttle(kind="ReadBps", major=major, minor=minor, rate=1 << 20),
        Throttle(kind="WriteIOPS", major=major, minor=minor, rate=30),
    )
    assert [(entry.major, entry.minor, entry.weight) for entry in found.blkio_weight_devices] == [(major, minor, 200)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"memory": "1m"}, "memory limit"),
        ({"memory_reservation": "1m"}, "memory reservation"),
        ({"memory_swap": "64m"}, "needs one on memory"),
        ({"memory": "64m", "memory_swap": "32m"}, "less than the memory limit"),
        ({"memory_swappiness": 101}, "swappiness"),
        ({"cpus": 1000.0}, "processors"),
        ({"cpus": 1.0, "cpu_quota": 5000}, "--cpus and"),
        ({"cpus": 1.0, "cpu_period": 5000}, "--cpus and"),
        ({"cpuset_cpus": "0-"}, "cpuset"),
        ({"cpuset_cpus": "0,4711"}, "no number 4711"),
        ({"cpuset_mems": "99"}, "no number 99"),
        ({"blkio_weight": 5}, "io weight of 5"),
        ({"device_read_bps": ["/dev/null:1m"]}, "no block device"),
        ({"device_read_bps": ["/dev/none:1m"]}, "/dev/none"),
        ({"device_read_bps": ["vda:1m"]}, "not a limit of a device"),
        ({"device_write_iops": ["/dev/null"]}, "not a limit of a device"),
    ],
)
def test_limits_that_nothing_could_run_in_are_refused(words: RunOptions, message: str) -> None:
    """Less memory than a program needs, more processors than there are, what is no disk: each with a hint."""
    with pytest.raises(NBContainersError, match=message) as caught:
        limits.resources(words)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"cpu_quota": 500}, "cpu quota of 500"),
        ({"cpu_period": 50}, "cpu period of 50"),
        ({"cpu_shares": -5}, "cpu shares of -5"),
        ({"cpu_shares": 262145}, "cpu shares of 262145"),
        ({"memory": "64m", "memory_reservation": "128m"}, "more than the limit"),
        ({"cpu_rt_runtime": 1000, "cpu_rt_period": 500}, "more than its period"),
    ],
)
def test_limits_that_the_kernel_would_not_take_are_refused_at_once(words: RunOptions, message: str) -> None:
    """No container is made that could never start."""
    with pytest.raises(NBContainersError, match=message):
        limits.resources(words)


def container(**words: Unpack[RunOptions]) -> RuntimeSpec:
    """The specification of one with limits."""
    spec = RuntimeSpec(process=Process(args=("true",)))
    return replace(spec, resources=limits.resources(words), annotations=limits.bounds(words))


@pytest.mark.parametrize(
    ("before", "words", "after"),
    [
        ({"cpus": 1.0}, {"cpus": 0.5}, (500_000_000, 0, 0)),
        ({"cpu_quota": 50_000}, {"cpu_quota": 20_000}, (0, 0, 20_000)),
        ({"cpu_quota": 50_000, "cpu_period": 100_000}, {"cpu_quota": 20_000}, (0, 100_000, 20_000)),
        ({"cpus": 1.0}, {"cpu_quota": -1}, (0, 0, -1)),
        ({"cpu_quota": -1}, {"cpus": 1.0}, (1_000_000_000, 0, 0)),
        ({"cpus": 1.0}, {"cpu_quota": 0}, (1_000_000_000, 0, 0)),
        ({"cpus": 1.0}, {"memory": "64m"}, (1_000_000_000, 0, 0)),
        ({}, {"cpus": 1.0}, (1_000_000_000, 0, 0)),
    ],
)
def test_processors_are_changed_by_the_words_that_limited_them(
    before: RunOptions, words: RunOptions, after: tuple[int, int, int]
) -> None:
    """inspect shows them by those, too; as with Docker 28, 0 changes nothing, and a quota of -1 is none."""
    shown = requests.limits(updating.changed(container(**before), words)[0])
    assert (shown["NanoCpus"], shown["CpuPeriod"], shown["CpuQuota"]) == after


@pytest.mark.parametrize(
    ("before", "words"),
    [
        ({"cpus": 1.0}, {"cpu_quota": 50_000}),
        ({"cpus": 1.0}, {"cpu_period": 50_000}),
        ({"cpu_quota": 50_000}, {"cpus": 1.0}),
        ({"cpu_period": 50_000}, {"cpus": 1.0}),
        ({"cpus": 1.0}, {"cpus": 1.0, "cpu_quota": 5000}),
        ({}, {"cpu_quota": 500}),
        ({"memory": "64m"}, {"memory_reservation": "128m"}),
        ({"memory": "64m", "memory_swap": "100m"}, {"memory": "128m"}),
        ({"memory": "64m", "memory_swap": "128m"}, {"memory": "192m"}),
        ({"memory": "64m"}, {"memory": "192m"}),
        ({"memory": "64m"}, {"memory": "192m", "memory_swap": "128m"}),
    ],
)
def test_changes_that_do_not_go_together_with_what_is_there_are_refused(before: RunOptions, words: RunOptions) -> None:
    """Processors have one way to be limited, as with Docker 28; and no change makes a container that cannot start."""
    with pytest.raises(NBContainersError):
        updating.changed(container(**before), words)


@pytest.mark.parametrize(
    ("before", "words", "after"),
    [
        ({"memory": "64m"}, {"memory": "128m"}, (128, 128)),
        ({"memory": "64m"}, {"memory": "32m"}, (32, 128)),
        ({"memory": "64m", "memory_swap": "128m"}, {"memory": "100m"}, (100, 128)),
        ({"memory": "64m", "memory_swap": -1}, {"memory": "192m"}, (192, None)),
        ({"memory": "64m"}, {"memory": "192m", "memory_swap": "256m"}, (192, 256)),
        ({"memory": "64m"}, {"memory_swap": "256m"}, (64, 256)),
        ({}, {"memory": "64m"}, (64, 128)),
    ],
)
def test_swap_stays_what_it_was_made(before: RunOptions, words: RunOptions, after: tuple[int, int | None]) -> None:
    """As Docker: memory and swap together are as much as at first, until they are changed themselves; -1 is any amount still."""
    found = updating.changed(container(**before), words)[0].resources
    memory, swap = after
    assert (found.memory, found.memory_swap) == (memory << 20, -1 if swap is None else swap << 20)


@pytest.mark.parametrize(
    "words",
    [
        {"memory": 0},
        {"memory_reservation": 0},
        {"cpu_shares": 0},
        {"cpuset_cpus": ""},
        {"blkio_weight": 0},
        {"pids_limit": 0},
    ],
)
def test_nothing_changes_nothing(words: RunOptions) -> None:
    """As with Docker 28: 0 and no word leave a limit as it is, both what is written down and what the kernel has."""
    limited = container(
        memory="64m", memory_reservation="32m", cpu_shares=512, cpuset_cpus="0", blkio_weight=300, pids_limit=50
    )
    assert updating.changed(limited, words) == (limited, Resources())


def test_ulimits_are_a_soft_and_a_hard_number() -> None:
    """One number is both, the last word for a name holds, -1 is no limit."""
    found = limits.rlimits(["nofile=5:9", "core=0", "nofile=7"])
    assert [(entry.type, entry.soft, entry.hard) for entry in found] == [("RLIMIT_NOFILE", 7, 7), ("RLIMIT_CORE", 0, 0)]


@pytest.mark.parametrize("word", ["nofile", "files=1", "nofile=9:5", "nofile=x", "nofile=99999999999"])
def test_ulimits_that_cannot_be_are_refused(word: str) -> None:
    """Also a hard limit above that of this process, where it may not raise it."""
    if word.endswith("99") and os.geteuid() == 0 and "CAP_SYS_RESOURCE" in limits.bounding():
        pytest.skip("this process may raise its limits")
    with pytest.raises(NBContainersError, match="ulimit") as caught:
        limits.rlimits([word])
    assert caught.value.hint


def test_an_oom_score_that_cannot_be_set_is_refused() -> None:
    """Outside of the kernel's range, or below this process's own without the capability for it."""
    assert limits.oom_score(0) is None
    assert limits.oom_score(1000) == 1000
    with pytest.raises(NBContainersError, match="from -1000|OOM score of 1001"):
        limits.oom_score(1001)


def test_no_word_is_left_out() -> None:
    """Every word that a limit is read from counts also where the limits of many containers are worked out once."""

    class Asked(dict[str, Any]):
        def get(self, word: str, default: Any = None) -> Any:
            words.add(word)
            return default

    words: set[str] = set()
    limits.read(cast(RunOptions, Asked()))
    assert words == limits.PLAIN | set(limits.OF_HOST)

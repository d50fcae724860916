"""What the words of ``docker run`` mean: each is read here once, for the Python interface, the command line and the magics."""

from __future__ import annotations

import os
import re
import signal as signals
from collections.abc import Mapping, Sequence
from typing import TypedDict

from ..errors import NBContainersError
from ..oci.image import ContainerConfig

DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MIN_MEMORY = 6 << 20  # Docker's own: with less, the kernel kills the program before it has run
CPU_PERIOD = 100_000  # µs: what Docker writes for --cpus
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")

_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_REAL_TIME = re.compile(r"(RTMIN(?=\+)|RTMAX(?=-))([+-][0-9]{1,2})")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([bkmgt]?)(?:i?b)?", re.IGNORECASE)


class RunOptions(TypedDict, total=False):
    """What ``Engine.run`` and ``Engine.create`` take beside the image and the command; docker's words and meanings.

    ``memory`` and the other sizes are in bytes, or words such as ``64m``; ``cpus`` counts processors; ``volumes`` are
    ``HOST:INSIDE[:ro]`` or ``NAME:INSIDE[:ro]``, ``mount`` is ``type=…,source=…,target=…`` and ``tmpfs`` is ``FOLDER[:OPTIONS]``;
    ``profile`` is ``docker`` or ``sandbox``; ``timeout`` is in seconds, and both it and ``output_limit`` end what goes beyond.
    ``labels``, ``env`` and ``sysctl`` are ``NAME=VALUE`` words or a mapping. ``pull`` is
    ``missing``, ``always`` or ``never``; ``platform`` is ``linux/arm64`` and the like. Times are seconds, or durations
    such as ``1m30s``; ``restart`` is ``no``, ``always``, ``unless-stopped`` or ``on-failure[:N]``. ``network`` is
    ``none``, ``host``, ``container:NAME`` or the name of a network, or several of those; ``publish`` words are
    ``[[ADDRESS:]HOST_PORT:]PORT[/PROTOCOL]``. With ``strict`` it is an error, before anything is made, if something of all
    this would not be enforced on this host.
    """

    name: str
    env: Sequence[str] | Mapping[str, str]
    workdir: str
    user: str
    group_add: Sequence[str]
    volumes: Sequence[str]
    volumes_from: Sequence[str]
    mount: Sequence[str]
    tmpfs: Sequence[str]
    read_only: bool
    rm: bool
    interactive: bool
    tty: bool
    memory: int | str | None
    memory_swap: int | str | None
    memory_reservation: int | str | None
    memory_swappiness: int | None
    oom_kill_disable: bool
    oom_score_adj: int | None
    cpus: float | None
    cpu_period: int | None
    cpu_quota: int | None
    cpu_shares: int | None
    cpu_rt_period: int | None
    cpu_rt_runtime: int | None
    cpuset_cpus: str
    cpuset_mems: str
    pids_limit: int | None
    blkio_weight: int | None
    blkio_weight_device: Sequence[str]
    device_read_bps: Sequence[str]
    device_write_bps: Sequence[str]
    device_read_iops: Sequence[str]
    device_write_iops: Sequence[str]
    ulimit: Sequence[str]
    shm_size: int | str | None
    cgroup_parent: str
    cgroupns: str
    ipc: str
    pid: str
    uts: str
    userns: str
    device: Sequence[str]
    device_cgroup_rule: Sequence[str]
    sysctl: Sequence[str] | Mapping[str, str]
    privileged: bool
    cap_add: Sequence[str]
    cap_drop: Sequence[str]
    security_opt: Sequence[str]
    annotation: Sequence[str] | Mapping[str, str]
    hostname: str
    domainname: str
    network: str | Sequence[str]
    network_alias: Sequence[str]
    ip: str
    ip6: str
    mac_address: str
    dns: Sequence[str]
    dns_search: Sequence[str]
    dns_option: Sequence[str]
    add_host: Sequence[str]
    publish: Sequence[str]
    publish_all: bool
    expose: Sequence[str]
    entrypoint: str | None
    labels: Sequence[str] | Mapping[str, str]
    profile: str
    timeout: float | None
    output_limit: int | str | None
    replace: bool
    restart: str
    stop_signal: str
    stop_timeout: float | None
    health_cmd: str
    health_interval: str | float
    health_timeout: str | float
    health_retries: int
    health_start_period: str | float
    health_start_interval: str | float
    no_healthcheck: bool
    init: bool
    env_file: Sequence[str]
    label_file: Sequence[str]
    log_opt: Sequence[str] | Mapping[str, str]
    pull: str
    platform: str | None
    strict: bool


def size(value: int | str) -> int:
    """Bytes from a number or from ``64m``, ``1.5g``, ``512k``, as Docker reads them (powers of 1024)."""
    if isinstance(value, int):
        return value
    match = _SIZE.fullmatch(value.strip())
    if not match:
        raise NBContainersError(f"not a size: {value!r}", hint="a size is a number and a unit: 512k, 64m, 1.5g")
    return int(float(match[1]) * _UNITS[match[2].lower()])


def pairs(words: Sequence[str] | Mapping[str, str], what: str) -> dict[str, str]:
    """``NAME=VALUE`` words as a mapping; ``what`` names them in the error for a word without a name."""
    if isinstance(words, Mapping):
        return dict(words)
    read = {}
    for word in words:
        name, _, value = word.partition("=")
        if not name:
            raise NBContainersError(f"{what} without a name: {word!r}", hint="write NAME=VALUE")
        read[name] = value
    return read


def environment(config: ContainerConfig, words: Sequence[str] | Mapping[str, str]) -> tuple[str, ...]:
    """The image's variables with those of ``words`` over them; ``NAME`` alone takes this process's value, or is left out."""
    given = variables(words)
    known = {"PATH": DEFAULT_PATH.removeprefix("PATH="), **pairs(config.env, "variable")}
    for name in unset(words):
        known.pop(name, None)
    return tuple(f"{name}={value}" for name, value in {**known, **given}.items())


def variables(words: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    """The variables of ``NAME=VALUE`` words; ``NAME`` alone takes this process's value, and is left out where it has none."""
    if isinstance(words, Mapping):
        return dict(words)
    read = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name:
            raise NBContainersError(f"variable without a name: {word!r}", hint="write NAME=VALUE")
        if equals or name in os.environ:
            read[name] = value if equals else os.environ[name]
        else:
            read.pop(name, None)
    return read


def unset(words: Sequence[str] | Mapping[str, str]) -> set[str]:
    """The names that stand alone and have no value in this process: the image's are taken away."""
    alone = () if isinstance(words, Mapping) else (word for word in words if "=" not in word)
    return {name for name in alone if name not in os.environ}


def command(config: ContainerConfig, words: Sequence[str], entrypoint: str | None) -> tuple[str, ...]:
    """What runs: entry point and command, where a given entry point drops the image's command too.

    Raises:
        NBContainersError: neither the image nor the caller says what to run.
    """
    if entrypoint is None:
        whole = (*(config.entrypoint or ()), *(words or config.cmd or ()))
    else:
        whole = (*([entrypoint] if entrypoint else []), *words)
    if not whole:
        raise NBContainersError("no command was given, and the image has none", hint="name a command behind the image")
    return tuple(whole)


def name(word: str) -> str:
    """A container's name, checked: letters, digits, ``_``, ``.`` and ``-``. A slash before it, as inspect has it, is none of it."""
    if not NAME.fullmatch(bare := word.removeprefix("/")):
        hint = "two or more letters, digits, '_', '.' or '-', the first a letter or digit"
        raise NBContainersError(f"invalid container name {word!r}", hint=hint)
    return bare


def workdir(word: str) -> str:
    """A working directory, checked: an absolute path, or empty where none was given."""
    if word and not word.startswith("/"):
        raise NBContainersError(f"not an absolute path: {word!r}", hint="the working directory begins with /")
    return word


def signal_number(name: str | int) -> int:
    """A signal's number from ``9``, ``KILL``, ``SIGKILL`` or ``RTMIN+3``: NBContainersError if there is no such signal."""
    text = str(name)  # a program may hand over anything
    if text.isascii() and text.isdigit():
        number = int(text)
    else:
        known = {signal.name.removeprefix("SIG"): signal.value for signal in signals.Signals}
        word = text.upper().removeprefix("SIG")
        from_end = _REAL_TIME.fullmatch(word)
        number = known[from_end[1]] + int(from_end[2]) if from_end else known.get(word, 0)
    if number not in signals.valid_signals():
        raise NBContainersError(f"no such signal: {name!r}", hint="such as TERM, KILL, HUP, or a number from 1 to 64")
    return number


def detach_keys(word: str) -> str:
    """The keys that let go of a container, checked; empty where none were given."""
    from ..runtime import keys

    keys.parse(word)
    return word


def source_date_epoch(environ: Mapping[str, str]) -> int | None:
    """The time that everything new in a build gets, in seconds since 1970, if the environment fixes one.

    Source: reproducible-builds.org, "SOURCE_DATE_EPOCH specification".
    """
    text = environ.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return None
    if not text.isascii() or not text.isdigit():
        raise NBContainersError(
            f"SOURCE_DATE_EPOCH is {text!r}", hint="wanted: whole seconds since 1970, as 'date +%s' prints them"
        )
    return int(text)

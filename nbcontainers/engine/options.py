"""What the words of ``docker run`` mean: each is read here once, for the Python interface, the command line and the magics."""

from __future__ import annotations

import difflib
import os
import posixpath
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict, get_args

from ..errors import NBContainersError
from ..oci.image import ContainerConfig
from ..oci.runtime import Mount, Resources

Network = Literal["none", "host"]

DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MIN_MEMORY = 6 << 20  # Docker's own: with less, the kernel kills the program before it has run
CPU_PERIOD = 100_000  # µs: what Docker writes for --cpus
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")

_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([bkmgt]?)(?:i?b)?", re.IGNORECASE)


class RunOptions(TypedDict, total=False):
    """What ``Engine.run`` and ``Engine.create`` take beside the image and the command; docker's words and meanings.

    ``memory`` is in bytes, or a size such as ``64m``; ``cpus`` counts processors; ``volumes`` are ``HOST:INSIDE[:ro]`` and
    ``tmpfs`` is ``FOLDER[:OPTIONS]``; ``labels`` and ``env`` are ``NAME=VALUE`` words or a mapping. Times are seconds, or durations
    such as ``1m30s``; ``restart`` is ``no``, ``always``, ``unless-stopped`` or ``on-failure[:N]``.
    """

    name: str
    env: Sequence[str] | Mapping[str, str]
    workdir: str
    user: str
    volumes: Sequence[str]
    tmpfs: Sequence[str]
    read_only: bool
    rm: bool
    interactive: bool
    tty: bool
    memory: int | str | None
    cpus: float | None
    pids_limit: int | None
    cap_add: Sequence[str]
    cap_drop: Sequence[str]
    security_opt: Sequence[str]
    hostname: str
    network: str
    entrypoint: str | None
    labels: Sequence[str] | Mapping[str, str]
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
    group_add: Sequence[str]
    domainname: str
    log_opt: Sequence[str] | Mapping[str, str]


def check(options: Mapping[str, Any]) -> None:
    """Refuse a word that is none of RunOptions: NBContainersError with "did you mean"."""
    for word in options:
        if word not in RunOptions.__annotations__:
            near = difflib.get_close_matches(word, RunOptions.__annotations__, n=1)
            known = ", ".join(sorted(RunOptions.__annotations__))
            raise NBContainersError(
                f"unknown option {word!r}", hint=f"did you mean {near[0]!r}?" if near else f"the options are: {known}"
            )


def size(value: int | str) -> int:
    """Bytes from a number or from ``64m``, ``1.5g``, ``512k``, as Docker reads them (powers of 1024)."""
    if isinstance(value, int):
        return value
    match = _SIZE.fullmatch(value.strip())
    if not match:
        raise NBContainersError(f"not a size: {value!r}", hint="a size is a number and a unit: 512k, 64m, 1.5g")
    return int(float(match[1]) * _UNITS[match[2].lower()])


def resources(options: RunOptions) -> Resources:
    """The limits that were asked for: NBContainersError where one can mean nothing."""
    memory = options.get("memory")
    limit = size(memory) if memory else None
    if limit is not None and limit < MIN_MEMORY:
        raise NBContainersError(f"memory limit of {limit} bytes", hint="no program starts in less than 6m")
    cpus, available = options.get("cpus"), os.cpu_count() or 1
    if cpus and not 0.01 <= cpus <= available:
        raise NBContainersError(f"{cpus:g} processors", hint=f"this host has {available}: from 0.01 to {available}")
    pids = options.get("pids_limit")
    return Resources(
        memory=limit,
        memory_swap=limit * 2 if limit else None,
        cpu_quota=round(cpus * CPU_PERIOD) if cpus else None,
        cpu_period=CPU_PERIOD if cpus else None,
        pids=pids if pids is not None and pids > 0 else None,
    )


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


def bind(word: str) -> Mount:
    """The mount for ``HOST:INSIDE[:ro|rw]``; the host's side must be there."""
    parts = word.split(":")
    if len(parts) not in (2, 3) or not parts[0]:
        raise NBContainersError(
            f"not a volume: {word!r}", hint="write HOST:INSIDE or HOST:INSIDE:ro with folders or files of this host"
        )
    source, destination, mode = parts[0], parts[1], parts[2] if len(parts) == 3 else "rw"
    if not source.startswith((".", "/", "~")):
        raise NBContainersError(
            f"named volume {source!r}", hint=f"named volumes are not there yet: write a path, ./{source}"
        )
    if mode not in ("ro", "rw"):
        raise NBContainersError(f"unknown mode {mode!r} of the volume {word!r}", hint="a volume is ro or rw")
    place = Path(source).expanduser().absolute()
    if not place.exists():
        raise NBContainersError(f"nothing at {place} to show inside", hint="make the folder first")
    return Mount(
        destination=_inside(destination, word), type="bind", source=str(place), options=("rbind", "rprivate", mode)
    )


def memory_folder(word: str) -> Mount:
    """The mount for ``FOLDER[:OPTIONS]``, an empty folder in memory."""
    destination, _, options = word.partition(":")
    chosen = tuple(filter(None, options.split(",")))
    for option in chosen:
        if not re.fullmatch(
            r"(size|mode|uid|gid|nr_inodes)=[0-9]+[kmgKMG%]?|ro|rw|exec|noexec|suid|nosuid|dev|nodev", option
        ):
            raise NBContainersError(
                f"unknown option {option!r} of the tmpfs {word!r}", hint="such as size=64m, mode=1777, exec, ro"
            )
    return Mount(
        destination=_inside(destination, word),
        type="tmpfs",
        source="tmpfs",
        options=("nosuid", "nodev", "noexec", *chosen),
    )


def network(word: str) -> Network:
    """``none`` or ``host``: NBContainersError for the networks that are not there yet."""
    if word not in get_args(Network):
        hint = "none has a loopback device only; host shares this host's network"
        raise NBContainersError(f"unknown network {word!r}: wanted none or host", hint=hint)
    return "host" if word == "host" else "none"


def name(word: str) -> str:
    """A container's name, checked: letters, digits, ``_``, ``.`` and ``-``."""
    if not NAME.fullmatch(word):
        hint = "two or more letters, digits, '_', '.' or '-', the first a letter or digit"
        raise NBContainersError(f"invalid container name {word!r}", hint=hint)
    return word


def security(words: Sequence[str]) -> tuple[bool, bool]:
    """What ``--security-opt`` says: (no new privileges, seccomp policy on)."""
    no_new_privileges, filtered = False, True
    for word in words:
        match re.split("[=:]", word, maxsplit=1):
            case ["no-new-privileges"] | ["no-new-privileges", "true"]:
                no_new_privileges = True
            case ["no-new-privileges", "false"]:
                no_new_privileges = False
            case ["seccomp", "unconfined"]:
                filtered = False
            case _:
                hint = "wanted no-new-privileges or seccomp=unconfined"
                raise NBContainersError(f"unknown security option {word!r}", hint=hint)
    return no_new_privileges, filtered


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


def _inside(path: str, word: str) -> str:
    if not path.startswith("/") or posixpath.normpath(path) in ("/", "//"):
        raise NBContainersError(
            f"not a place inside: {path!r} in {word!r}", hint="an absolute path other than / is wanted"
        )
    return posixpath.normpath(path)

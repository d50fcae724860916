"""What docker's words say about a container's life: when it is started again, how it is asked to end, how its health is found."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..errors import HostError, NBContainersError
from ..oci.image import ContainerConfig, Healthcheck
from ..oci.runtime import Mount
from ..results import HealthCheck
from . import options as words

MAX_SIZE, MAX_FILES = 64 << 20, 2  # of a log, unless told otherwise
_PATTERN = "-regex"
_DETAILS = frozenset(("labels", "env", "labels" + _PATTERN, "env" + _PATTERN))
_LEAST_SIZE = 16 << 10
INIT = "/sbin/docker-init"  # where docker shows it, too
_INITS = ("catatonit", "tini-static", "docker-init", "tini")
_PLACES = ("/usr/libexec/podman", "/usr/libexec/docker", "/usr/lib/podman")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_SHORTEST_S = 0.001  # Docker's own


def restart(word: str) -> tuple[str, int]:
    """``no``, ``always``, ``unless-stopped`` or ``on-failure[:N]`` as the policy and how often at most (0: ever)."""
    policy, colon, most = (word or "no").partition(":")
    if policy not in ("no", "always", "unless-stopped", "on-failure"):
        raise NBContainersError(
            f"unknown restart policy {word!r}", hint="wanted: no, on-failure, on-failure:3, always or unless-stopped"
        )
    if not colon:
        return policy, 0
    if policy != "on-failure" or not (most.isascii() and most.isdigit()):
        raise NBContainersError(
            f"a number of restarts in {word!r}", hint="only on-failure takes one, such as on-failure:3"
        )
    return policy, int(most)


def seconds(word: str | float) -> float:
    """Seconds of a duration as Go writes it (``1m30s``, ``500ms``), or of a number."""
    if not isinstance(word, str):
        return float(word)
    if word == "0":
        return 0.0
    if not word or _PART.sub("", word):
        raise NBContainersError(f"not a duration: {word!r}", hint="such as 30s, 1m30s or 500ms")
    return math.fsum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(word))


def health(config: ContainerConfig, options: words.RunOptions) -> HealthCheck | None:
    """The check of the image, changed as the caller's words say; None where there is none, or it was taken away."""
    given = {
        key: options.get(f"health_{key}")
        for key in ("cmd", "interval", "timeout", "retries", "start_period", "start_interval")
    }
    asked = [key for key, value in given.items() if value]
    if options.get("no_healthcheck", False):
        if asked:
            raise NBContainersError(f"no_healthcheck and health_{asked[0]}", hint="a check that is off has no settings")
        return None
    image = config.healthcheck
    if given["cmd"]:
        test: tuple[str, ...] = ("CMD-SHELL", str(given["cmd"]))
    else:
        test = image.test if image else ()
    match test:
        case ("CMD", *command) if command:
            command = list(command)
        case ("CMD-SHELL", line):
            command = [*(config.shell or ("/bin/sh", "-c")), line]
        case _:  # none, or NONE
            return None
    defaults = HealthCheck(test=tuple(command))
    return HealthCheck(
        test=tuple(command),
        interval=_time("interval", given["interval"], image.interval if image else 0, defaults.interval),
        timeout=_time("timeout", given["timeout"], image.timeout if image else 0, defaults.timeout),
        start_period=_time("start_period", given["start_period"], image.start_period if image else 0, 0.0),
        start_interval=_time(
            "start_interval", given["start_interval"], image.start_interval if image else 0, defaults.start_interval
        ),
        retries=_count(given["retries"]) or (image.retries if image else 0) or defaults.retries,
    )


def healthcheck(config: ContainerConfig, options: words.RunOptions) -> Healthcheck | None:
    """What a container's configuration says of its check, and so that of an image made of it; None where nobody says anything.

    Where it was taken away it says so (``NONE``), or such an image would have the check of the one below. Source: moby,
    daemon/commit.go (merge).
    """
    image = config.healthcheck or Healthcheck()
    test: tuple[str, ...] = ("NONE",) if options.get("no_healthcheck", False) else ()
    if line := options.get("health_cmd"):
        test = ("CMD-SHELL", line)
    made = Healthcheck(
        test=test or image.test,
        interval=_nanoseconds(options.get("health_interval")) or image.interval,
        timeout=_nanoseconds(options.get("health_timeout")) or image.timeout,
        start_period=_nanoseconds(options.get("health_start_period")) or image.start_period,
        start_interval=_nanoseconds(options.get("health_start_interval")) or image.start_interval,
        retries=_count(options.get("health_retries")) or image.retries,
    )
    return made if made != Healthcheck() else None


def _nanoseconds(word: str | float | None) -> int:
    return round(seconds(word) * 1e9) if word else 0


def _time(name: str, given: object, image_ns: int, default: float) -> float:
    """The caller's, else the image's, else Docker's own."""
    value = seconds(given) if isinstance(given, str | int | float) and given else image_ns / 1e9 or default
    if 0 < value < _SHORTEST_S:
        raise NBContainersError(f"health_{name} of {value:g} s", hint="the shortest is 1ms")
    return value


def _count(given: object) -> int:
    number = int(given) if isinstance(given, int | str) and given else 0
    if number < 0:
        raise NBContainersError(f"health_retries of {number}", hint="a positive number is wanted")
    return number


def logging(given: Sequence[str] | Mapping[str, str]) -> tuple[int, int]:
    """How large a file of the log may get, in bytes, and how many there are: ``max-size=10m`` and ``max-file=3``."""
    size, count = MAX_SIZE, MAX_FILES
    told = described(given)
    for name, value in words.pairs(given, "log option").items():
        if name in told:
            continue
        if name == "max-size":
            size = words.size(value) if value != "-1" else 0
        elif name == "max-file" and value.isascii() and value.isdigit() and int(value) > 0:
            count = int(value)
        else:
            raise NBContainersError(
                f"unknown log option '{name}={value}'",
                hint="wanted: max-size=10m (-1 for no limit), max-file=3, labels=NAME,NAME, env=NAME,NAME, labels-regex= or env-regex=",
            )
    if 0 < size < _LEAST_SIZE:
        raise NBContainersError(f"log files of {size} bytes", hint="max-size is 16k or more")
    return size, count


def described(given: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    """The words of ``log_opt`` that choose what is told of a container with each line: NBContainersError for a pattern that is none."""
    chosen = {name: value for name, value in words.pairs(given, "log option").items() if name in _DETAILS}
    for name, value in chosen.items():
        if name.endswith(_PATTERN):
            _pattern(name, value)
    return chosen


def details(
    chosen: Mapping[str, str], labels: Iterable[tuple[str, str]], env: Iterable[tuple[str, str]]
) -> tuple[tuple[str, str], ...]:
    """The labels and variables that such words choose, sorted. Source: moby, daemon/logger/loginfo.go (ExtraAttributes)."""
    found: dict[str, str] = {}
    for kind, pairs in (("labels", labels), ("env", env)):
        names = chosen.get(kind, "").split(",")
        like = chosen.get(kind + _PATTERN)
        pattern = _pattern(kind + _PATTERN, like) if like else None
        found |= {name: value for name, value in pairs if name in names or (pattern and pattern.search(name))}
    return tuple(sorted(found.items()))


def _pattern(name: str, word: str) -> re.Pattern[str]:
    try:
        return re.compile(word)
    except re.error as error:
        raise NBContainersError(f"not a regular expression: '{name}={word}': {error}", hint="such as ^app") from None


def lines(paths: Sequence[str], what: str) -> list[str]:
    """The words of ``--env-file`` and ``--label-file``: a line each, but for blank ones and those that begin with ``#``.

    Source: docker/cli, opts/file.go: the value is taken as it stands, quotes too; a name holds no blanks.
    """
    found = []
    for path in paths:
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
            raise NBContainersError(f"cannot read the {what} file {path}: {reason}") from error
        for number, line in enumerate(text.splitlines(), 1):
            word = line.lstrip()
            name = word.partition("=")[0]
            if not word or word.startswith("#"):
                continue
            if not name or any(sign.isspace() for sign in name):
                raise NBContainersError(
                    f"{path}, line {number}: not a {what}: {name!r}", hint="a name without blanks, =, and the value"
                )
            found.append(word)
    return found


def merged(paths: Sequence[str], given: Sequence[str] | Mapping[str, str], what: str) -> list[str]:
    """The words of the files and, after them so that they prevail, those that were given."""
    own = [f"{name}={value}" for name, value in given.items()] if isinstance(given, Mapping) else list(given)
    return [*lines(paths, what), *own]


def init() -> Mount:
    """The mount that shows this host's small init inside: one that reaps orphans and passes signals on.

    Raises:
        HostError: there is none, or none that runs without this host's libraries.
    """
    dynamic = ""
    for name in _INITS:
        for found in (shutil.which(name), *(shutil.which(name, path=place) for place in _PLACES)):
            if found is None:
                continue
            if _is_static(found):
                return Mount(destination=INIT, type="bind", source=found, options=("rbind", "rprivate", "ro"))
            dynamic = found
    raise HostError(
        f"--init wants a small init program of this host, and {dynamic} needs this host's libraries"
        if dynamic
        else "--init wants a small init program of this host, and there is none",
        hint="install catatonit or tini-static",
    )


def _is_static(path: str) -> bool:
    """Whether a program runs without a loader of its own."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        with open(path, "rb") as file:
            return all(segment["p_type"] != "PT_INTERP" for segment in ELFFile(file).iter_segments())
    except (OSError, ELFError):
        return False

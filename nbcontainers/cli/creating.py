"""The flags of ``run`` and ``create``: docker's, those that cannot be had here with the reason why not."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from ..engine.limits import rlimits
from ..engine.options import RunOptions, size
from . import lifecycle, networks
from .flags import LABEL, PLATFORM, SIZE, VARIABLE, Flag, number, only, read_by, refused, whole

_SWAP = read_by(lambda word: word == "-1" or size(word))
_ULIMIT = read_by(lambda word: rlimits([word]))

IDENTITY = (
    Flag(
        names=("-e", "--env"),
        metavar="NAME=VALUE",
        many=True,
        convert=VARIABLE,
        help="set a variable (NAME alone takes this shell's value)",
    ),
    Flag(names=("-w", "--workdir"), metavar="FOLDER", help="where the command starts"),
    Flag(names=("-u", "--user"), metavar="USER[:GROUP]", help="who runs the command: names or numbers of the image"),
    Flag(names=("--group-add",), metavar="GROUP", many=True, help="a further group: a name or number of the image"),
    Flag(names=("--name",), metavar="NAME", help="a name to call the container by"),
    Flag(names=("--rm",), help="remove the container, and its anonymous volumes, when it ends"),
    Flag(names=("-i", "--interactive"), help="keep standard input open"),
    Flag(names=("-t", "--tty"), help="give the program a terminal"),
    Flag(names=("-h", "--hostname"), metavar="NAME", help="the host name inside (else the container's ID)"),
    Flag(names=("--domainname",), metavar="NAME", help="the NIS domain name inside"),
    Flag(names=("--entrypoint",), metavar="COMMAND", help="in place of the image's entry point"),
    Flag(names=("-l", "--label"), metavar="KEY=VALUE", many=True, convert=LABEL, help="a label on the container"),
    Flag(names=("--annotation",), metavar="KEY=VALUE", many=True, help="an annotation in its runtime specification"),
    PLATFORM,
    Flag(names=("--pull",), metavar="missing|always|never", default="missing", help="when to pull the image (missing)"),
    Flag(names=("--disable-content-trust",), help="image signatures are not asked for (they never are)"),
    Flag(names=("--replace",), help="take the name over from a container that has it"),
)
FILES = (
    Flag(
        names=("-v", "--volume"),
        metavar="HOST:INSIDE[:ro,idmap]",
        many=True,
        help="show a folder or file of this host, or a volume by its name, inside",
    ),
    Flag(
        names=("--mount",),
        metavar="type=…,source=…,target=…",
        many=True,
        help="the same in words: a bind, a volume, a tmpfs or an image",
    ),
    Flag(names=("--tmpfs",), metavar="FOLDER[:OPTIONS]", many=True, help="an empty folder in memory"),
    Flag(
        names=("--volumes-from",),
        metavar="CONTAINER[:ro]",
        many=True,
        help="the volumes, binds and images of another container",
    ),
    Flag(names=("--read-only",), help="the root file system cannot be written to; volumes can"),
    Flag(names=("--shm-size",), metavar="BYTES", convert=SIZE, help="size of /dev/shm (64m)"),
    Flag(names=("--device",), metavar="HOST[:INSIDE][:rwm]", many=True, help="a device of this host"),
    Flag(names=("--device-cgroup-rule",), metavar="RULE", many=True, help="devices that may be opened: 'c 42:* rmw'"),
)
LIMITS = (
    Flag(names=("-m", "--memory"), metavar="BYTES", convert=SIZE, help="memory limit: 64m, 1.5g"),
    Flag(
        names=("--memory-swap",),
        metavar="BYTES",
        convert=_SWAP,
        help="memory and swap together; -1 for any amount of swap",
    ),
    Flag(
        names=("--memory-reservation",),
        metavar="BYTES",
        convert=SIZE,
        help="what is left to it when the host runs short",
    ),
    Flag(names=("--memory-swappiness",), metavar="N", convert=whole, help="0 to 100: how readily it is swapped out"),
    Flag(names=("--oom-kill-disable",), help="let it wait, not die, where its memory runs out"),
    Flag(names=("--oom-score-adj",), metavar="N", convert=whole, help="-1000 to 1000: who is killed first on the host"),
    Flag(names=("--cpus",), metavar="N", convert=number, help="processor limit: 0.5, 2"),
    Flag(names=("--cpu-period",), metavar="MICROSECONDS", convert=whole, help="period of the processor limit"),
    Flag(names=("--cpu-quota",), metavar="MICROSECONDS", convert=whole, help="processor time in each period"),
    Flag(names=("-c", "--cpu-shares"), metavar="N", convert=whole, help="its weight where processors are short (1024)"),
    Flag(names=("--cpu-rt-period",), metavar="MICROSECONDS", convert=whole, help="period of the real-time limit"),
    Flag(names=("--cpu-rt-runtime",), metavar="MICROSECONDS", convert=whole, help="real-time processor time in each"),
    Flag(names=("--cpuset-cpus",), metavar="LIST", help="the processors it runs on: 0-2,4"),
    Flag(names=("--cpuset-mems",), metavar="LIST", help="the memory nodes it has: 0,1"),
    Flag(names=("--pids-limit",), metavar="N", convert=whole, help="process limit; -1 for none"),
    Flag(names=("--blkio-weight",), metavar="N", convert=whole, help="10 to 1000: its weight where disks are busy"),
    Flag(names=("--blkio-weight-device",), metavar="DEVICE:N", many=True, help="the same for one disk"),
    Flag(names=("--device-read-bps",), metavar="DEVICE:BYTES", many=True, help="bytes a second read from a disk"),
    Flag(names=("--device-write-bps",), metavar="DEVICE:BYTES", many=True, help="bytes a second written to a disk"),
    Flag(names=("--device-read-iops",), metavar="DEVICE:N", many=True, help="reads a second from a disk"),
    Flag(names=("--device-write-iops",), metavar="DEVICE:N", many=True, help="writes a second to a disk"),
    Flag(
        names=("--ulimit",),
        metavar="NAME=SOFT[:HARD]",
        many=True,
        convert=_ULIMIT,
        help="a limit of setrlimit(2): nofile=1024",
    ),
    Flag(names=("--cgroup-parent",), metavar="PATH", help="the cgroup to be made below"),
)
ISOLATION = (
    Flag(names=("--profile",), metavar="docker|sandbox", help="sandbox is for code that is not trusted"),
    Flag(names=("--timeout",), metavar="SECONDS", convert=number, help="end it when it has run that long"),
    Flag(names=("--output-limit",), metavar="BYTES", help="end it when it has written that much"),
    Flag(
        names=("--strict",), help="an error, before anything is made, where something asked for would not be enforced"
    ),
    Flag(names=("--ipc",), metavar="MODE", help="private, shareable, none, host or container:NAME"),
    Flag(names=("--pid",), metavar="MODE", help="host or container:NAME"),
    Flag(names=("--uts",), metavar="host", help="share the host's name"),
    Flag(names=("--cgroupns",), metavar="MODE", help="private or host"),
    Flag(
        names=("--userns",),
        metavar="MODE",
        help="auto[:size=N]: ids that nothing else has; host: the host's; keep-id[:uid=N,gid=N]: run as the caller",
    ),
    Flag(names=("--cap-add",), metavar="CAP", many=True, help="give a capability (or ALL)"),
    Flag(names=("--cap-drop",), metavar="CAP", many=True, help="take a capability away (or ALL)"),
    Flag(
        names=("--security-opt",),
        metavar="OPTION",
        many=True,
        help="no-new-privileges, seccomp=FILE|unconfined, systempaths=unconfined, writable-cgroups …",
    ),
    Flag(names=("--privileged",), help="every capability, every device, nothing masked: no protection"),
    Flag(names=("--sysctl",), metavar="NAME=VALUE", many=True, help="a kernel parameter of its own namespaces"),
)

_NOT_WINDOWS = "it is for Windows"
REFUSED: dict[str, str] = {
    "--cpu-count": _NOT_WINDOWS,
    "--cpu-percent": _NOT_WINDOWS,
    "--io-maxbandwidth": _NOT_WINDOWS,
    "--io-maxiops": _NOT_WINDOWS,
    "--gpus": "no program here sets up the drivers of a GPU; its device files are given with --device",
    "--kernel-memory": "Linux has no such limit any more (since 5.16); --memory counts the kernel's memory too",
    "--link": "on a network, containers find each other by name: --network NAME, --network-alias",
    "--link-local-ip": "interfaces make their own link-local addresses",
    "--storage-opt": "a container's layer has no size of its own; give its files a --tmpfs with a size",
}
"""docker's flags that cannot be had, with the reason that the user is told."""
REFUSED_SWITCHES: dict[str, str] = {"--use-api-socket": "there is no daemon, and so no socket"}
ONLY: dict[str, tuple[str, tuple[str, ...], str]] = {
    "--isolation": ("TECHNOLOGY", ("", "default"), "default is the only one on Linux"),
    "--log-driver": ("NAME", ("", "json-file"), "a log is a file of JSON lines, as docker's json-file has them"),
    "--runtime": ("NAME", ("", "nbcontainers"), "this engine is its own runtime"),
    "--volume-driver": ("NAME", ("", "local"), "local is the only one"),
}
"""docker's flags of which only some values mean anything here: (what is shown, the values, why no other)."""


def complete(flags: Sequence[Flag]) -> tuple[Flag, ...]:
    """A verb's flags with those of docker's that it has not: each says why when it is used."""
    known = {name for flag in flags for name in flag.names}
    with_value = (
        *(only(name, metavar, values, why) for name, (metavar, values, why) in ONLY.items()),
        *(refused(names, why) for names, why in _paired(REFUSED)),
    )
    switches = (refused(names, why, is_switch=True) for names, why in _paired(REFUSED_SWITCHES))
    return (*flags, *(flag for flag in (*with_value, *switches) if not known & set(flag.names)))


def _paired(reasons: Mapping[str, str]) -> Iterator[tuple[tuple[str, ...], str]]:
    """The names of each flag, a short one with the long one behind it, and the reason."""
    short: tuple[str, ...] = ()
    for name, why in reasons.items():
        if name.startswith("--"):
            yield (*short, name), why
            short = ()
        else:
            short = (name,)


CREATE = (*IDENTITY, *networks.CREATE, *FILES, *LIMITS, *ISOLATION, *lifecycle.FLAGS)

_RENAMED = {"volume": "volumes", "label": "labels"}
_NOTHING = {"disable_content_trust"}  # it asks for what is so


def run_options(values: Namespace, flags: Sequence[Flag] = CREATE) -> RunOptions:
    """The words of ``run``, ``create`` and ``update`` as the engine takes them: those that were given."""
    found: dict[str, Any] = {}
    for flag in flags:
        value = getattr(values, flag.key)
        if flag.key not in _NOTHING and value is not None and value is not False and value != []:
            found[_RENAMED.get(flag.key, flag.key)] = value
    return cast(RunOptions, found)

"""What front ends show: plain data, with sizes in bytes and times in seconds (instants since the epoch, UTC)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .oci.descriptor import Digest
from .oci.image import Image

ChangeKind = Literal["added", "modified", "deleted"]
FileKind = Literal["file", "directory", "symlink", "hardlink", "device", "fifo", "whiteout"]
PackageChangeKind = Literal["added", "deleted", "upgraded", "downgraded"]
Packaging = Literal["dpkg", "apk", "rpm", "python", "conda"]
ENDED_FOR = "ended for it "
"""How the error of a container begins that went beyond a limit which its shim holds: of time, or of output."""
Status = Literal["creating", "created", "running", "paused", "restarting", "exited", "dead"]
HealthStatus = Literal["starting", "healthy", "unhealthy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressure:
    """How much was waited for a resource: percent of the last ten seconds in which some, or all, tasks waited, and for how long in all.

    Source: Documentation/accounting/psi.rst.
    """

    some: float
    full: float
    some_seconds: float
    full_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockUse:
    """Bytes and operations of one block device, by its number (``254:0``)."""

    device: str
    read: int
    written: int
    reads: int
    writes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkUse:
    """Bytes and packets of one network interface, as the container sees them."""

    interface: str
    received: int
    sent: int
    packets_received: int
    packets_sent: int
    dropped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """One sample of what a container uses; a limit that is not set is None, a count that the host cannot give is None.

    ``cpu_seconds`` adds up over all processors since the start; ``source`` says who counted: ``cgroup v1``, ``cgroup v2`` or
    ``process tree`` (where no cgroup could be made, so the limits are watched, not enforced by the kernel). Of ``periods`` in which
    it wanted processor time it was ``throttled_periods`` times held back; ``network`` is None where it shares the host's.
    """

    time: float
    cpu_seconds: float
    memory: int
    processes: int
    source: str
    cpu_limit: float | None = None
    memory_limit: int | None = None
    memory_peak: int | None = None
    processes_limit: int | None = None
    throttled_seconds: float | None = None
    periods: int | None = None
    throttled_periods: int | None = None
    cpu_pressure: Pressure | None = None
    memory_pressure: Pressure | None = None
    io_pressure: Pressure | None = None
    block: tuple[BlockUse, ...] | None = None
    network: tuple[NetworkUse, ...] | None = None
    oom_kills: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A path that a container changed on top of its image."""

    kind: ChangeKind
    path: str
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One path of a layer or of a whole image; ``digest`` is a regular file's content, ``link`` a link's target."""

    path: str
    kind: FileKind
    size: int = 0
    mode: int = 0
    uid: int = 0
    gid: int = 0
    digest: str = ""
    link: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer of a stack: the instruction that made it and what it did to the files below it.

    ``size`` is what its files hold; ``stored_size`` is the compressed blob. An instruction that made no layer has ``digest``
    and ``diff_id`` None and counts nothing. ``largest`` holds its biggest files, largest first. ``wasted`` are the bytes of
    it that later layers replace or remove. ``shared_with`` are the names of the other images in the store that have the same blob.
    """

    instruction: str
    digest: Digest | None
    diff_id: Digest | None
    size: int = 0
    stored_size: int = 0
    added: int = 0
    modified: int = 0
    deleted: int = 0
    wasted: int = 0
    largest: tuple[Entry, ...] = ()
    shared_with: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerStack:
    """The layers of an image from the base up; ``efficiency`` from 0 to 1 as dive defines it."""

    name: str
    id: Digest
    platform: str
    layers: tuple[Layer, ...]
    size: int
    stored_size: int
    wasted: int
    efficiency: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """A path that differs between two images; the side where it is not there is None. ``what`` names the fields that differ."""

    kind: ChangeKind
    path: str
    before: Entry | None
    after: Entry | None
    what: tuple[str, ...] = ()

    @property
    def growth(self) -> int:
        """Bytes that the second image has more."""
        return (self.after.size if self.after else 0) - (self.before.size if self.before else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingChange:
    """A key of the configuration (``Env.PATH``, ``Cmd`` …) that differs; the side where it is not set is None."""

    key: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageChange:
    """A package that differs between two images, with its versions; the side where it is not installed is None.

    ``where`` is the folder of a Python or conda environment, for there may be several; elsewhere it is empty.
    """

    kind: PackageChangeKind
    packaging: Packaging
    name: str
    before: str | None
    after: str | None
    where: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageDiff:
    """Everything in which image ``after`` differs from image ``before``: files sorted by path, settings by key, packages by name.

    ``unread`` says in plain words which package data were found and could not be read.
    """

    before: str
    after: str
    files: tuple[FileChange, ...]
    settings: tuple[SettingChange, ...]
    shared_layers: int
    packages: tuple[PackageChange, ...] = ()
    unread: tuple[str, ...] = ()

    def count(self, kind: ChangeKind) -> int:
        """How many files were added, modified or deleted."""
        return sum(1 for change in self.files if change.kind == kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildStep:
    """One executed or cached step of a build; ``reason`` says what changed since it was last made, and is empty for a new one."""

    text: str
    stage: str
    lines: tuple[int, int]
    cached: bool
    seconds: float
    layer: Digest | None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LintFinding:
    """Something in a Dockerfile that is allowed and hardly meant: the rule's name as BuildKit has it, and the place.

    Lines and columns count from 1; ``end_column`` is the first behind it.
    """

    rule: str
    message: str
    hint: str
    line: int
    column: int
    end_line: int
    end_column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """The image that a build made, and how. ``names`` are all its tags; it is ``stored`` unless only files were asked for."""

    image: Image
    steps: tuple[BuildStep, ...]
    warnings: tuple[str, ...]
    seconds: float
    names: tuple[str, ...] = ()
    stored: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What the collector removed: images by ID, blobs by digest, unpacked layers by chain ID, names as Docker shows them.

    ``size`` is that of the blobs, ``unpacked`` that of the layers' files.
    """

    images: tuple[Digest, ...] = ()
    blobs: tuple[Digest, ...] = ()
    layers: tuple[Digest, ...] = ()
    size: int = 0
    unpacked: int = 0
    untagged: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What ``prune`` removed: containers by ID, names and images, records of the build cache by key, unpacked layers by chain ID.

    ``size`` is all the room that it gave back, in bytes.
    """

    containers: tuple[str, ...] = ()
    untagged: tuple[str, ...] = ()
    images: tuple[Digest, ...] = ()
    cache: tuple[str, ...] = ()
    layers: tuple[Digest, ...] = ()
    networks: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    size: int = 0


CacheKind = Literal["regular", "exec.cachemount"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRecord:
    """One thing of the build cache: the layer of a step, or a folder that RUN steps share.

    ``size`` is in bytes, ``used`` the last time in seconds since the epoch; an image has the layer too of what is ``shared``.
    """

    id: str
    kind: CacheKind
    description: str
    size: int
    used: float
    shared: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskUse:
    """What one kind of thing takes of the disk: how many there are, how many are used, and the bytes of all and of the unused."""

    kind: str
    total: int
    active: int
    size: int
    reclaimable: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something of a store that is not as it should be.

    ``kind`` is blob, image, tag, layer, index, cache, container or name; ``images`` are the names (or IDs) of the images that it
    hurts. ``repaired`` says what was done about it, and is empty if nothing was.
    """

    kind: str
    name: str
    problem: str
    images: tuple[str, ...] = ()
    repaired: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCheck:
    """What a check of a whole store looked at, and what it found."""

    blobs: int
    size: int
    tags: int
    images: int
    layers: int
    cache: int
    containers: int
    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that a host allows or does not, found by trying it."""

    name: str
    holds: bool
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostReport:
    """What this host allows: its isolation tier (T0 to T4), each thing tried, and what cannot be enforced here, in plain words.

    ``store`` is the folder of the store, ``store_reason`` why it is that one, ``stores_refused`` the better ones with what is wrong with
    each.
    """

    tier: str
    summary: str
    checks: tuple[Check, ...]
    not_enforced: tuple[str, ...]
    kernel: str
    cgroups: str
    store: str = ""
    store_reason: str = ""
    stores_refused: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """Something that happened to a container or image: ``kind`` says to which, ``action`` what, in Docker's words."""

    time: float
    kind: str
    action: str
    id: str
    attributes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessList:
    """The processes of a container: what stands in each column, and a row for each process. Numbers are this host's."""

    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """A range of addresses of a network, its gateway, and the part of it from which addresses are given ("" for all of it).

    ``reserved`` are addresses that no container gets, each by the name of whom it is kept for.
    """

    network: str
    gateway: str
    ip_range: str = ""
    reserved: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network that containers can be on; ``internal`` ones have no way out.

    ``attachable`` is what was said when it was made: every network here can be connected to.
    """

    id: str
    name: str
    created: float
    driver: str
    internal: bool = False
    attachable: bool = False
    ipv6: bool = False
    subnets: tuple[Subnet, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeState:
    """A volume: where its files lie, and which containers (IDs) have it, running or not."""

    name: str
    path: str
    created: float
    labels: tuple[tuple[str, str], ...] = ()
    anonymous: bool = False
    users: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """How a container's health is found: the command, and times in seconds; ``retries`` failures in a row make it unhealthy."""

    test: tuple[str, ...]
    interval: float = 30.0
    timeout: float = 30.0
    retries: int = 3
    start_period: float = 0.0
    start_interval: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthResult:
    """What one check gave: 0 is healthy, -1 that it could not be run or took too long."""

    start: float
    end: float
    exit_code: int
    output: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How a container is, and its last results, the newest last."""

    status: HealthStatus
    failing_streak: int = 0
    log: tuple[HealthResult, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerState:
    """What is on disk of a container. Instants are 0 where they have not come; ``pid`` is 0 unless it runs.

    ``restart`` is the policy (``no``, ``on-failure``, ``always``, ``unless-stopped``) with how often at most (0: ever), and
    ``restarts`` how often that happened; ``stop_timeout`` is None for ten seconds. ``log_options`` says how many bytes
    a file of its log may have (0: any number), and how many files there are.

    ``user`` is the word of USER or ``--user``, looked up inside at each start; ``interactive`` keeps standard input open.
    ``tier`` says how well it is isolated, ``lacks`` what no container of its host has, ``not_enforced`` what was asked for it and is
    not enforced; ``error`` says why it could not start, or how it was ended. ``ports`` are those that its
    last start published: address and port of this host, port of the container, protocol.
    """

    id: str
    name: str
    image: str
    image_id: str
    command: tuple[str, ...]
    status: Status
    created: float
    entrypoint: tuple[str, ...] = ()
    started: float = 0.0
    finished: float = 0.0
    pid: int = 0
    exit_code: int | None = None
    out_of_memory: bool = False
    error: str = ""
    tier: str = ""
    not_enforced: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    user: str = ""
    interactive: bool = False
    auto_remove: bool = False
    detached: bool = False
    labels: tuple[tuple[str, str], ...] = ()
    ports: tuple[tuple[str, int, int, str], ...] = ()
    restart: tuple[str, int] = ("no", 0)
    restarts: int = 0
    stop_timeout: float | None = None
    log_options: tuple[int, int] = (0, 1)
    check: HealthCheck | None = None
    health: Health | None = None

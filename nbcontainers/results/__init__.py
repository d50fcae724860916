"""What front ends show: plain data, with sizes in bytes and times in seconds (instants since the epoch, UTC).

Each name is imported when it is first used: making all of these types takes as long as starting a container.
"""

from __future__ import annotations

TYPE_CHECKING = False  # not typing's: what measures a container imports this package and stays small
if TYPE_CHECKING:
    from .builds import BuildResult as BuildResult
    from .builds import BuildStep as BuildStep
    from .builds import LintFinding as LintFinding
    from .containers import ENDED_FOR as ENDED_FOR
    from .containers import STREAMS as STREAMS
    from .containers import ContainerState as ContainerState
    from .containers import Happening as Happening
    from .containers import Health as Health
    from .containers import HealthCheck as HealthCheck
    from .containers import HealthResult as HealthResult
    from .containers import HealthStatus as HealthStatus
    from .containers import ProcessList as ProcessList
    from .containers import Status as Status
    from .files import Change as Change
    from .files import ChangeKind as ChangeKind
    from .files import Entry as Entry
    from .files import FileKind as FileKind
    from .hosts import Check as Check
    from .hosts import HostReport as HostReport
    from .images import FileChange as FileChange
    from .images import ImageDiff as ImageDiff
    from .images import Layer as Layer
    from .images import LayerStack as LayerStack
    from .images import PackageChange as PackageChange
    from .images import PackageChangeKind as PackageChangeKind
    from .images import Packaging as Packaging
    from .images import SettingChange as SettingChange
    from .networks import Network as Network
    from .networks import Subnet as Subnet
    from .stores import CacheKind as CacheKind
    from .stores import CacheRecord as CacheRecord
    from .stores import Collected as Collected
    from .stores import DiskUse as DiskUse
    from .stores import Fault as Fault
    from .stores import Pruned as Pruned
    from .stores import StoreCheck as StoreCheck
    from .stores import VolumeState as VolumeState
    from .usage import BlockUse as BlockUse
    from .usage import NetworkUse as NetworkUse
    from .usage import Pressure as Pressure
    from .usage import Usage as Usage

_HOLDS = {
    "usage": "Pressure BlockUse NetworkUse Usage",
    "files": "ChangeKind FileKind Change Entry",
    "images": "PackageChangeKind Packaging Layer LayerStack FileChange SettingChange PackageChange ImageDiff",
    "builds": "BuildStep LintFinding BuildResult",
    "stores": "Collected Pruned CacheKind CacheRecord DiskUse Fault StoreCheck VolumeState",
    "hosts": "Check HostReport",
    "networks": "Subnet Network",
    "containers": "ENDED_FOR STREAMS Status HealthStatus Happening ProcessList HealthCheck HealthResult Health ContainerState",
}
_HOMES = {name: module for module, names in _HOLDS.items() for name in names.split()}


def __getattr__(name: str) -> object:
    """A type, imported now and then kept. Source: PEP 562."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})

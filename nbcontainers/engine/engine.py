"""The engine: images from the store, processes from the runtime, and the only thing that front ends talk to."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Unpack

from ..errors import IntegrityError, NotFound
from ..events import Observer, ignore
from ..oci.descriptor import Digest
from ..results import ContainerState, DiskUse, HostReport, Network, Pruned, StoreCheck, VolumeState
from . import connecting, networks, selection, volumes
from .builds import Builds
from .containers import Containers
from .networks import NetworkSettings


class Engine(Builds, Containers):
    """A store of images and containers, and the means to build and run them.

    ``root`` is the store's folder; without it ``$NBCONTAINERS_ROOT`` or the first place that can hold one is used (``host()``
    says which). Nothing lives in the engine alone: a second engine on the same folder sees and controls the same containers.
    Use it as a context manager, or ``close`` it: containers started in the foreground end with it.
    """

    # -- networks ------------------------------------------------------------------------------------------------------

    def networks(self) -> tuple[Network, ...]:
        """Every network, by name; the built-in ones (bridge, host, none) among them."""
        return self._network_files.all()

    def network(self, name: str) -> Network:
        """The network that a name, an ID or the beginning of an ID stands for: NotFound if there is none."""
        return self._network_files.find(name)

    def create_network(self, name: str, **settings: Unpack[NetworkSettings]) -> Network:
        """Make a bridge network; a range of addresses that is not given is chosen. The keywords are those of ``NetworkSettings``."""
        return self._network_files.create(name, **settings)

    def remove_network(self, name: str) -> None:
        """Remove a network: Conflict while a running container is on it, unless its file is damaged, so that this cannot be told."""
        try:
            network = self.network(name)
        except IntegrityError:
            self._network_files.remove(name)
            return
        connecting.remove(network, self.store.root, self._runtime)

    def prune_networks(self, filters: Sequence[str] = ()) -> tuple[str, ...]:
        """Remove the networks that no running container is on, but the built-in ones; their names. Filters are as in ``prune``."""
        chosen = selection.Selection.parse(filters, selection.PRUNING)
        return connecting.prune(self.store.root, self._runtime, chosen)

    def inspect_network(self, name: str) -> dict[str, Any]:
        """All that is known of a network, by Docker's keys."""
        return networks.to_json(self.network(name), self._runtime.networks(self.store.root).places())

    # -- volumes -------------------------------------------------------------------------------------------------------

    def create_volume(self, name: str = "", *, labels: Mapping[str, str] | None = None) -> VolumeState:
        """Make a volume, or take the one that has the name; without a name a new, anonymous one."""
        volume, _ = self.store.volumes.create(name, labels=labels)
        return self.volume(volume.name)

    def volumes(self) -> tuple[VolumeState, ...]:
        """Every volume, by name."""
        return volumes.listed(self.store, self._names)

    def volume(self, name: str) -> VolumeState:
        """The volume of that name: NotFound where there is none."""
        self.store.volumes.get(name)
        return next(entry for entry in self.volumes() if entry.name == name)

    def remove_volume(self, name: str, *, missing_ok: bool = False) -> None:
        """Remove a volume with all that is in it: Conflict where a container has it, NotFound where there is none."""
        with contextlib.suppress(*((NotFound,) if missing_ok else ())):
            volumes.remove(self.store, self._names, name)

    def prune_volumes(self, *, everything: bool = False, filters: Sequence[str] = ()) -> tuple[tuple[str, ...], int]:
        """Remove the anonymous volumes (all, with ``everything``) that no container has: (their names, bytes that they took).

        Filters are as in ``prune``.
        """
        chosen = selection.Selection.parse(filters, selection.PRUNING)
        return volumes.prune(self.store, self._names, chosen, everything=everything)

    # -- the store's upkeep --------------------------------------------------------------------------------------------

    def prune(
        self,
        kinds: Sequence[str] = ("containers", "images", "cache", "networks"),
        *,
        all: bool = False,
        filters: Sequence[str] = (),
    ) -> Pruned:
        """Remove what is not used, and what killed processes left.

        Args:
            kinds: of ``containers`` those that do not run, of ``images`` those without a name, of the build ``cache`` the steps whose
                layers no image has; of ``networks`` those that no running container is on; of ``volumes`` the anonymous ones that
                no container has.
            all: every image that no container was made from, and the whole build cache with the folders that RUN steps share.
            filters: Docker's ``until=24h``, ``label=KEY[=VALUE]`` and ``label!=KEY[=VALUE]``. What is older than ``until`` goes: by when
                it was made, a step of a build by when it was last used. The build cache has no labels, so that with those it
                stays; alone it also knows ``type=exec.cachemount`` (the folders that RUN steps share) or ``type=regular``, and ``id=``.

        Raises:
            IntegrityError: an image is damaged, so what it needs cannot be told; no image is removed.
            NBContainersError: a kind that there is not.
        """
        from . import upkeep

        pruned = upkeep.prune(self.store, self._every(), kinds=kinds, all=all, filters=filters)
        if "containers" in kinds or "cache" in kinds:
            self._runtime.sweep()  # after all whose states tell what they have left
        if "networks" in kinds:
            pruned = replace(pruned, networks=self.prune_networks(filters))
        if "volumes" not in kinds:
            return pruned
        names, size = self.prune_volumes(filters=filters)
        return replace(pruned, volumes=names, size=pruned.size + size)

    def disk_use(self) -> tuple[DiskUse, ...]:
        """What images, containers, volumes, unpacked layers and the build cache take of the disk, and what of that is not used."""
        from . import room

        return room.disk_use(self.store, self._every(), self.volumes())

    def sizes(self) -> tuple[tuple[ContainerState, int], ...]:
        """Every container's state with the bytes that it has written, newest first."""
        from . import upkeep

        states = [container.state for container in self.containers(all=True)]
        return tuple(zip(states, upkeep.written(self.store, [state.id for state in states]), strict=True))

    def check(self, *, repair: bool = False, on_event: Observer = ignore) -> StoreCheck:
        """Read everything in the store and tell what is not as it should be; with ``repair`` make again what can be.

        The index, unpacked layers and blobs of layers that were made here are made anew, and blobs that a registry had are brought
        from there. A damaged blob that cannot be is put aside, so that loading, pulling or building its image brings a good one.
        """
        from . import upkeep

        return upkeep.check(self.store, self._every(), repair=repair, fetch=self._fetch(on_event), on_event=on_event)

    def _fetch(self, on_event: Observer) -> Callable[[Digest], bool]:
        def again(digest: Digest) -> bool:
            from . import registries

            return registries.fetch(self.store, digest, on_event=on_event)

        return again

    # -- this host -----------------------------------------------------------------------------------------------------

    def host(self) -> HostReport:
        """What this host allows, found by trying: the isolation tier, and what cannot be enforced here."""
        from . import userns

        report = userns.told(replace(self._host.report(), store=str(self.store.root)), self._host, self.store.root)
        refused = tuple((str(path), why) for path, why in self._place.refused)
        return replace(report, store_reason=self._place.reason, stores_refused=refused)

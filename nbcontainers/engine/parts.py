"""What an engine is put together of: the store, the runtime, this host; each made when it is first needed."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Self

from .exhaustion import Telling
from .names import ContainerNames
from .networks import NetworkFiles

if TYPE_CHECKING:
    from ..runtime.host import Host
    from ..runtime.process import Runtime
    from ..store.garbage import Needed
    from ..store.root import Choice
    from ..store.store import Store


def _held(root: Path) -> Needed:
    """What containers and the build cache need of a store."""
    from ..build import records
    from . import upkeep

    return upkeep.held(root) | records.kept(root)


class Parts(Telling):
    """The parts of one engine."""

    def __init__(self, root: str | Path | None = None) -> None:
        self._root = Path(root).expanduser().absolute() if root is not None else None

    def __repr__(self) -> str:
        place = self._place.path if "_place" in self.__dict__ else self._root  # which is not chosen only to be told
        return f"<{type(self).__name__} of {place or 'the default store'}>"

    @functools.cached_property
    def _host(self) -> Host:
        from ..runtime import host
        from ..store.store import users

        return host.probe(users(self._place.path))

    @functools.cached_property
    def _place(self) -> Choice:
        from ..store import root

        return root.Choice(path=self._root, reason="", overlay=True) if self._root else root.choose(os.environ)

    @functools.cached_property
    def store(self) -> Store:
        """Bytes at rest: opened, and made where it is not there yet."""
        from ..store.store import Store

        return Store(self._place.path, identity=self._host.identity, holders=(_held,), copies=self._host.is_viewed)

    @functools.cached_property
    def _runtime(self) -> Runtime:
        from ..runtime import rundir
        from ..runtime.process import Runtime

        return Runtime(rundir.choose(os.environ), self._host)

    @functools.cached_property
    def _names(self) -> ContainerNames:
        return ContainerNames(self.store.root)

    @functools.cached_property
    def _network_files(self) -> NetworkFiles:
        return NetworkFiles(self.store.root)

    def close(self) -> None:
        """End the foreground containers and the engine's own processes; the engine can be used again."""
        for part in ("_runtime", "store"):
            if part in self.__dict__:
                getattr(self, part).close()
        for part in ("_runtime", "_names", "_network_files", "store", "_host", "_place"):
            self.__dict__.pop(part, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

"""The container engine that lives in a notebook: build, run and look inside containers, with no daemon.

The public names are imported when they are first used: importing the package costs next to nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # not typing's: the zygote imports this package and must stay small
if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from .engine import Container as Container
    from .engine import Engine as Engine
    from .errors import BuildError as BuildError
    from .errors import Conflict as Conflict
    from .errors import DockerfileError as DockerfileError
    from .errors import HostError as HostError
    from .errors import IntegrityError as IntegrityError
    from .errors import InvalidReference as InvalidReference
    from .errors import LaunchError as LaunchError
    from .errors import NBContainersError as NBContainersError
    from .errors import NotFound as NotFound
    from .errors import RegistryError as RegistryError
    from .oci.image import Image as Image

__version__ = "0.1.0"

_HOMES = {"Container": "engine", "Engine": "engine", "Image": "oci.image"}  # the other names are errors

__all__ = [
    "BuildError",
    "Conflict",
    "Container",
    "DockerfileError",
    "Engine",
    "HostError",
    "Image",
    "IntegrityError",
    "InvalidReference",
    "LaunchError",
    "NBContainersError",
    "NotFound",
    "RegistryError",
    "__version__",
    "load_ipython_extension",
]


def __getattr__(name: str) -> object:
    """A public name, imported now. Source: PEP 562."""
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES.get(name, 'errors')}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(ipython: InteractiveShell) -> None:
    """``%load_ext nbcontainers``: make the magics known to a running IPython."""
    from .jupyter import magics

    magics.register(ipython)


def unload_ipython_extension(ipython: InteractiveShell) -> None:
    """``%unload_ext nbcontainers``: take the magics away again; containers in the foreground end."""
    from .jupyter import magics

    magics.unregister(ipython)

"""Where what is a container or an image can be found on this host: its tree, its files, its network, commands that were entered.

Paths are this host's. A container's tree is mounted in its own mount namespace only, so the whole of it is seen through its first
process, while there is one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..oci.descriptor import Digest
from ..oci.image import Image
from ..results import ContainerState
from ..runtime import pausing
from ..runtime.state import load_extra
from ..runtime.tracees import LOADER
from ..store import unpacked
from ..store.store import Store

_FOLDERS = {"LowerDir": "lowerdir", "UpperDir": "upperdir", "WorkDir": "workdir"}
_FILES = {"ResolvConfPath": "resolv.conf", "HostnamePath": "hostname", "HostsPath": "hosts"}


def container(store: Store, folder: Path, state: ContainerState, modes: Mapping[str, Any]) -> dict[str, Any]:
    """Its tree and files, and the commands in it, by Docker's keys; ``modes`` is its HostConfig.

    Source: Docker Engine API 1.50, ContainerInspectResponse; the files are left out where they are the host's or another one's.
    """
    files = {key: str(folder / name) for key, name in _FILES.items() if (folder / name).exists()}
    return {
        **files,
        "Driver": store.snapshots.name,
        "GraphDriver": {"Name": store.snapshots.name, "Data": _tree(store, folder, state)},
        "ExecIDs": entered(folder, state.pid) or None if not modes.get("PidMode") else None,
    }


def _tree(store: Store, folder: Path, state: ContainerState) -> dict[str, str]:
    """The folders that its root is made of. MergedDir is where it can be seen while it runs."""
    (root,) = store.snapshots.mounts(state.id)
    is_viewed = bool(state.pid) and LOADER in load_extra(folder)  # then its root is this host's to the kernel
    merged = {"MergedDir": root.source if is_viewed else f"/proc/{state.pid}/root"} if state.pid else {}
    if root.type != "overlay":
        return {"UpperDir": root.source, **merged}
    words = dict(option.partition("=")[::2] for option in root.options)
    return {key: words[word] for key, word in _FOLDERS.items() if word in words} | merged


def entered(folder: Path, pid: int) -> list[str]:
    """The commands that were entered (exec, and checks of health): each the number of its process, for they have no other name.

    They are those in the container that nobody in it has started; ``folder`` is its own.
    """
    inside = pausing.members(pid, load_extra(folder)) if pid else ()
    return [str(one) for one in inside if one != pid and _parent(one) not in inside]


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b") ")[2].split()[1])
    except (OSError, IndexError):  # it is gone
        return pid


def sandbox(pid: int) -> dict[str, str]:
    """Its network namespace: what enters it (nsenter --net), and the kernel's number for it, which lsns shows; empty if it is gone."""
    path = f"/proc/{pid}/ns/net"
    try:
        number = str(os.stat(path).st_ino) if pid else ""
    except OSError:
        number = ""
    return {"SandboxID": number, "SandboxKey": path if number else ""}


def image(store: Store, subject: Image) -> dict[str, Any]:
    """The folders of an image's layers, which are unpacked when the first container needs them: none before."""
    data = _layers(store.root, subject.chain_ids)
    return {"GraphDriver": {"Name": store.snapshots.name, "Data": data}}


def _layers(root: Path, chains: Sequence[Digest]) -> dict[str, str] | None:
    folders = [root / "layers" / chain.hex for chain in reversed(chains)]
    if not folders or not all(map(unpacked.usable, folders)):
        return None
    upper, *lower = (str(folder / "fs") for folder in folders)
    return {**({"LowerDir": ":".join(lower)} if lower else {}), "UpperDir": upper}

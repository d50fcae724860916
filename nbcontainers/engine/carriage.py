"""``docker cp``: what goes where, between a container that runs or not, this host, and a stream."""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import stat
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from ..errors import Conflict, HostError, NBContainersError, NotFound
from ..linux import mounts as kinds
from ..oci.runtime import Mount, RuntimeSpec
from ..results import ContainerState
from ..runtime import viewplan
from ..store import carrying
from ..store.worker import Worker
from . import ends

_BEGINS_S = 10.0  # a busy host's patience for a start
_LOOK_AGAIN_S = 0.002
_BARRED = {
    errno.ELOOP: "links lead in a circle, or through one of /proc",
    errno.EACCES: "links lead through one of /proc, or to what is nobody's there",
    errno.EROFS: "what is mounted there is read-only",
    errno.ENAMETOOLONG: "a name has at most 255 bytes, a path 4095",
}
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Tree:
    """A container's tree with what is mounted in it: all where it runs, else the ``binds``, such as its volumes."""

    def __init__(
        self,
        worker: Worker,
        mounts: Sequence[Mount],
        state: ContainerState,
        binds: Sequence[Mount] = (),
        *,
        is_viewed: bool = False,
        is_read_only: bool = False,
    ) -> None:
        """``is_viewed`` says that nothing can be mounted (tier T4): each bind is then reached where it lies, and a root that
        ``is_read_only`` not written to.
        """
        self._worker = worker
        self._mounts = tuple(mounts)
        self._binds = () if state.pid and not is_viewed else tuple(binds)
        self._state = state
        self._is_viewed = is_viewed
        self._is_read_only = is_read_only

    @contextlib.contextmanager
    def _root(self) -> Iterator[int | None]:
        """A descriptor of the root of the container's first process, None where it does not run."""
        if not self._state.pid or self._is_viewed:
            yield None
            return
        root = self._opened()
        try:
            yield root
        finally:
            os.close(root)

    def _opened(self) -> int:
        """That descriptor. Between its birth and its own root a process has this host's, which nobody means by the container."""
        deadline = time.monotonic() + _BEGINS_S
        while True:
            try:
                root = os.open(f"/proc/{self._state.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError as error:
                raise Conflict(f"container {self._state.name} ended meanwhile: {error.strerror}") from error
            if not os.path.samestat(os.fstat(root), os.stat("/")):
                return root
            os.close(root)
            if time.monotonic() > deadline:
                raise Conflict(
                    f"container {self._state.name} has not begun yet", hint="its start takes long: try again"
                )
            time.sleep(_LOOK_AGAIN_S)

    def kind(self, path: str, *, follow: bool) -> str:
        """What a path in it is; see ``carrying.kind``."""
        with self._root() as root, _reached(path):
            mounts, place, _ = self._where(path)
            return self._worker.kind(mounts, place, follow=follow, root=root)

    def real(self, path: str) -> str:
        """The path that one in it leads to by links, which need not lead to anything there; see ``lookups.real``."""
        with self._root() as root, _reached(path):
            mounts, place, bind = self._where(path)
            found = self._worker.real(mounts, place, root=root)
            if bind is not None:
                found = bind.destination + (found if os.path.isdir(bind.source) else "")
            return found

    def out(self, path: str, name: str, descriptor: int, *, follow: bool) -> None:
        """Write a path of it to a descriptor, as an archive whose first entry is ``name``."""
        with self._root() as root, _reached(path):
            mounts, place, _ = self._where(path)
            self._worker.carry_out(mounts, place, name, descriptor, follow=follow, root=root)

    def into(self, folder: str, descriptor: int, *, owners: bool) -> None:
        """Unpack an archive from a descriptor into a folder of it."""
        with self._root() as root, _reached(folder):
            mounts, place, bind = self._where(folder)
            if bind is not None and bind.source in viewplan.OF_HOST:
                raise carrying.kernels_own(folder)
            if self._is_read_only if bind is None else {"ro", "rro"} & set(bind.options):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
            self._worker.carry_in(mounts, place, descriptor, owners=owners, root=root)

    def require_own(self, path: str, source: str) -> None:
        """Conflict where a file or folder of this host is to come to a path at which, or below which, something else is shown at one of
        its own: what were written in the tree instead would be seen by nobody.
        """
        if not self._is_viewed:
            return
        try:
            inside = self._inside(path)
        except (NBContainersError, OSError):  # it leads nowhere, as whoever goes there says
            return
        bind = self._around(inside)
        if bind is not None and not os.path.isdir(bind.source):
            raise carrying.mounted(path)
        place = inside.rstrip("/")
        for below in self._binds:
            rest = below.destination.removeprefix(f"{place}/")
            if rest != below.destination and os.path.lexists(os.path.join(source, rest)):
                raise Conflict(
                    f"something else is shown at {below.destination}", hint="copy that part by itself, to that path"
                )

    def _around(self, inside: str) -> Mount | None:
        """The innermost bind in which a path lies that is named without links."""
        around = [bind for bind in self._binds if f"{inside}/".startswith(f"{bind.destination.rstrip('/')}/")]
        return max(around, key=lambda one: len(one.destination), default=None)

    def _inside(self, path: str) -> str:
        """A path of the container whose folder is named without links; OSError or NBContainersError where that leads nowhere."""
        above, _, name = posixpath.normpath("/" + path.lstrip("/")).rpartition("/")
        return f"{self._worker.real(self._mounts, above or '/', root=None).rstrip('/')}/{name}"

    def _where(self, path: str) -> tuple[tuple[Mount, ...], str, Mount | None]:
        """(what is to be mounted, a path in there, the bind that this is if it is one alone) of a path of the container."""
        if not self._is_viewed:
            return (*self._mounts, *self._binds), path, None
        try:
            inside = self._inside(path)
        except (NBContainersError, OSError):  # it leads nowhere, as whoever goes there says
            return self._mounts, path, None
        bind = self._around(inside)
        if bind is None:
            return self._mounts, path, None
        source, place = bind.source, inside[len(bind.destination) :]
        if not os.path.isdir(source):
            source, place = os.path.dirname(source), f"/{os.path.basename(source)}{place}"
        return (kinds.bind(source),), (place or "/") + "/" * path.endswith("/"), bind


def viewed(worker: Worker, root: Mount, state: ContainerState, spec: RuntimeSpec, folder: Path) -> Tree:
    """The tree of a container whose folder that is, and which lies in a plain ``root``, on a host on which nothing can be mounted."""
    runs = bool(state.pid)
    binds = viewplan.shown(spec.mounts, root.source, folder, runs=runs)
    return Tree(worker, (root,), state, binds, is_viewed=True, is_read_only=runs and spec.readonly_root)


@contextlib.contextmanager
def _reached(path: str) -> Iterator[None]:
    """Say why a path of a container, which is as its programs want it, leads nowhere."""
    try:
        yield
    except OSError as error:
        if error.errno not in _BARRED:
            raise
        raise Conflict(
            f"{path} of the container cannot be reached: {error.strerror}", hint=_BARRED[error.errno]
        ) from error


def fetch(tree: Tree, path: str, target: str | os.PathLike[str] | IO[bytes], *, follow: bool, owners: bool) -> None:
    """Copy a path of a container to this host, or as an archive to a stream.

    Raises:
        NotFound: it is not there, or the folder that it is to lie in.
        Conflict: a folder is to take the place of a file, or anything that of a device.
    """
    _require(path)
    found = tree.kind(path, follow=follow)
    if not found and tree.kind(_bare(path), follow=True):
        raise _no_folder(f"{path} of the container")
    if not found:
        raise NotFound(f"no such file or folder in the container: {path}")
    base = posixpath.basename(posixpath.normpath(path))
    if not isinstance(target, str | os.PathLike):
        with ends.writable(target) as out:
            tree.out(path, _first(tree, path, base, follow=follow), out, follow=follow)
        return
    target = os.fspath(target)
    if os.path.islink(target) and not os.path.isdir(target):
        target = os.path.realpath(target)  # what it leads to is written, or made
        if os.path.islink(target):
            raise Conflict(f"links lead in a circle: {target}", hint="remove them, or name another target")
    above = os.path.dirname(os.path.abspath(target))
    folder, name = arranged(path, found, target, _there(target), above)
    try:
        root = os.open(folder, _FOLDER)
    except OSError as error:
        raise NotFound(f"no such folder: {folder}") from error
    try:
        with ends.piped(lambda out: tree.out(path, name, out, follow=follow)) as stream, _allowed(target):
            carrying.place(root, ".", stream, owners=owners)
    finally:
        os.close(root)


def _first(tree: Tree, path: str, base: str, *, follow: bool) -> str:
    """The first name of an archive of a path, as docker's client gets it: of a link that is followed, the name that it leads to."""
    if path.endswith("/."):
        return "."
    if follow and tree.kind(path, follow=False) == "link":
        base = posixpath.basename(tree.real(path))
    return base or "/"


@contextlib.contextmanager
def _allowed(target: str) -> Iterator[None]:
    """Say what this host did not let be written."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise HostError(
            f"cannot write {target}: {error.strerror}", hint="is there room, and may you write there?"
        ) from error


def bring(tree: Tree, source: str | os.PathLike[str] | IO[bytes], path: str, *, follow: bool, owners: bool) -> None:
    """Copy a file or folder of this host, or the content of an archive (compressed or not) from a stream, to a path of a container.

    Raises:
        NotFound: it is not there, or the folder that it is to lie in.
        Conflict: a folder is to take the place of a file, or anything that of a device.
    """
    _require(path)
    there = tree.kind(path, follow=True)
    if there != "folder" and tree.kind(path, follow=False) == "link":
        path = tree.real(path)  # what it leads to is written, or made
    if not isinstance(source, str | os.PathLike):
        if there != "folder":
            raise NotFound(f"no such folder in the container: {path}", hint="an archive is unpacked into a folder")
        from ..store.streams import plain

        with ends.readable(plain(source)) as archive:
            tree.into(path, archive, owners=owners)
        return
    source = os.fspath(source)
    # A slash at the end follows a link to a folder, in the kernel as in docker, and what is no folder cannot have one.
    whole = os.path.abspath(source) + "/" * source.endswith(("/", "/."))
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = carrying.kind(root, whole, follow=follow)
        if not found and carrying.kind(root, _bare(whole), follow=True):
            raise _no_folder(source)
        if not found:
            raise NotFound(f"no such file or folder: {source}")
        folder, name = arranged(
            source, found, path, there, posixpath.dirname(posixpath.normpath("/" + path.lstrip("/")))
        )
        tree.require_own(posixpath.join(folder, name), source)

        def pack(out: int) -> None:
            def emit(block: memoryview) -> None:
                rest = block
                while rest:
                    rest = rest[os.write(out, rest) :]

            carrying.pack(root, whole, name, emit, follow=follow)

        with ends.piped(pack) as stream:
            tree.into(folder, stream.fileno(), owners=owners)
    finally:
        os.close(root)


def _require(path: str) -> None:
    if not path:
        raise NBContainersError("no path of the container is named", hint="write CONTAINER:PATH (/ is all of it)")


def _there(path: str) -> str:
    """What a path of this host leads to, as ``Tree.kind`` tells of a container's."""
    try:
        return carrying.KINDS.get(stat.S_IFMT(os.stat(path).st_mode), "other")
    except OSError:
        return ""


def _bare(path: str) -> str:
    """A path without a slash, or a slash and a dot, at its end."""
    return path.removesuffix("/.").rstrip("/") or "/"


def _no_folder(path: str) -> Conflict:
    return Conflict(f"not a directory: {path}", hint="only a folder's name can end with a slash")


def arranged(source: str, found: str, target: str, there: str, above: str) -> tuple[str, str]:
    """(the folder to unpack into, the name of what is packed) by docker's rules; ``above`` is the folder that holds the target.

    An empty name stands for the content of a folder.
    """
    base = posixpath.basename(posixpath.normpath(source))
    if there == "folder":
        content = found == "folder" and (source.endswith("/.") or source == "." or base in ("", "/", "."))
        return target, "" if content else base
    if there == "device":
        raise Conflict(f"a device cannot be replaced: {target}", hint="name a file or a folder, or - for an archive")
    if there and found == "folder":
        raise Conflict(f"a folder cannot take the place of a file: {target}")
    if found != "folder" and target.endswith("/"):
        raise NotFound(f"no such folder: {target}", hint="without the slash at the end it is the name of the copy")
    return above, posixpath.basename(posixpath.normpath(target))

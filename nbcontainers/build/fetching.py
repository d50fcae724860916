"""Files fetched for ADD and for contexts: by http with their digest, and repositories by the program ``git``."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path

from ..errors import HostError, IntegrityError, NotFound, reason
from ..events import Observer, Progress, ignore
from ..oci.descriptor import Digest
from ..store import stopping
from .remotes import Remote

_BLOCK = 1 << 18
_PATIENCE = 60.0  # seconds without a byte
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Fetched:
    """Something fetched: a file or folder on this host, what it is called, and what stands for it in a cache key."""

    path: Path
    name: str
    digest: Digest


def file(remote: Remote, folder: Path, on_event: Observer = ignore) -> Fetched:
    """See ``_file``; a thread that is to stop does not wait for the server."""
    return stopping.abandoning(lambda: _file(remote, folder, on_event))


def _file(remote: Remote, folder: Path, on_event: Observer) -> Fetched:
    """Fetch a file by http: with mode 0600 and the time that the server gives it (1970 where it gives none), as BuildKit has it.

    Raises:
        NotFound: the server has no such file.
        IntegrityError: it is not what the checksum says.
        HostError: the server cannot be reached, or fails.

    """
    path = folder / "file"
    request = urllib.request.Request(remote.url, headers={"User-Agent": "nbcontainers"})
    hasher = hashlib.sha256()
    try:
        with urllib.request.urlopen(request, timeout=_PATIENCE) as answer, path.open("wb") as target:
            total = int(answer.headers["Content-Length"] or 0) or None
            done = 0
            while block := answer.read(_BLOCK):
                target.write(block)
                hasher.update(block)
                done += len(block)
                on_event(Progress(what=f"fetching {remote.url}", done=done, total=total))
            if total is not None and done != total:
                raise IntegrityError(f"{remote.url} ended after {done} of {total} bytes", hint="try again")
            modified = answer.headers["Last-Modified"]
    except urllib.error.HTTPError as error:
        error.close()
        kind = NotFound if error.code in (404, 410) else HostError
        raise kind(
            f"{remote.url} is answered with {error.code} {error.reason}", hint="is the address right?"
        ) from error
    except (OSError, ValueError) as error:
        why = reason(getattr(error, "reason", error))
        raise HostError(f"{remote.url} cannot be fetched: {why}", hint="is the server there?") from error
    digest = f"sha256:{hasher.hexdigest()}"
    if remote.checksum and remote.checksum != digest:
        algorithm, _, wanted = remote.checksum.partition(":")
        if algorithm not in hashlib.algorithms_available or _hash(path, algorithm) != wanted:
            raise IntegrityError(
                f"{remote.url} has the digest {digest}, and --checksum says {remote.checksum}",
                hint="it is another file than was meant: do not use it, or correct --checksum",
            )
    path.chmod(0o600)
    try:
        time = parsedate_to_datetime(modified).timestamp() if modified else 0.0
    except ValueError:
        time = 0.0
    os.utime(path, (time, time))
    return Fetched(path, remote.name, Digest.of(f"{digest}\0{remote.name}\0{time}".encode()))


def commit_of(remote: Remote) -> str:
    """The commit that a repository's ref is now.

    Raises:
        NotFound: the repository has none of that name.
        IntegrityError: it is not the commit of the checksum.

    """
    commit = _named(remote)
    if remote.checksum and not commit.startswith(remote.checksum):
        raise IntegrityError(
            f"{remote.ref or 'HEAD'} of {remote.url} is {commit}, and the checksum is {remote.checksum}",
            hint="the branch or tag has moved: name the commit that is meant",
        )
    return commit


def _named(remote: Remote) -> str:
    if _COMMIT.fullmatch(remote.ref):
        return remote.ref
    wanted = remote.ref or "HEAD"
    lines = _git("ls-remote", "--", remote.url, *_spellings(wanted)).splitlines()
    found = {name: commit for commit, _, name in (line.partition("\t") for line in lines)}
    for name in _spellings(wanted):
        if name in found:
            return found[name]
    if re.fullmatch(r"[0-9a-f]{7,63}", wanted):
        return wanted
    raise NotFound(f"the repository {remote.url} has no {wanted!r}", hint="name a branch, a tag or a whole commit")


def repository(remote: Remote, commit: str, folder: Path) -> Fetched:
    """Fetch a repository at a commit: its files (a folder of it, where one is named), with .git only if that is kept.

    NotFound for no such repository, commit or folder.
    """
    place = folder / "repository"
    place.mkdir(mode=0o755)
    _git("-c", "init.defaultBranch=master", "init", "--quiet", str(place))
    inside = ("-C", str(place))
    _git(*inside, "remote", "add", "--", "origin", remote.url)
    wanted = commit if _COMMIT.fullmatch(commit) else "+refs/heads/*:refs/remotes/origin/*"
    try:
        _git(*inside, "fetch", "--quiet", "--depth=1", "--no-tags", "origin", wanted)
    except NotFound:
        # A server may refuse single commits: then all that it has is fetched.
        _git(*inside, "fetch", "--quiet", "--tags", "origin", "+refs/heads/*:refs/remotes/origin/*")
    _git(*inside, "checkout", "--quiet", "--detach", commit)
    if remote.submodules and (place / ".gitmodules").exists():
        _git(*inside, "submodule", "update", "--quiet", "--init", "--recursive", "--depth=1")
    found = place / remote.folder
    if not found.is_dir() or not found.resolve().is_relative_to(place.resolve()):
        raise NotFound(f"the repository {remote.url} has no folder {remote.folder!r} at {commit}")
    if remote.keep_git_dir:
        _name(inside, remote, commit)
        (place / ".git/FETCH_HEAD").unlink(missing_ok=True)
    else:
        shutil.rmtree(place / ".git")
        for name in _git_files(place):
            name.unlink()
    return Fetched(found, "", commit_digest(remote, commit))


def _name(inside: tuple[str, ...], remote: Remote, commit: str) -> None:
    """Give a kept .git the name by which its commit was asked for; as in BuildKit a branch is a tag too, for ``git describe``."""
    full, told = _full(remote, commit)
    if not full:
        return
    if full.startswith("refs/tags/") and told != commit:  # a tag with a message, an object of its own
        _git(*inside, "fetch", "--quiet", "--depth=1", "--no-tags", "origin", f"+{full}:{full}")
        return
    name = full.removeprefix("refs/heads/").removeprefix("refs/tags/")
    for kind in ("heads", "tags"):
        _git(*inside, "update-ref", f"refs/{kind}/{name}", commit)


def _full(remote: Remote, commit: str) -> tuple[str, str]:
    """The full name of the branch or tag of a commit, and the object that it names: the tag itself where it has a message.

    Both are empty where a commit was asked for.
    """
    if not remote.ref:
        first, _, _ = _git("ls-remote", "--symref", "--", remote.url, "HEAD").partition("\t")
        return first.partition("ref: ")[2], commit
    wanted = [name for name in _spellings(remote.ref) if not name.endswith("^{}")]
    lines = _git("ls-remote", "--", remote.url, *wanted).splitlines()
    found = {name: told for told, _, name in (line.partition("\t") for line in lines)}
    return next(((name, found[name]) for name in wanted if name in found), ("", ""))


def commit_digest(remote: Remote, commit: str) -> Digest:
    """What stands for a repository at a commit in a cache key."""
    return Digest.of(
        f"git\0{remote.url}\0{commit}\0{remote.folder}\0{remote.keep_git_dir and (remote.ref or 'HEAD')}\0{remote.submodules}".encode()
    )


def _git_files(place: Path) -> Iterator[Path]:
    """The files by which submodules name their repository."""
    return (path for path in place.rglob(".git") if path.is_file())


def _spellings(ref: str) -> tuple[str, ...]:
    if ref == "HEAD" or ref.startswith("refs/"):
        return (ref, f"{ref}^{{}}")
    # The commit that an annotated tag names, before the tag itself.
    return (f"refs/heads/{ref}", f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}")


def _hash(path: Path, algorithm: str) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()


def _git(*words: str) -> str:
    if shutil.which("git") is None:
        raise HostError("git is not installed here", hint="a repository is fetched by it: install git")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_NOSYSTEM": "1",
        "LC_ALL": "C.UTF-8",
    }
    process = subprocess.Popen(
        ["git", "-c", "protocol.ext.allow=never", "-c", "advice.detachedHead=false", *words],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        umask=0o022,
        start_new_session=True,
    )

    def end() -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with those that it has started for the network

    with process:
        try:
            with stopping.ended_by(end):
                out, errors = process.communicate()
            stopping.check()
        except BaseException:
            end()
            raise
    if process.returncode:
        said = errors.strip().splitlines() or [f"exit code {process.returncode}"]
        raise NotFound(
            f"git {words[-1] if words[0] == '-C' else words[0]} failed: {said[-1]}", hint="is the address right?"
        )
    return out

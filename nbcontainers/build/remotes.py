"""What ADD takes from elsewhere: files by http, and git repositories. Addresses are values; ``fetching`` moves the bytes."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

_SCHEMES = ("http", "https", "ssh", "git", "file")
_SCP = re.compile(r"[a-zA-Z0-9-_]+@[a-zA-Z0-9-.]+:.*", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """One address. A file has ``name``, what it is called in a folder; of a repository ``ref`` is a branch, tag or commit.

    ``checksum`` is a file's digest or a repository's commit, empty where not given.
    """

    kind: Literal["http", "git"]
    url: str
    name: str = ""
    checksum: str = ""
    ref: str = ""
    folder: str = ""
    keep_git_dir: bool = False
    submodules: bool = True


def is_git(address: str) -> bool:
    """Whether an address is that of a git repository: by its scheme, or (http) by a path that ends in ``.git``."""
    if _SCP.fullmatch(address) and "://" not in address:
        return True
    try:
        split = urlsplit(address)
    except ValueError:
        return False
    return split.scheme in ("ssh", "git") or (split.scheme in ("http", "https", "file") and split.path.endswith(".git"))


def is_remote(address: str) -> bool:
    """Whether a source of ADD is an address and no path."""
    return address.startswith(("http://", "https://")) or is_git(address)


def of_context(address: str) -> str:
    """The address that a context means: ``github.com/USER/REPOSITORY`` alone is a repository, as docker has it."""
    if not address.startswith("github.com/"):
        return address
    place, mark, fragment = address.partition("#")
    return f"https://{place.rstrip('/').removesuffix('.git')}.git{mark}{fragment}"


def parse(address: str, *, checksum: str = "", keep_git_dir: bool | None = None) -> Remote:
    """The address with what its fragment (``#REF:FOLDER``) and query say. ValueError where those contradict."""
    if not is_git(address):
        base = posixpath.basename(posixpath.normpath(unquote(urlsplit(address).path) or "/"))
        return Remote(
            kind="http", url=address, name=base if base not in ("", ".", "/") else "__unnamed__", checksum=checksum
        )
    query: Mapping[str, str] = {}
    if "://" in address:
        split = urlsplit(address)
        query, fragment = dict(parse_qsl(split.query, keep_blank_values=True)), split.fragment
        url = urlunsplit(split._replace(query="", fragment=""))
    else:
        url, _, fragment = address.partition("#")
    ref, _, folder = fragment.partition(":")
    for name, value in query.items():
        match name:
            case "ref" | "tag" | "branch":
                wanted = {"tag": "refs/tags/", "branch": "refs/heads/"}.get(name, "")
                named = wanted + value.removeprefix(wanted)
                if ref and ref != named:
                    raise ValueError(f"both {ref} and {named} are named in {address}")
                ref = named
            case "subdir":
                if folder and folder != value:
                    raise ValueError(f"both folders {folder} and {value} are named in {address}")
                folder = value
            case "checksum" | "commit":
                if checksum and checksum != value:
                    raise ValueError(f"both checksums {checksum} and {value} are given")
                checksum = value
            case "keep-git-dir":
                kept = value.lower() not in ("0", "f", "false")
                if keep_git_dir is not None and keep_git_dir != kept:
                    raise ValueError(f"--keep-git-dir and {address} contradict each other")
                keep_git_dir = kept
            case "submodules":
                if value.lower() in ("0", "f", "false"):
                    query = {**query, "submodules": "false"}
            case _:
                raise ValueError(f"{name!r} is no option of a repository's address")
    return Remote(
        kind="git",
        url=url,
        ref=ref or checksum,
        folder=folder.strip("/"),
        checksum=checksum,
        keep_git_dir=bool(keep_git_dir),
        submodules=query.get("submodules") != "false",
    )

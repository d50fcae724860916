"""The sources of COPY and ADD told apart: paths, and what ADD fetches."""

from __future__ import annotations

import re
from collections.abc import Sequence

from . import instructions as ins
from . import remotes
from .remotes import Remote
from .scope import Scope
from .source import wrong
from .wildcards import compiled, has_wildcards

_DIGEST = re.compile(r"[a-z0-9]+:[0-9a-f]{32,}")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")


def split(sources: Sequence[str], written: ins.Copy | ins.Add, scope: Scope) -> tuple[list[str], list[Remote]]:
    """The paths and the addresses among some sources, each in its order. DockerfileError for an address that COPY has, or a bad pattern."""
    place = written.range
    addresses = [source for source in sources if remotes.is_remote(source)]
    if addresses and isinstance(written, ins.Copy):
        raise wrong(f"COPY has the address {addresses[0]}", place, hint="ADD fetches addresses; COPY takes files")
    flag = written.flag("checksum")
    checksum = scope.word(flag.value, flag.range) if flag else ""
    if checksum:
        if len(sources) != 1 or not addresses:
            raise wrong("ADD has --checksum", place, hint="it is for one address, and for nothing else beside it")
        wanted, example = (_COMMIT, "a commit") if remotes.is_git(addresses[0]) else (_DIGEST, "sha256:2c26b4…")
        if not wanted.fullmatch(checksum):
            raise wrong(f"ADD has --checksum={checksum}", place, hint=f"it reads {example}")
    kept = written.flag("keep-git-dir")
    try:
        found = [
            remotes.parse(address, checksum=checksum, keep_git_dir=kept.value == "true" if kept else None)
            for address in addresses
        ]
    except ValueError as error:
        raise wrong(
            f"ADD has an address that cannot be read: {error}", place, hint="see 'Git contexts' in Docker's manual"
        ) from error
    paths = [source for source in sources if not remotes.is_remote(source)]
    for path in filter(has_wildcards, paths):
        _check_pattern(path, written)
    return paths, found


def _check_pattern(text: str, written: ins.Copy | ins.Add) -> None:
    try:
        compiled(text)
    except ValueError as error:
        keyword = "ADD" if isinstance(written, ins.Add) else "COPY"
        hint = "before a sign, a backslash takes it as it is"
        if text.startswith("["):
            hint = 'a JSON array has double quotes and commas, as in ["a", "b"]'
        raise wrong(f"{keyword} has a pattern that cannot be read: {error}", written.range, hint=hint) from error

"""Who the container's process is: a user word looked up in the files of its own root.

Source: Dockerfile reference, USER; the rules are those of moby/sys/user's GetExecUser.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_LARGEST_ID = 0xFFFFFFFE  # (uid_t)-1 means "leave as it is" to the kernel


class UnknownUser(Exception):
    """The word names nobody; its text says whom it sought where."""


def look_up(word: str, passwd: bytes, group: bytes) -> tuple[int, int, list[int], str]:
    """Return (uid, gid, supplementary groups, home) for ``name|uid[:group|gid]``; an empty word is root.

    A number is an id, though somebody be called so, and needs no entry in passwd (its group is then 0 and its home ``/``). A group
    that is named replaces the supplementary groups, of which the group itself is always the first (CVE-2022-36109: what is denied
    to a group would else be open to its members after a change of group). UnknownUser where a name has no entry.
    """
    name, _, group_name = word.partition(":")
    name = name or "0"
    wanted = _number(name)
    found = next(
        (row for row in _rows(passwd, 7) if (row[0] == name if wanted is None else int(row[2]) == wanted)), None
    )
    if found is not None:
        uid, gid, login, home = int(found[2]), int(found[3]), found[0], found[5] or "/"
    elif wanted is not None:
        uid, gid, login, home = wanted, 0, "", "/"
    else:
        raise UnknownUser(f"unable to find user {name}: no matching entries in passwd file")
    if group_name:
        gid = _group(group_name, group)
        return uid, gid, [gid], home
    groups = [int(row[2]) for row in _rows(group, 4) if login and login in row[3].split(",")]
    return uid, gid, [gid, *(number for number in groups if number != gid)], home


def with_groups(groups: list[int], words: Sequence[str], group: bytes) -> list[int]:
    """The groups with further ones, by name or number: UnknownUser where a name has no entry."""
    return [*groups, *(number for number in (_group(word, group) for word in words) if number not in groups)]


def _group(name: str, group: bytes) -> int:
    wanted = _number(name)
    if wanted is not None:
        return wanted
    for row in _rows(group, 3):
        if row[0] == name:
            return int(row[2])
    raise UnknownUser(f"unable to find group {name}: no matching entries in group file")


def _rows(data: bytes, fields: int) -> Iterator[list[str]]:
    """The well-formed lines: enough fields, and numbers where ids stand (a line that is none is no reason to fail)."""
    for line in data.decode("utf-8", "surrogateescape").splitlines():
        row = line.split(":")
        if len(row) >= fields and _number(row[2]) is not None and (fields < 7 or _number(row[3]) is not None):
            yield row


def _number(text: str) -> int | None:
    """An id; a sign may stand before it, as it may for Go's ``Atoi``."""
    digits = text[1:] if text[:1] in ("-", "+") else text
    if not (digits.isascii() and digits.isdigit()):
        return None
    return int(text) if 0 <= int(text) <= _LARGEST_ID else None

"""Who a USER word means."""

from __future__ import annotations

import pytest

from nbcontainers.runtime import user

PASSWD = (
    b"root:x:0:0:root:/root:/bin/sh\nbroken\nann:x:1000:100:Ann:/home/ann:/bin/sh\nbad:x:no:no:::\n7:x:77:78::/seven:\n"
)
GROUP = b"root:x:0:ann\nusers:x:100:ann,bob\naudio:x:29:ann\nbroken:x\n"


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("", (0, 0, [0], "/root")),
        ("0", (0, 0, [0], "/root")),
        ("ann", (1000, 100, [100, 0, 29], "/home/ann")),
        ("1000", (1000, 100, [100, 0, 29], "/home/ann")),
        ("ann:users", (1000, 100, [100], "/home/ann")),
        ("ann:29", (1000, 29, [29], "/home/ann")),
        ("ann:4711", (1000, 4711, [4711], "/home/ann")),
        ("4711", (4711, 0, [0], "/")),
        ("4711:audio", (4711, 29, [29], "/")),
        ("7", (7, 0, [0], "/")),
        (":audio", (0, 29, [29], "/root")),
        ("+1000:-0", (1000, 0, [0], "/home/ann")),
    ],
)
def test_a_word_names_a_user(word: str, expected: tuple[int, int, list[int], str]) -> None:
    """Names and numbers, with and without a group, are looked up as Docker looks them up; broken lines are no matter."""
    assert user.look_up(word, PASSWD, GROUP) == expected


@pytest.mark.parametrize("word", ["bob", "ann:nobody", "-1", "99999999999", "bad"])
def test_a_name_that_is_not_there_is_nobody(word: str) -> None:
    """A name without an entry, or a number that is no id, is UnknownUser."""
    with pytest.raises(user.UnknownUser, match="unable to find"):
        user.look_up(word, PASSWD, GROUP)


def test_an_image_without_passwd_has_numbers() -> None:
    """``FROM scratch`` has no files, and numbers need none."""
    assert user.look_up("12:34", b"", b"") == (12, 34, [34], "/")
    assert user.look_up("", b"", b"") == (0, 0, [0], "/")

"""Capabilities: the table, Docker's words for changing a set, and what this process may give."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nbcontainers.errors import NBContainersError
from nbcontainers.linux import capabilities


def test_dockers_fourteen_have_dockers_mask() -> None:
    """A container that asks for nothing shows 00000000a80425fb in /proc/self/status."""
    assert capabilities.mask(capabilities.DOCKER) == 0xA80425FB
    assert len(capabilities.DOCKER) == 14


def test_mask_and_names_are_inverse() -> None:
    """Every name has its number, and a bit that no name is known for is left out."""
    assert capabilities.names(capabilities.mask(capabilities.ALL)) == capabilities.ALL
    assert capabilities.mask(["CAP_CHECKPOINT_RESTORE"]) == 1 << 40
    assert capabilities.names(1 << 21 | 1 << 63) == {"CAP_SYS_ADMIN"}


def test_the_table_is_the_kernels() -> None:
    """The names and numbers are those of linux/capability.h."""
    header = Path("/usr/include/linux/capability.h")
    if not header.exists():
        pytest.skip("needs /usr/include/linux/capability.h (Debian: linux-libc-dev)")
    found = re.findall(r"^#define (CAP_\w+)\s+(\d+)\s*$", header.read_text(), re.MULTILINE)
    assert {int(number): name for name, number in found}.items() <= capabilities.NAMES.items()
    assert len(found) >= 41


def test_the_bounding_set_is_what_the_kernel_says() -> None:
    """It agrees with CapBnd of /proc/self/status."""
    status = Path("/proc/self/status").read_text()
    shown = int(re.search(r"^CapBnd:\s*(\w+)$", status, re.MULTILINE)[1], 16)
    assert capabilities.bounding() == capabilities.names(shown)


@pytest.mark.parametrize(
    ("base", "add", "drop", "expected"),
    [
        ({"CAP_KILL"}, [], [], {"CAP_KILL"}),
        ({"CAP_KILL"}, ["net_admin", "CAP_SYS_TIME"], [], {"CAP_KILL", "CAP_NET_ADMIN", "CAP_SYS_TIME"}),
        ({"CAP_KILL", "CAP_CHOWN"}, [], ["Cap_Chown"], {"CAP_KILL"}),
        ({"CAP_KILL"}, ["CHOWN"], ["ALL"], {"CAP_CHOWN"}),
        ({"CAP_KILL"}, [], ["all"], set()),
        ({"CAP_KILL"}, ["ALL"], ["SYS_ADMIN"], capabilities.ALL - {"CAP_SYS_ADMIN"}),
        ({"CAP_KILL"}, ["ALL"], ["ALL"], capabilities.ALL),
        ({"CAP_KILL"}, ["KILL"], ["KILL"], {"CAP_KILL"}),
        (["kill"], [], [], {"CAP_KILL"}),
    ],
)
def test_cap_add_and_cap_drop_mean_what_they_mean_to_docker(base, add, drop, expected) -> None:
    """ALL, names with and without CAP_, in any case; what is added wins over what is dropped."""
    assert capabilities.adjust(base, add, drop) == expected


@pytest.mark.parametrize("words", [(["NET_ADMN"], []), ([], ["NET_ADMN"])])
def test_an_unknown_name_is_refused_with_the_nearest(words) -> None:
    """A typing error never means "none"."""
    with pytest.raises(NBContainersError, match="'NET_ADMN'") as caught:
        capabilities.adjust(capabilities.DOCKER, *words)
    assert "CAP_NET_ADMIN" in caught.value.hint


def test_a_name_that_is_near_to_nothing_is_refused_too() -> None:
    """The hint then says where the names are."""
    with pytest.raises(NBContainersError) as caught:
        capabilities.parse("")
    assert caught.value.hint

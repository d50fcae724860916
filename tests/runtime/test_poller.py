"""What a shim and a holder wait with."""

from __future__ import annotations

import os
import select

from nbcontainers.runtime.poller import Poller


def test_what_happened_to_a_file_is_not_told_of_the_next_with_its_number() -> None:
    """A handler closes another's file and opens one that gets its number: the old one's event is nobody's any more."""
    poller = Poller()
    first, second = os.pipe(), os.pipe()
    heard = []
    for _, write_end in (first, second):
        os.write(write_end, b"x")

    def replace(events: int) -> None:
        os.read(first[0], 1)
        poller.forget(second[0])
        fresh = os.pipe()
        os.dup2(fresh[0], second[0])
        poller.watch(second[0], select.POLLIN, lambda events: heard.append("fresh"))

    poller.watch(first[0], select.POLLIN, replace)
    poller.watch(second[0], select.POLLIN, lambda events: heard.append("old"))
    poller.turn()
    assert heard == []


def test_a_handler_that_is_replaced_still_hears_of_its_file() -> None:
    """Whoever is busy with one file does not keep another from being heard by watching it anew at each turn."""
    poller = Poller()
    first, second = os.pipe(), os.pipe()
    heard = []
    for _, write_end in (first, second):
        os.write(write_end, b"x")
    poller.watch(
        first[0],
        select.POLLIN,
        lambda events: poller.watch(second[0], select.POLLIN, lambda events: heard.append("new")),
    )
    poller.watch(second[0], select.POLLIN, lambda events: heard.append("old"))
    poller.turn()
    assert heard == ["new"]

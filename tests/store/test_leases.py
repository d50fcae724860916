from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from nbcontainers.store.leases import Leases
from nbcontainers.store.store import Store
from tests.waiting import PATIENCE_S


def names(store: Store) -> frozenset[str]:
    with store.leases.exclusive():
        return store.leases.names()


def test_a_lease_names_what_it_protects_while_it_is_held(store: Store) -> None:
    """All processes see what living leases name; at its end a lease is gone."""
    with store.lease() as first, store.lease() as second:
        first.add("sha256:a", "key")
        first.add("key")
        second.add("sha256:b")
        assert names(store) == {"sha256:a", "sha256:b", "key"}
        assert len(os.listdir(store.root / "leases")) == 2
    assert names(store) == frozenset()
    assert os.listdir(store.root / "leases") == []


def test_a_lease_that_ended_takes_no_more_names(store: Store) -> None:
    """A thread that is late cannot write into a file that is no lease any more."""
    with store.lease() as lease:
        pass
    lease.add("late")
    assert names(store) == frozenset()


def test_every_lease_of_this_process_gets_what_it_writes(store: Store) -> None:
    """Blobs written by any thread are named by all leases held here; without a lease by none."""
    store.content.write(b"before", "text/plain")
    with store.lease(), store.lease():
        thread = threading.Thread(target=store.content.write, args=(b"during", "text/plain"))
        thread.start()
        thread.join()
        assert len(names(store)) == 1
        for path in (store.root / "leases").iterdir():
            assert path.read_text().startswith("sha256:")


def test_a_lease_ends_with_its_holder(store: Store) -> None:
    """A lease whose process was killed protects nothing and is removed by whoever looks; a child holds none by inheritance."""
    code = """
import pathlib, subprocess, sys
from nbcontainers.store.leases import Leases
with Leases(pathlib.Path(sys.argv[1])).hold() as lease:
    lease.add("mine")
    subprocess.Popen(["sleep", "5"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    print("held", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(store.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"held\n"
        assert names(store) == {"mine"}
        process.kill()
        process.wait()
    assert names(store) == frozenset()
    assert os.listdir(store.root / "leases") == []


def test_the_gate_is_for_many_or_for_one(store: Store) -> None:
    """Those who name things pass together; the collector waits until they are through, and they for it."""
    entered = threading.Event()

    def collect() -> None:
        with store.leases.exclusive():
            entered.set()

    thread = threading.Thread(target=collect)
    with store.leases.shared():
        thread.start()
        with store.leases.shared():
            assert not entered.wait(0.1)
    thread.join(PATIENCE_S)
    assert entered.is_set()
    blocked = threading.Thread(target=lambda: Leases(store.root).shared().__enter__())
    with store.leases.exclusive():
        blocked.start()
        blocked.join(0.1)
        assert blocked.is_alive()
    blocked.join(PATIENCE_S)
    assert not blocked.is_alive()


def test_a_lease_is_given_back_after_an_interrupt(store: Store) -> None:
    """However the work under a lease ends, the lease does."""
    with pytest.raises(KeyboardInterrupt), store.lease():
        raise KeyboardInterrupt
    assert os.listdir(store.root / "leases") == []

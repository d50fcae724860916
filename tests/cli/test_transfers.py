"""Images on their way: what is known of them, and what a terminal and a pipe show."""

from __future__ import annotations

import io

import pytest

from nbcontainers.cli.console import Console
from nbcontainers.cli.transfers import Board, TransferProgress, ending, title
from nbcontainers.events import Event, Output, Phase, Transfer, TransferFinished, TransferStarted, Warned
from nbcontainers.oci.descriptor import Digest

A, B = Digest.of(b"a"), Digest.of(b"b")
NAME = "registry.example/team/app:1"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def moved(layer: Digest, phase: Phase, done: int = 0, detail: str = "") -> Transfer:
    return Transfer(layer=layer, phase=phase, done=done, total=1000, detail=detail)


def pulled() -> list[Event]:
    return [
        TransferStarted(name=NAME, direction="pull"),
        moved(A, "exists"),
        moved(B, "waiting"),
        moved(B, "downloading", 100),
        moved(B, "downloading", 900),
        moved(B, "retrying", detail="2"),
        moved(B, "downloaded", 1000),
        moved(B, "extracting", 10),
        moved(B, "pulled", 1000),
        TransferFinished(name=NAME, direction="pull", digest=A, size=7),
    ]


def shown(events: list[Event], out: io.StringIO, **options: bool) -> str:
    progress = TransferProgress(Console(out, io.StringIO()), **options)
    for event in events:
        progress(event)
    return out.getvalue()


def test_a_pipe_gets_docker_s_lines() -> None:
    """One for each change, and none for each piece."""
    a, b = A.short, B.short
    assert shown(pulled(), io.StringIO()).splitlines() == [
        "1: Pulling from team/app",
        f"{a}: Already exists",
        f"{b}: Pulling fs layer",
        f"{b}: Retrying in 2 seconds",
        f"{b}: Download complete",
        f"{b}: Pull complete",
        f"Digest: {A}",
        f"Status: Downloaded newer image for {NAME}",
    ]


def test_a_terminal_gets_bars_that_end_in_the_same_words() -> None:
    """What was drawn is drawn over; the last picture stays."""
    text = shown(pulled(), Terminal())
    assert "[===" in text
    assert "\033[2A" in text
    last = text.rpartition("\033[2A")[2]
    assert f"{A.short}: Already exists" in last
    assert f"{B.short}: Pull complete" in last
    assert "900" not in last


def test_a_push_has_its_own_words() -> None:
    """As docker push has them."""
    events: list[Event] = [
        TransferStarted(name=NAME, direction="push"),
        moved(A, "waiting"),
        moved(B, "waiting"),
        moved(A, "exists"),
        moved(B, "mounted", detail="team/base"),
        TransferFinished(name=NAME, direction="push", digest=A, size=7),
    ]
    assert shown(events, io.StringIO()).splitlines() == [
        "The push refers to repository [registry.example/team/app]",
        f"{A.short}: Preparing",
        f"{B.short}: Preparing",
        f"{A.short}: Layer already exists",
        f"{B.short}: Mounted from team/base",
        f"1: digest: {A} size: 7",
    ]


def test_who_wants_quiet_gets_warnings_only() -> None:
    """They are on standard error."""
    err = io.StringIO()
    progress = TransferProgress(Console(io.StringIO(), err), quiet=True)
    for event in (*pulled(), Warned(message="only half of it", hint="try again")):
        progress(event)
    assert err.getvalue() == "warning: only half of it (try again)\n"


def test_an_image_that_is_missing_is_announced_on_standard_error() -> None:
    """As docker run does, whose standard output is the container's."""
    out, err = io.StringIO(), io.StringIO()
    progress = TransferProgress(Console(out, err), errors=True, missing=True)
    for event in (*pulled(), Output(data=b"done\n")):
        progress(event)
    assert out.getvalue() == ""
    assert err.getvalue().startswith(f"Unable to find image '{NAME}' locally\n1: Pulling from team/app\n")
    assert err.getvalue().endswith("done\n")


def test_rate_and_time_left_come_from_what_has_come() -> None:
    """Over the last seconds, whole layers that wait counted in."""
    board = Board()
    board.take(TransferStarted(name=NAME, direction="pull"))
    board.take(moved(A, "waiting"), now=0.0)
    board.take(moved(B, "waiting"), now=0.0)
    board.take(moved(A, "downloading", 0), now=0.0)
    assert board.pace(now=0.0) == ""
    board.take(moved(A, "downloading", 500), now=1.0)
    assert board.rate(now=1.0) == pytest.approx(500)
    assert board.left(now=1.0) == pytest.approx(3.0)
    assert board.pace(now=1.0) == "500B/s, 3s left"
    board.take(moved(A, "downloaded", 1000), now=2.0)
    board.take(moved(B, "downloaded", 1000), now=3.0)
    assert board.left(now=3.0) is None
    assert board.rate(now=60.0) == 0


@pytest.mark.parametrize(
    ("name", "pushing", "line"),
    [
        ("alpine:3", False, "3: Pulling from library/alpine"),
        (f"alpine@{A}", False, f"{A}: Pulling from library/alpine"),
        ("localhost:5000/x:1", False, "1: Pulling from x"),
        ("me/x:1", True, "The push refers to repository [docker.io/me/x]"),
    ],
)
def test_titles_are_docker_s(name: str, pushing: bool, line: str) -> None:
    """With and without a registry, by tag and by digest."""
    assert title(name, pushing=pushing) == line


def test_an_image_that_is_up_to_date_says_so() -> None:
    """Where nothing came."""
    event = TransferFinished(name=NAME, direction="pull", digest=A, size=7, fresh=False)
    assert ending(event)[1] == f"Status: Image is up to date for {NAME}"

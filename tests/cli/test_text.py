"""Results as text: golden tables, and names that cannot move the cursor."""

from __future__ import annotations

import dataclasses

import pytest

from nbcontainers.cli import difference, text
from nbcontainers.errors import BuildError, DockerfileError, NotFound
from nbcontainers.results import Check, ContainerState, HostReport
from tests.jupyter import samples

LAYERS = """\
demo:latest   3d554be01af0   linux/amd64
4 layers, 71MB of files, 26MB stored, 812kB wasted, efficiency 98.9%

LAYER     SIZE   STORED   WASTED         FILES   INSTRUCTION
    1   61.2MB   22.4MB    812kB        +2,914   toolbox: programs and librarie…
    2                                            ENV LANG=C.UTF-8 APP_HOME=/srv…
    3       0B     112B        -            +1   WORKDIR /srv/app
    4   18.2kB    6.8kB        -            +2   COPY requirements.txt main.py …
    5   9.81MB   3.53MB        -   +211 ~44 -3   RUN python3 -m compileall -q /…
    6                                            USER 1000
    7                                            CMD ["python3", "main.py"]

layer 1 shared with toolbox:latest, hello:latest

LAYER     SIZE   LARGEST FILES
    1   6.83MB   /usr/bin/python3.11
    1   4.73MB   /usr/lib/x86_64-linux-gnu/libcrypto.so.3
    1   1.93MB   /usr/lib/x86_64-linux-gnu/libc.so.6
    1   1.27MB   /usr/bin/bash
    1    412kB   …on3.11/lib-dynload/_decimal.cpython-311-x86_64-linux-gnu.so"""


def test_a_layer_stack_is_a_table_and_its_largest_files() -> None:
    """What ``nbcontainers layers`` prints on a terminal of 80 columns."""
    assert text.layer_stack(samples.stack(), width=80) == LAYERS


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_of_a_layer_stack_is_too_long(width: int) -> None:
    """Long instructions, long paths and long names of images are cut off, and say so."""
    shown = text.layer_stack(samples.large_stack(), width=width).splitlines()
    assert max(map(len, shown[2:])) <= width
    assert sum(line.endswith("…") for line in shown) > 20


def test_columns_that_say_nothing_are_left_out() -> None:
    """Of an image that wastes nothing none is shown."""
    assert "WASTED" not in text.layer_stack(samples.stack(samples.DEMO[3:]))


def test_layers_that_the_same_images_share_are_one_line() -> None:
    """The base's layers, mostly."""
    layers = [dataclasses.replace(one, shared_with=("a:1", "b:1")) for one in samples.large_stack(4).layers]
    layers[2] = dataclasses.replace(layers[2], shared_with=())
    shown = text.layer_stack(samples.stack(tuple(layers)))
    assert "layers 1 to 2 shared with a:1, b:1\nlayer 4 shared with a:1, b:1\n" in shown


def test_a_host_report_says_what_holds_and_what_does_not() -> None:
    """What ``nbcontainers doctor`` prints."""
    report = HostReport(
        tier="T2",
        summary="user namespace, one uid",
        checks=(Check(name="overlay", holds=True, detail="userxattr"), Check(name="memory cgroup", holds=False)),
        not_enforced=("the memory limit is watched, not enforced",),
        kernel="6.18",
        cgroups="hybrid",
        store="/tmp/store",
    )
    assert text.host_report(report) == (
        "tier T2: user namespace, one uid\nkernel 6.18, cgroups hybrid\nstore /tmp/store\n\n"
        "yes overlay        userxattr\nno  memory cgroup\n\nnot enforced here:\n- the memory limit is watched, not enforced"
    )


def test_a_reason_that_several_share_is_said_once() -> None:
    """Whoever runs containers without a cgroup reads of it with each limit; one of its own stays with what it is the reason of."""
    why = "no group can be made in /sys/fs/cgroup: it is read-only"
    assert text.not_enforced(
        (
            f"cpu is not limited ({why})",
            "devices (none) are ruled",
            f"memory (all) is watched ({why})",
            "sysfs (this host's)",
        )
    ) == [
        f"{why}, so\n  - cpu is not limited\n  - memory (all) is watched",
        "devices (none) are ruled",
        "sysfs (this host's)",
    ]
    nested = ("one (why (how))", "two (why (how))")
    assert text.not_enforced(nested) == list(nested)


def test_usage_is_a_line_a_container() -> None:
    """A limit stands beside what is used, and who counted at the end."""
    shown = text.usage([(samples.state(), samples.usage(3), 0.48), (samples.state("late", "created"), None, None)])
    assert shown.splitlines() == [
        "CONTAINER       STATUS    CPU         MEMORY          PROCESSES   SOURCE",
        "hungry_hopper   running   48% / 50%   31MiB / 64MiB   3 / 32      cgroup v1",
        "late            created",
    ]
    assert "watched, process tree" in text.usage([(samples.state(), samples.usage(3, source="process tree"), None)])
    assert text.usage([]) == "no container is running"


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (samples.state(), ""),
        (samples.state(status="exited", exit_code=0), "exit code 0"),
        (samples.state(status="exited", exit_code=3), "exit code 3"),
        (samples.state(status="exited", exit_code=137), "exit code 137: SIGKILL"),
        (samples.state(status="exited", exit_code=137, out_of_memory=True), "memory ran out"),
        (samples.state(status="exited", exit_code=200), "exit code 200"),
        (
            samples.state(status="exited", exit_code=137, error="ended with the engine that ran it"),
            "ended with the engine that ran it",
        ),
        (samples.state(status="exited", exit_code=137, stopped=True), "stopped (exit code 137: SIGKILL)"),
        (samples.state(status="exited", exit_code=0, stopped=True), "stopped (exit code 0)"),
        (samples.state(status="exited", exit_code=137, out_of_memory=True, stopped=True), "memory ran out"),
        (samples.state(status="dead"), "removed"),
    ],
)
def test_a_container_that_ended_says_why(state: ContainerState, words: str) -> None:
    """What the kernel did, who ended it, a signal, an exit code."""
    assert text.ended(state) == words
    if words:
        assert words in text.usage([(state, None, None)])


def test_a_failed_build_shows_the_lines_and_the_end_of_the_output() -> None:
    """Not a Python traceback: where it failed, what it printed last, what to do."""
    error = BuildError(
        "step 4 failed with exit code 1",
        step="RUN …",
        lines=(4, 5),
        exit_code=1,
        output=b"one\n\x1b[31mtwo\x1b[0m\x1b]0;owned\x07\n10%\r100%\n",
        hint="look",
    )
    assert text.failure(error, samples.DOCKERFILE) == (
        "BuildError: step 4 failed with exit code 1\n"
        "  2 | ENV LANG=C.UTF-8\n"
        "  3 | COPY main.py .\n"
        "> 4 | RUN python3 -m compileall . && \\\n"
        "> 5 |     false\n"
        '  6 | CMD ["true"]\n'
        "    one\n    two\n    100%\n"
        "hint: look"
    )


@pytest.mark.parametrize("lines", [(0, 0), (1, 1), (6, 9), (40, 50)])
def test_lines_outside_of_the_dockerfile_do_no_harm(lines: tuple[int, int]) -> None:
    """A place at the end of the file is a place too."""
    error = DockerfileError("unexpected end", lines=lines)
    assert "> " in text.failure(error, samples.DOCKERFILE)
    assert text.failure(error, "") == "DockerfileError: unexpected end"


def test_an_error_without_a_place_is_its_message_and_hint() -> None:
    """The same words as on the command line."""
    assert text.failure(NotFound("no such image: 'x'", hint="did you mean 'y'?")) == (
        "NotFound: no such image: 'x'\nhint: did you mean 'y'?"
    )


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain grün 漢字", "plain grün 漢字"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("bad\udcff", "bad\\xff"),
        ("\ud800", "\\ud800"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("\x9b31m", "\\x9b31m"),
    ],
)
def test_names_are_written_out(name: str, shown: str) -> None:
    """No name moves the cursor, colours the screen or reads backwards."""
    assert text.printable(name) == shown


@pytest.mark.parametrize("form", [text.layer_stack(samples.hostile_stack()), difference.text(samples.hostile_diff())])
def test_hostile_images_print_as_text(form: str) -> None:
    """Whatever is in an image, its tables hold no control but the line feed, and can be encoded."""
    assert "\x1b" not in form
    assert "\u202e" not in form
    form.encode()

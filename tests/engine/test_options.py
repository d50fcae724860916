"""What the words of docker run mean, and how those that mean nothing are refused."""

from __future__ import annotations

from typing import Any

import pytest

from nbcontainers.engine import kinds, options
from nbcontainers.errors import NBContainersError
from nbcontainers.oci.image import ContainerConfig


@pytest.mark.parametrize(
    ("text", "count"),
    [("64m", 64 << 20), ("1.5g", 3 << 29), ("512k", 512 << 10), ("10", 10), ("1GB", 1 << 30), ("0", 0), ("7b", 7)],
)
def test_sizes_are_powers_of_1024(text: str, count: int) -> None:
    """A size is a number and a unit."""
    assert options.size(text) == count


@pytest.mark.parametrize("text", ["", "m", "64x", "-1m", "nan", "inf", "1 000"])
def test_what_is_no_size_is_refused(text: str) -> None:
    """The error repeats what was got and shows what a size looks like."""
    with pytest.raises(NBContainersError, match="not a size") as caught:
        options.size(text)
    assert "64m" in caught.value.hint


@pytest.mark.parametrize(
    ("entrypoint", "cmd", "given", "words", "whole"),
    [
        (None, ("sh",), None, (), ("sh",)),
        (None, ("sh",), None, ("ls", "-l"), ("ls", "-l")),
        (("tini", "--"), ("sh",), None, (), ("tini", "--", "sh")),
        (("tini", "--"), ("sh",), None, ("ls",), ("tini", "--", "ls")),
        (("tini", "--"), ("sh",), "ls", ("-l",), ("ls", "-l")),
        (("tini", "--"), ("sh",), "ls", (), ("ls",)),
        (("tini", "--"), ("sh",), "", ("ls",), ("ls",)),
    ],
)
def test_entry_point_and_command_are_joined_as_docker_joins_them(
    entrypoint: tuple[str, ...] | None,
    cmd: tuple[str, ...],
    given: str | None,
    words: tuple[str, ...],
    whole: tuple[str, ...],
) -> None:
    """Words replace the command; another entry point drops the command; an empty one takes the entry point away."""
    assert options.command(ContainerConfig(entrypoint=entrypoint, cmd=cmd), words, given) == whole


def test_an_image_without_a_command_asks_for_one() -> None:
    """Nothing to run is an error that says what to write."""
    with pytest.raises(NBContainersError, match="no command") as caught:
        options.command(ContainerConfig(), (), None)
    assert "behind the image" in caught.value.hint


def test_variables_are_the_images_with_the_callers_over_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """``-e A`` takes this process's value; ``-e GONE`` that is not set takes the image's away."""
    monkeypatch.setenv("HERE", "yes")
    monkeypatch.delenv("GONE", raising=False)
    config = ContainerConfig(env=("PATH=/bin", "A=1", "GONE=1"))
    assert options.environment(config, ["A=2=3", "HERE", "GONE"]) == ("PATH=/bin", "A=2=3", "HERE=yes")


def test_an_unknown_option_is_answered_with_the_nearest() -> None:
    """``memroy=`` is not silently ignored."""
    with pytest.raises(NBContainersError, match="memroy") as caught:
        kinds.check({"memroy": 1})
    assert "'memory'" in caught.value.hint


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        ({"env": "A=1"}, "env: wanted a list of words or a mapping of names to texts, got 'A=1'", "write env=['A=1']"),
        ({"volumes": "/a:/b"}, "volumes: wanted a list of words, got '/a:/b'", "write volumes=['/a:/b']"),
        ({"publish": {"80": 80}}, "publish: wanted a list of words, got {'80': 80}", ""),
        ({"publish": [8080]}, "publish: 8080 is no text", "write '8080'"),
        ({"labels": {"a": 1}}, "labels: 1 is no text", "write '1'"),
        ({"cpus": "0.5"}, "cpus: wanted a number, got '0.5'", ""),
        ({"cpus": True}, "cpus: wanted a number, got True", ""),
        ({"memory": 6.5}, "memory: wanted a whole number or a text, got 6.5", ""),
        ({"user": 1000}, "user: wanted a text, got 1000", ""),
        ({"rm": "yes"}, "rm: wanted True or False, got 'yes'", ""),
        ({"hostname": "a\0"}, "hostname: the kernel takes no text with a NUL in it: 'a\\x00'", ""),
        ({"hostname": "a\udcff"}, "hostname: 'a\\udcff' is no text that can be written as UTF-8", "type it again"),
        ({"env": {"A": "\ud800"}}, "env: '\\ud800' is no text that can be written as UTF-8", "type it again"),
    ],
)
def test_what_is_of_another_kind_is_refused_with_what_was_wanted(
    words: dict[str, object], message: str, hint: str
) -> None:
    """Python's usual slips: one word in the place of a list, numbers for texts, texts for numbers; and no traceback from inside."""
    with pytest.raises(NBContainersError) as caught:
        kinds.check(words)
    assert caught.value.message == message
    assert caught.value.hint.startswith(hint)


@pytest.mark.parametrize("command", [("sleep", 5), (["sleep", "5"],), ("echo", "\0")])
def test_a_command_is_texts(command: tuple[object, ...]) -> None:
    """Numbers and lists are no words of a command."""
    with pytest.raises(NBContainersError, match="^command: "):
        kinds.check({}, command)


def test_what_fits_is_taken() -> None:
    """Lists, tuples, sets and mappings of texts, any bytes where a file's name may be meant, None for what is not given."""
    kinds.check(
        {
            "env": {"A": "\udcff"},
            "volumes": ("/a\udcff:/b",),
            "cap_add": {"SYS_TIME"},
            "network": "none",
            "hostname": "bücher",
            "cpus": 2,
            "memory": "64m",
            "name": None,
        },
        ("echo", "\udcff"),
    )
    kinds.check({"network": ["one", "two"], "timeout": 1.5, "stop_timeout": 1})


@pytest.mark.parametrize(
    ("words", "told"),
    [(True, "a list of words"), ("stdin", "write attached="), (["stdni"], "no such stream: 'stdni'")],
)
def test_only_docker_streams_can_be_attached_to(words: Any, told: str) -> None:
    """Standard input, output and error, in a list."""
    with pytest.raises(NBContainersError) as caught:
        kinds.streams(words)
    assert told in f"{caught.value} {caught.value.hint}"
    assert kinds.streams(["stderr", "stdin", "stdout"]) == ("stderr", "stdin", "stdout")

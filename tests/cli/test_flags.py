"""The words of the command line: read as docker reads them, refused with what was wanted."""

from __future__ import annotations

import pytest

from nbcontainers.cli import parser, verbs
from nbcontainers.cli.creating import run_options
from nbcontainers.cli.flags import Command, Operand
from nbcontainers.errors import NBContainersError


def test_flags_behind_the_image_belong_to_the_command() -> None:
    """``run --rm toolbox ls --all`` gives ``--all`` to ls."""
    verb, values = parser.parse(["run", "--rm", "-m", "64m", "toolbox", "ls", "--all", "-m", "1"])
    assert verb.name == "run"
    assert values.rm is True
    assert values.memory == "64m"
    assert values.command == ["ls", "--all", "-m", "1"]


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ("run image -- echo hi", "-- echo hi"),
        ("run --rm image --", "--"),
        ("run --rm -- image true", "true"),
        ("run -- image -- true", "-- true"),
        ("run -- image", ""),
        ("run image -- -- x", "-- -- x"),
        ("run image echo -- x", "echo -- x"),
        ("create --name x image -- echo", "-- echo"),
        ("exec -i c -- echo x", "-- echo x"),
        ("exec -i -- c echo x", "echo x"),
    ],
)
def test_two_dashes_end_the_flags_only_before_the_image(words: str, command: str) -> None:
    """Behind the image or the container they are the command's own, as in docker."""
    _, values = parser.parse(words.split())
    assert values.command == command.split()


def test_short_switches_can_be_joined() -> None:
    """``-di`` is ``-d -i``, and ``-eA=b`` is ``-e A=b``."""
    _, values = parser.parse(["run", "-di", "-eA=b", "toolbox"])
    assert (values.detach, values.interactive, values.env, values.command) == (True, True, ["A=b"], [])


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["rnu"], "unknown command 'rnu'", "did you mean 'run'?"),
        (["imagse"], "unknown command 'imagse'", "did you mean 'images'?"),
        (["run", "--privilegd", "x"], "--privilegd", "did you mean '--privileged'? Else see 'nbcontainers run --help'"),
        (["run", "--memroy=64m", "x"], "--memroy", "did you mean '--memory'?"),
        (["run", "--qqqq", "x"], "--qqqq", "see 'nbcontainers run --help'"),
        (["run"], "the following arguments are required: IMAGE", "run --help"),
        (["stop", "-t", "soon", "x"], "not a number: 'soon'", "2 or 0.5"),
    ],
)
def test_words_that_mean_nothing_are_refused(words: list[str], message: str, hint: str) -> None:
    """An unknown verb or flag, a missing operand, a value of the wrong kind: each says what is wrong and what to do."""
    with pytest.raises(NBContainersError) as caught:
        parser.parse(words)
    assert message in caught.value.message
    assert "COMMAND" not in caught.value.message, "which need not be there"
    assert hint in caught.value.hint


@pytest.mark.parametrize("verb", sorted(verbs.VERBS))
def test_every_verb_explains_itself(verb: str) -> None:
    """``VERB --help`` lists each of its flags."""
    with pytest.raises(parser.HelpAsked) as caught:
        parser.parse([*verb.split(), "--help"])
    for flag in verbs.VERBS[verb].flags:
        assert flag.names[-1] in caught.value.message


@pytest.mark.parametrize(
    ("verb", "usage"),
    [
        ("run", "run [FLAGS] IMAGE [COMMAND …]"),
        ("images", "images [FLAGS] [REPOSITORY]"),
        ("rmi", "rmi [FLAGS] IMAGE …"),
        ("stats", "stats [FLAGS] [CONTAINER …]"),
        ("network ls", "network ls [FLAGS]"),
    ],
)
def test_a_help_begins_with_one_line(verb: str, usage: str) -> None:
    """What stands where; which flags there are is listed below it, and not twice."""
    with pytest.raises(parser.HelpAsked) as caught:
        parser.parse([*verb.split(), "--help"])
    assert caught.value.message.splitlines()[0] == f"usage: nbcontainers {usage}"


def test_verbs_can_share_a_first_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """``thing make NAME`` is one verb of two words; ``thing`` alone lists its verbs, and a wrong second word is refused."""
    command = Command(
        name="thing make", act=lambda *_: 0, summary="make one", operands=(Operand(name="NAME", help="of it"),)
    )
    monkeypatch.setitem(verbs.VERBS, command.name, command)
    monkeypatch.setitem(verbs.GROUPS, "thing", "things")
    verb, values = parser.parse(["thing", "make", "one"])
    assert (verb.name, values.name) == ("thing make", "one")
    with pytest.raises(parser.HelpAsked, match="make  make one"):
        parser.parse(["thing"])
    with pytest.raises(NBContainersError) as caught:
        parser.parse(["thing", "mak"])
    assert (caught.value.message, caught.value.hint) == ("unknown command 'thing mak'", "did you mean 'make'?")
    assert "things" in parser.overview()


def test_flags_that_ask_for_what_is_so() -> None:
    """Some of docker's flags have one value that can be had: that one is taken, and what it says is nothing new."""
    words = ["--isolation", "default", "--runtime=nbcontainers", "--volume-driver", "local", "--disable-content-trust"]
    _, values = parser.parse(["run", *words, "image"])
    assert run_options(values) == run_options(parser.parse(["run", "image"])[1])
    for flag, value in (("--isolation", "hyperv"), ("--runtime", "runc"), ("--volume-driver", "nfs")):
        with pytest.raises(NBContainersError, match=f"{flag} cannot be had: ") as caught:
            parser.parse(["run", flag, value, "image"])
        assert caught.value.hint == f"leave out {flag} {value}"


def test_a_switch_may_be_given_its_value() -> None:
    """As docker's may: scripts write --rm=false; behind the image it is the command's own."""
    _, values = parser.parse(["run", "--rm=true", "-t=0", "--init=False", "image", "--rm=false", "-t=1"])
    assert (values.rm, values.tty, values.init, values.command) == (True, False, False, ["--rm=false", "-t=1"])
    assert parser.parse(["run", "--rm", "--rm=false", "image"])[1].rm is False
    assert parser.parse(["pull", "--disable-content-trust=false", "image"])[1].name == "image"
    with pytest.raises(NBContainersError, match="cannot be had"):
        parser.parse(["pull", "--disable-content-trust=true", "image"])
    with pytest.raises(NBContainersError, match="--rm: not true or false: 'perhaps'"):
        parser.parse(["run", "--rm=perhaps", "image"])


def test_a_switch_that_is_on_takes_no_word() -> None:
    """As docker's: what stands behind -p or -H is what the command is about; =false turns it off."""
    assert parser.parse(["commit", "-p", "box"])[1].pause is True
    assert parser.parse(["history", "-H", "image"])[1].human is True
    _, values = parser.parse(["run", "--sig-proxy", "image", "true"])
    assert (values.sig_proxy, values.image, values.command) == (True, "image", ["true"])
    assert parser.parse(["commit", "-p=false", "box"])[1].pause is False
    assert parser.parse(["commit", "box"])[1].pause is True


@pytest.mark.parametrize(
    ("words", "short"),
    [
        ("image ls", "images"),
        ("image rm x", "rmi"),
        ("image history x", "history"),
        ("container ls -a", "ps"),
        ("container rm x", "rm"),
        ("container run x", "run"),
        ("volume list", "volume ls"),
        ("network remove x", "network rm"),
    ],
)
def test_dockers_longer_words_are_answered_with_ours(words: str, short: str) -> None:
    """There is one way to say it, and who knows another is told it."""
    with pytest.raises(NBContainersError, match="unknown command") as caught:
        parser.parse(words.split())
    assert caught.value.hint == f"it is 'nbcontainers {short}' here"


def test_two_words_that_nobody_says_are_answered_with_the_nearest() -> None:
    """A group has verbs of its own."""
    with pytest.raises(NBContainersError) as caught:
        parser.parse(["image", "prnue"])
    assert caught.value.hint == "did you mean 'prune'?"

"""A magic's line: docker's flags, Python's variables where they stand as a whole word, and nothing expanded beyond that."""

from __future__ import annotations

import pytest

from nbcontainers.cli.flags import UsageError
from nbcontainers.cli.parser import HelpAsked
from nbcontainers.errors import NBContainersError
from nbcontainers.jupyter import words

VARIABLES = {"image": "demo:1", "folder": "/data", "n": 3, "other": "{image}"}


def test_flags_are_dockers_and_come_before_the_image() -> None:
    """What stands behind the image is the container's own."""
    values = words.read("run_container", "--rm -m 64m -e A=1 -e B=2 --as c toolbox sh -c 'echo $$; ls -m'", {})
    assert (values.rm, values.memory, values.env, getattr(values, "as")) == (True, "64m", ["A=1", "B=2"], "c")
    assert (values.image, values.command) == ("toolbox", ["sh", "-c", "echo $$; ls -m"])


def test_variables_are_looked_up_up_to_the_image() -> None:
    """A whole word in braces is a variable; the container's command is left alone, and so is another part of a word."""
    values = words.read(
        "run_container", "-v {folder} --name a{n} --pids-limit {n} {image} echo {image} ${x} {{.A}}", VARIABLES
    )
    assert (values.volume, values.name, values.pids_limit, values.image) == (["/data"], "a{n}", 3, "demo:1")
    assert values.command == ["echo", "{image}", "${x}", "{{.A}}"]


def test_a_value_behind_an_equals_sign_is_a_variable_too() -> None:
    """That of a name, of a flag, of a name behind a flag; what stands behind the image is the container's own."""
    line = "-e N={n} --env=M={n} --name={n} -v={folder} --label=a.b={folder} -eL={n} {image} env X={n}"
    values = words.read("run_container", line, VARIABLES)
    assert (values.env, values.name, values.volume, values.label) == (
        ["N=3", "M=3", "L=3"],
        "3",
        ["/data"],
        ["a.b=/data"],
    )
    assert values.command == ["env", "X={n}"]
    assert words.read("dockerfile", "--build-arg X={other}", VARIABLES).build_arg == ["X={image}"]
    assert words.read("containers", "--format=a={{.ID}}", {}).format == "a={{.ID}}"


def test_a_variable_is_looked_up_once() -> None:
    """What it holds is a word, not a further question."""
    assert words.read("layers", "{other}", VARIABLES).image == "{image}"


def test_templates_are_no_variables() -> None:
    """``{{.Names}}`` belongs to ``--format``."""
    assert words.read("containers", "-a --format '{{.Names}} {{.ID}}'", {}).format == "{{.Names}} {{.ID}}"


def test_the_cell_is_the_dockerfile() -> None:
    """So there is no flag for a file, and no context but the working directory."""
    values = words.read("dockerfile", "-t demo --build-arg A=1 --target base --no-cache --as built", {})
    assert (values.tag, values.build_arg, values.target, values.no_cache) == (["demo"], ["A=1"], "base", True)
    with pytest.raises(UsageError):
        words.read("dockerfile", "context", {})
    for line in ("-f Dockerfile", "-q", "--check", "--progress plain", "--explain"):
        with pytest.raises(NBContainersError, match=r"cannot be had: .+"):
            words.read("dockerfile", line, {})


@pytest.mark.parametrize(
    ("magic", "line", "message"),
    [
        ("run_container", "{nothing} sh", "no variable 'nothing'"),
        ("run_container", "-e A={nothing} toolbox", "no variable 'nothing'"),
        ("run_container", "toolbox sh -c 'echo", "cannot split the line"),
        ("layers", "--as 1x demo", "not a name for a variable"),
        ("layers", "", "IMAGE"),
        ("run_container", "--cpus many toolbox", "not a number"),
        ("run_container", "--colour red toolbox", "--colour"),
        ("image_diff", "a b c", "unrecognized"),
        ("layers", "{many}", "holds no word but tuple"),
    ],
)
def test_words_that_mean_nothing_are_refused(magic: str, line: str, message: str) -> None:
    """By name, with what to do about it."""
    with pytest.raises(NBContainersError, match=message) as caught:
        words.read(magic, line, {"many": ("a", "b")})
    assert caught.value.hint


@pytest.mark.parametrize(
    ("magic", "line", "helped"),
    [
        ("dockerfile", "--no-such-flag", "%nbc build --help"),
        ("sandbox", "--no-such-flag", "%nbc run --help"),
        ("run_container", "--no-such-flag toolbox", "%run_container --help"),
    ],
)
def test_an_error_points_to_a_help_that_ipython_shows(magic: str, line: str, helped: str) -> None:
    """It calls no cell magic that has no cell below it."""
    with pytest.raises(UsageError) as caught:
        words.read(magic, line, {})
    assert f"see '{helped}'" in caught.value.hint


def test_help_is_about_the_magic() -> None:
    """Its own name and its own flags."""
    with pytest.raises(HelpAsked, match="usage: %%dockerfile (?s:.*)--as NAME"):
        words.read("dockerfile", "--help", {})
    with pytest.raises(HelpAsked, match="usage: %run_container (?s:.*)IMAGE"):
        words.read("run_container", "--help", {})

"""Docker's words about a container's life."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbcontainers.engine import policies
from nbcontainers.errors import NBContainersError
from nbcontainers.oci.image import ContainerConfig, Healthcheck


@pytest.mark.parametrize(
    ("word", "seconds"), [("30s", 30), ("1m30s", 90), ("500ms", 0.5), ("1h", 3600), ("1.5s", 1.5), (2, 2), ("0", 0)]
)
def test_durations_are_gos(word: str | float, seconds: float) -> None:
    """Numbers are seconds."""
    assert policies.seconds(word) == seconds


@pytest.mark.parametrize("word", ["", "30", "s", "1x", "-1s", "1s garbage"])
def test_what_is_no_duration_is_refused(word: str) -> None:
    """As Go does: a number alone could mean anything."""
    with pytest.raises(NBContainersError, match="not a duration"):
        policies.seconds(word)


def test_restart_words() -> None:
    """The four policies; only on-failure counts."""
    assert policies.restart("on-failure:3") == ("on-failure", 3)
    assert policies.restart("always") == ("always", 0)
    for word in ("sometimes", "always:2", "on-failure:x", "on-failure:"):
        with pytest.raises(NBContainersError):
            policies.restart(word)


def test_log_options() -> None:
    """A size and a count; two files of 64 MiB unless told otherwise."""
    assert policies.logging(()) == (64 << 20, 2)
    assert policies.logging(("max-size=10m", "max-file=3")) == (10 << 20, 3)
    assert policies.logging({"max-size": "-1"}) == (0, 2)
    for words in (("max-size=1k",), ("max-file=0",), ("compress=true",)):
        with pytest.raises(NBContainersError):
            policies.logging(words)


def test_what_a_log_tells_with_each_line() -> None:
    """Labels and variables by name or pattern, sorted; nothing unless asked for, and no pattern that is none."""
    labels, env = (("b", "2"), ("a.x", "1"), ("c", "")), (("PATH", "/bin"), ("X", "x"))
    assert policies.details({}, labels, env) == ()
    assert policies.details({"labels": "b,c,none", "env": "X"}, labels, env) == (("X", "x"), ("b", "2"), ("c", ""))
    assert policies.details({"labels-regex": r"^a\.", "env-regex": "T"}, labels, env) == (
        ("PATH", "/bin"),
        ("a.x", "1"),
    )
    words = ("labels=a,b", "max-size=10m", "env-regex=^X")
    assert policies.described(words) == {"labels": "a,b", "env-regex": "^X"}
    assert policies.logging(words) == (10 << 20, 2)
    with pytest.raises(NBContainersError, match="not a regular expression"):
        policies.described(("labels-regex=(",))


def test_the_images_check_and_what_is_said_otherwise() -> None:
    """The shell form goes through the image's shell; each setting can be changed alone, and the check taken away."""
    config = ContainerConfig(healthcheck=Healthcheck(test=("CMD-SHELL", "curl x"), interval=5_000_000_000, retries=7))
    check = policies.health(config, {"health_timeout": "2s"})
    assert check is not None
    assert (check.test, check.interval, check.timeout, check.retries) == (("/bin/sh", "-c", "curl x"), 5, 2, 7)
    assert policies.health(config, {"no_healthcheck": True}) is None
    assert policies.health(ContainerConfig(healthcheck=Healthcheck(test=("NONE",))), {}) is None
    given = policies.health(ContainerConfig(), {"health_cmd": "true", "health_retries": 2})
    assert given is not None
    assert (given.test, given.interval, given.retries) == (("/bin/sh", "-c", "true"), 30, 2)
    with pytest.raises(NBContainersError, match="no_healthcheck"):
        policies.health(config, {"no_healthcheck": True, "health_cmd": "true"})
    with pytest.raises(NBContainersError, match="1e-06"):
        policies.health(config, {"health_interval": "1us"})


def test_words_of_a_file(tmp_path: Path) -> None:
    """A line each, values as they stand; what is given prevails over the file."""
    file = tmp_path / "env"
    file.write_text("# comment\n\nA=1\n  B= x 'y' \nC\n")
    assert policies.lines([str(file)], "variable") == ["A=1", "B= x 'y' ", "C"]
    assert policies.merged([str(file)], {"A": "2"}, "variable")[-1] == "A=2"
    file.write_text("A B=1\n")
    with pytest.raises(NBContainersError, match="line 1"):
        policies.lines([str(file)], "variable")
    with pytest.raises(NBContainersError, match="cannot read"):
        policies.lines([str(tmp_path / "none")], "variable")

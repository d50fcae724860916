"""Plans: targets, arguments, warnings and what is left out of them."""

from __future__ import annotations

import pytest

from nbcontainers.build.plan import Plan, plan
from nbcontainers.build.steps import Copy, Run
from nbcontainers.errors import DockerfileError, NotFound
from nbcontainers.oci.descriptor import Platform
from nbcontainers.oci.image import Image


def nothing(name: str) -> Image:
    raise NotFound(f"no such image: {name}")


def planned(text: str, **options: object) -> Plan:
    return plan(text, resolve=nothing, platform=Platform(architecture="amd64"), **options)  # type: ignore[arg-type]


STAGES = """FROM scratch AS one
RUN one
FROM missing AS unused
RUN unused
FROM scratch AS two
COPY --from=one /a /b
RUN two
"""


def titles(made: Plan) -> list[str]:
    return [node.title for node in made.nodes]


def test_only_stages_that_the_target_needs_are_planned() -> None:
    """An image that only an unused stage begins with is not even looked for."""
    assert titles(planned(STAGES))[-1] == "RUN two"
    assert "RUN unused" not in titles(planned(STAGES))
    assert titles(planned(STAGES, target="ONE")) == ["FROM scratch AS one", "RUN one"]
    assert titles(planned(STAGES, target="0")) == ["FROM scratch AS one", "RUN one"]


def test_an_unknown_target_is_told_with_the_nearest() -> None:
    """It is no fault of the Dockerfile's."""
    with pytest.raises(NotFound, match="no stage 'tow' to build") as caught:
        planned(STAGES, target="tow")
    assert caught.value.hint == "did you mean two?"


def test_the_line_of_the_target_leads_to_its_source() -> None:
    """Each node goes on with the one before; what it copies from stands aside."""
    made = planned(STAGES)
    assert [made.nodes[index].title for index in made.line(made.target)] == [
        "FROM scratch AS two",
        "COPY --from=one /a /b",
        "RUN two",
    ]


def commands(made: Plan) -> list[Run]:
    return [node.step for node in made.nodes if isinstance(node.step, Run)]


def test_arguments_count_from_where_they_stand() -> None:
    """A command above an ARG is the same whatever is given; one below it is not."""
    text = "FROM scratch\nRUN above\nARG A=1\nRUN below\n"
    one, two = commands(planned(text)), commands(planned(text, arguments={"A": "2"}))
    assert one[0] == two[0]
    assert one[1].env[-1] == "A=1"
    assert two[1].env[-1] == "A=2"


def test_arguments_that_nobody_takes_are_told() -> None:
    """As a warning; those that are predefined are not."""
    made = planned(
        "FROM scratch\nARG A\n", arguments={"A": "1", "B": "2", "C": "3", "HTTPS_PROXY": "x", "no_proxy": "y"}
    )
    assert [warning.message for warning in made.warnings] == ["no ARG takes the build arguments B, C"]


def test_proxies_reach_commands_and_nothing_else() -> None:
    """In both spellings; neither history nor environment of the image has them."""
    made = planned("FROM scratch\nRUN x\n", arguments={"http_proxy": "http://p"})
    (command,) = commands(made)
    assert command.proxies == ("HTTP_PROXY=http://p", "http_proxy=http://p")
    assert "http://p" not in repr((command.env, made.config, made.nodes[-1].created_by))


def test_an_epoch_reaches_every_layer() -> None:
    """SOURCE_DATE_EPOCH is part of what a step makes."""
    made = planned("FROM scratch\nRUN x\nCOPY a b\nWORKDIR /c\n", epoch=7)
    assert [node.step.epoch for node in made.nodes if isinstance(node.step, Run | Copy)] == [7, 7, 7]


@pytest.mark.parametrize("platform", ["linux/amd64", "amd64", "linux", "LINUX/x86_64", "$TARGETPLATFORM"])
def test_this_hosts_platform_is_accepted(platform: str) -> None:
    """In every spelling that Docker knows."""
    assert planned(f"FROM --platform={platform} scratch\n")


@pytest.mark.parametrize("platform", ["linux/arm64", "arm64", "windows", "a/b/c/d"])
def test_another_platform_is_refused_with_the_reason(platform: str) -> None:
    """Nothing here can execute its programs; files can be put into its images."""
    with pytest.raises(DockerfileError, match=r"platform|a stage for") as caught:
        planned(f"FROM --platform={platform} scratch\nRUN x\n")
    assert caught.value.hint
    if platform.count("/") < 3:
        assert planned(f"FROM --platform={platform} scratch\nCOPY a /\n")


def test_stage_names_do_not_care_for_case() -> None:
    """Nor do references to them, but for FROM: there BuildKit takes a name with capitals for an image's."""
    assert len(planned("FROM scratch AS Base\nFROM base\nCOPY --from=bAsE a b\n").nodes) == 2
    with pytest.raises(DockerfileError, match="line 2: no such image: BASE"):
        planned("FROM scratch AS Base\nFROM BASE\n")


@pytest.mark.parametrize("word", ["foo", "/amd64", "linux//v7", "a/b/c/d", "linux/amd64,linux/arm64"])
def test_a_platform_is_a_known_one(word: str) -> None:
    """A single word is an operating system or an architecture."""
    with pytest.raises(DockerfileError, match=f"line 1: FROM has the platform '{word}'"):
        planned(f"FROM --platform={word} scratch\n")
    for known in ("linux", "amd64", "x86_64", "LINUX/AMD64"):
        assert len(planned(f"FROM --platform={known} scratch\n").nodes) == 1


def test_a_trigger_is_an_error_where_it_is_executed() -> None:
    """A wrong ONBUILD is told when its image is built, and stops the builds that begin with that image, at their FROM."""
    wrong = "FROM scratch AS base\nRUN a\nONBUILD COPY x\n"
    (told,) = planned(wrong).warnings
    assert (told.line, told.message.rpartition("error of ")[2]) == (
        3,
        "every build that begins with this image: COPY has only 'x'",
    )
    with pytest.raises(DockerfileError, match="line 4: ONBUILD COPY has only 'x'"):
        planned(f"{wrong}FROM base\nRUN b\n")

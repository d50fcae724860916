"""Build checks: each rule finds what it is for, where it is, and nothing in a clean Dockerfile."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from nbcontainers.build.ignore import Ignore
from nbcontainers.build.lint import RULES
from nbcontainers.build.plan import Plan, plan
from nbcontainers.errors import DockerfileError
from tests.build.test_corpus import image

CLEAN = """# syntax=docker/dockerfile:1
# a comment
ARG TAG=stable
FROM debian:${TAG} AS build
ARG VERSION=1
WORKDIR /src
ENV A=$VERSION PUBLIC_KEY=x TOKEN_FILE=/y
COPY . .
RUN make \\
    # inside
    all
FROM --platform=$BUILDPLATFORM debian AS final
LABEL a=b
EXPOSE 80/tcp 53/udp
HEALTHCHECK CMD true
ENTRYPOINT ["/entry"]
CMD ["x"]
"""
FOUND = {
    "StageNameCasing": ("FROM debian AS Build\n", 1),
    "FromAsCasing": ("FROM debian as build\n", 1),
    "NoEmptyContinuation": ("FROM debian\nRUN a \\\n\n  b\n", 3),
    "ConsistentInstructionCasing": ("FROM debian\nRUN a\nrun b\n", 3),
    "DuplicateStageName": ("FROM debian AS a\nFROM debian AS a\n", 2),
    "ReservedStageName": ("FROM debian AS scratch\n", 1),
    "JSONArgsRecommended": ("FROM debian\nCMD a b\n", 2),
    "MaintainerDeprecated": ("FROM debian\nMAINTAINER me\n", 2),
    "UndefinedArgInFrom": ("ARG TAG=stable\nFROM debian:${TGA}stable\n", 2),
    "UndefinedVar": ("FROM debian\nLABEL x=$IMAGES\n", 2),
    "MultipleInstructionsDisallowed": ('FROM debian\nCMD ["a"]\nCMD ["b"]\n', 2),
    "RedundantTargetPlatform": ("FROM --platform=$TARGETPLATFORM debian\n", 1),
    "SecretsUsedInArgOrEnv": ("FROM debian\nENV API_KEY=1\n", 2),
    "InvalidDefaultArgInFrom": ("ARG V\nFROM debian:${V}\n", 2),
    "WorkdirRelativePath": ("FROM debian\nWORKDIR a\nWORKDIR b\n", 2),
    "LegacyKeyValueFormat": ("FROM debian\nENV A b\n", 2),
    "FromPlatformFlagConstDisallowed": ("FROM --platform=linux/amd64 debian\n", 1),
    "ExposeProtoCasing": ("FROM debian\nEXPOSE 80/TCP\n", 2),
    "ExposeInvalidFormat": ("FROM debian\nEXPOSE 8080:80\n", 2),
    "InvalidBaseImagePlatform": ("FROM --platform=$OTHER debian\n", 2),
    "CopyIgnoredFile": ("# check=experimental=all\nFROM debian\nCOPY a/b /x\n", 3),
    "InvalidDefinitionDescription": ("# check=experimental=all\n\n# nonsense\nFROM debian AS base\n", 4),
}


def linted(text: str, arguments: Mapping[str, str] | None = None) -> Plan:
    return plan(text, resolve=image, arguments=arguments, ignore=Ignore.of(["a"]), everything=True)


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_finds_what_it_is_for(rule: str) -> None:
    """At its line, with words of its own, and it can be left out."""
    text, line = FOUND[rule]
    given = {"V": "stable"} if rule == "InvalidDefaultArgInFrom" else {}
    if rule == "InvalidBaseImagePlatform":
        text = f"ARG OTHER=linux/s390x\n{text}"
    found = [one for one in linted(text, given).findings if one.rule == rule]
    assert [one.range.line for one in found] == [line]
    assert found[0].hint
    assert found[0].message
    skipped = text.replace("# check=", f"# check=skip={rule};") if "# check" in text else f"# check=skip={rule}\n{text}"
    assert rule not in [one.rule for one in linted(skipped, given).findings]


def test_a_clean_dockerfile_has_no_findings() -> None:
    """Also with names that only look like secrets, and comments where they may be."""
    assert linted(CLEAN).findings == ()


def test_findings_can_be_errors() -> None:
    """With error=true a build stops before anything is executed; skip=all finds nothing."""
    text = "FROM debian\nMAINTAINER me\nCMD a\n"
    plan(text, resolve=image)
    with pytest.raises(DockerfileError, match=r"line \d+: \w+: .* \(and 1 more\)") as caught:
        plan(f"# check=error=true\n{text}", resolve=image)
    assert caught.value.hint
    plan(f"# check=skip=all;error=true\n{text}", resolve=image)
    given = {"BUILDKIT_DOCKERFILE_CHECK": "error=true"}
    with pytest.raises(DockerfileError):
        plan(text, resolve=image, arguments=given)
    for bad in ("what=1", "error=maybe"):
        with pytest.raises(DockerfileError, match="check directive"):
            plan(f"# check={bad}\n{text}", resolve=image)


def test_findings_are_warnings_of_a_build() -> None:
    """With the rule, the line and what to do."""
    (warning,) = plan("FROM debian\nCMD a\n", resolve=image).warnings
    assert (warning.rule, warning.line) == ("JSONArgsRecommended", 2)
    assert warning.hint


def test_names_are_suggested() -> None:
    """Where a variable is nearly one that is known."""
    found = [one.message for one in linted("FROM debian\nENV VERSION=1\nLABEL a=$VERSOIN\n").findings]
    assert found == ["the variable $VERSOIN has no value here (did you mean $VERSION?)"]
    found = [one.message for one in linted("ARG TAG=x\nFROM debian:${TGA}stable\n").findings]
    assert any("did you mean TAG?" in message for message in found)


def test_empty_lines_of_one_instruction_are_one_finding() -> None:
    """It stands at the first of them and names all."""
    (finding,) = linted("FROM scratch\nRUN a \\\n\n  b \\\n\n  c\n").findings
    assert (finding.rule, finding.range.line) == ("NoEmptyContinuation", 3)
    assert finding.message == "empty lines inside an instruction: 3, 5"


def rules(text: str) -> list[tuple[str, int]]:
    return [(finding.rule, finding.range.line) for finding in linted(text).findings]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("# check=skip=FromAsCasing, StageNameCasing\n", ["StageNameCasing"]),  # a space ends the value
        ("# check = skip=FromAsCasing // why\n", ["StageNameCasing"]),
        ("#!/usr/bin/env docker\n# check=skip=all\n", []),
        ("#!/x\n# escape=`\n# check=skip=all\n", []),
        ("# words\n# check=skip=all\n", ["FromAsCasing", "StageNameCasing"]),
        ("# other=1\n# check=skip=all\n", ["FromAsCasing", "StageNameCasing"]),
    ],
)
def test_the_directive_stands_at_the_top_and_ends_with_a_space(text: str, found: list[str]) -> None:
    """As in BuildKit: it may follow a line that names an interpreter, and nothing else but directives."""
    assert [rule for rule, _ in rules(text + "FROM debian as A\n")] == found


@pytest.mark.parametrize(
    ("comment", "instruction", "is_found"),
    [
        ("# base is it", "FROM debian AS base", False),
        ("# Base is it", "FROM debian AS base", True),
        ("# other words\n# base is it", "FROM debian AS base", False),
        ("# base is it\n# other words", "FROM debian AS base", True),
        ("# other words\n#", "FROM debian AS base", False),
        ("# other words", "FROM debian", False),
        ("# b is it", "ARG a=1 b=2", False),
        ("# c is it", "ARG a=1 b=2", True),
    ],
)
def test_the_last_line_of_a_comment_describes_what_is_below(comment: str, instruction: str, is_found: bool) -> None:
    """It begins with the name of the stage, or of one of the arguments."""
    text = f"# check=experimental=all\n\n{comment}\n{instruction}\nFROM debian\n"
    assert [rule for rule, _ in rules(text)] == ["InvalidDefinitionDescription"] * is_found


def test_a_platform_that_comes_to_the_targets_is_needless() -> None:
    """However the variable is written; another variable may come to it by chance."""
    for word in ("${TARGETPLATFORM}", '"$TARGETPLATFORM"', "${TARGETPLATFORM:-linux/amd64}"):
        assert rules(f"FROM --platform={word} debian\n") == [("RedundantTargetPlatform", 1)]
    for word in ("linux/$TARGETARCH", "${TARGETPLATFORM}$TARGETVARIANT", "$BUILDPLATFORM"):
        assert rules(f"FROM --platform={word} debian\n") == []


def test_a_default_leaves_a_variable_without_a_value() -> None:
    """It is told behind every operator, and only of EXPOSE nothing."""
    text = "FROM debian\nLABEL a=${A:-x} b=${B+x}\nEXPOSE ${C:-80}\nCOPY ${D:-x} /\nARG e=${e:-x}\n"
    assert rules(text) == [("UndefinedVar", 2), ("UndefinedVar", 2), ("UndefinedVar", 4), ("UndefinedVar", 5)]
    assert "did you mean" not in linted("FROM debian\nARG long_name=${long_name:-x}\n").findings[0].message
    assert rules("ARG A\nFROM ${A:-deb}${B:-ian}\n") == [("UndefinedArgInFrom", 2)]
    assert rules("FROM debian\nLABEL a=$@ b=$#\nLABEL c=$$\n") == [("UndefinedVar", 2), ("UndefinedVar", 2)]


def test_every_from_is_read() -> None:
    """Also that of a stage that nobody needs."""
    for line, told in (
        ("FROM $NOTHING AS y", "is empty"),
        ("FROM --platform=a/b/c/d debian AS y", "the platform"),
        ("FROM Debian:::1 AS y", "invalid"),
    ):
        with pytest.raises(DockerfileError, match=told) as caught:
            plan(f"FROM debian AS x\n{line}\nFROM x\n", resolve=image)
        assert caught.value.lines == (2, 2)
    with pytest.raises(DockerfileError, match="line 2: invalid tag ''"):  # not the one that the target begins with
        plan("ARG TAG\nFROM debian:$TAG AS x\nFROM debian AS y\nFROM debian:$TAG\n", resolve=image)
    with pytest.raises(DockerfileError, match=r"line 3: RUN --mount has a variable in from=\$A"):
        plan("FROM debian AS x\nFROM x AS y\nRUN --mount=from=$A,target=/t a\nFROM x\n", resolve=image)

"""The parser: places, and agreement with the official one on the corpus and on text that nobody would write."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbcontainers.build import gowords, grammar
from nbcontainers.build import instructions as ins
from nbcontainers.build.parser import parse
from nbcontainers.build.source import Range
from nbcontainers.errors import DockerfileError

CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.dockerfile"))
_WORDS = (
    *(
        "FROM",
        "RUN",
        "COPY",
        "ENV",
        "ARG",
        "LABEL",
        "CMD",
        "ONBUILD",
        "EXPOSE",
        "VOLUME",
        "HEALTHCHECK",
        "WORKDIR",
        "ADD",
    ),
    *("run", "b=c", "--f=x", "--", "<<E", "<<-F", "<<", '["a","b"]', '"x"', "$x", "${y:-z}"),
)
_SPACES = (
    " ",
    " ",
    "\t",
    "\n",
    "\n",
    "\r\n",
    "\\\n",
    "\\ \n",
    "`\n",
    "\nE\n",
    "\n\tF\n",
    "# c\n",
    "\x0c",
    "\ufeff",
    "# escape=`\n",
)
_BITS = [*_WORDS, *_SPACES, *"a='\"[],`1é##\\<->"]


def official(text: str) -> list[Any] | None:
    """What BuildKit's own parser gives; None where it refuses the text."""
    dockerfile = pytest.importorskip("dockerfile", reason="the official parser: pip install dockerfile")
    try:
        return [
            (
                (command.cmd or "").lower(),
                command.start_line,
                command.end_line,
                [flag.encode("latin-1", "replace").decode("utf-8", "replace") for flag in command.flags],
                [(document.name, document.content) for document in command.heredocs],
            )
            for command in dockerfile.parse_string(text)
        ]
    except dockerfile.GoParseError:
        return None


def ours(text: str) -> list[Any] | None:
    try:
        syntax = parse(text)
    except DockerfileError:
        return None
    return [
        (
            line.keyword.text.lower(),
            *line.range.lines,
            [flag.text for flag in line.flags],
            [(document.name, document.content) for document in line.heredocs],
        )
        for line in syntax.lines
    ]


def same(text: str) -> None:
    theirs, mine = official(text), ours(text)
    if theirs is None:  # it also refuses what our grammar refuses later
        if mine is not None:
            with pytest.raises(DockerfileError):
                grammar.read(parse(text))
        return
    if mine is None and any(not command[0] for command in theirs):
        return  # a continuation of nothing: it takes that for an instruction without a name
    assert mine is not None, text
    # The flags and documents of an ONBUILD are told as its trigger's there.
    assert [command if command[0] != "onbuild" else command[:3] for command in mine] == [
        command if command[0] != "onbuild" else command[:3] for command in theirs
    ]


@pytest.mark.peer("dockerfile")
@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_the_official_parser_agrees_on_the_corpus(path: Path) -> None:
    """The same instructions at the same lines with the same flags and documents."""
    text = path.read_bytes().decode()
    if "directive" not in path.stem:  # it knows no check directive, and looks for syntax elsewhere
        same(text)


@pytest.mark.peer("dockerfile")
@settings(max_examples=400, deadline=None, database=None)
@given(st.lists(st.sampled_from(_BITS), max_size=14).map("".join))
def test_the_official_parser_agrees_on_any_text(text: str) -> None:
    """Also where the text makes no sense. The official one on PyPI lets anything follow a JSON array, and no space stand before a
    heredoc's name; BuildKit has it otherwise by now.
    """
    if '"]' in text or "[]" in text or "[ ]" in text or re.search(r"<<-?(\s|\Z)", text):
        return
    same(f"RUN {text}")
    same(text)


@settings(max_examples=150, deadline=None, database=None)
@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    """There is no other error than DockerfileError, and it names lines of the text."""
    try:
        grammar.read(parse(text))
    except DockerfileError as error:
        first, last = error.lines
        assert 1 <= first <= last <= text.count("\n") + 1


def test_words_know_their_place_across_lines() -> None:
    """Lines and columns count from 1, also in a continuation."""
    (line,) = parse("  COPY --chown=x \\\n   # no\n  --link a \\\n\tb /c\n").lines
    assert line.range == Range(1, 3, 4, 6)
    assert line.place(line.keyword) == Range(1, 3, 1, 7)
    assert [line.place(flag) for flag in line.flags] == [Range(1, 8, 1, 17), Range(3, 3, 3, 9)]


def test_an_error_points_at_the_word() -> None:
    """A flag that is wrong is told with the line where it stands, and all lines of its instruction are marked, as in BuildKit."""
    with pytest.raises(DockerfileError) as caught:
        grammar.read(parse("FROM scratch\nCOPY a \\\n b\nCOPY \\\n  --chmwod=1 a b\n"))
    assert caught.value.lines == (4, 5)
    assert caught.value.message == "line 5: COPY has no flag --chmwod"
    assert caught.value.hint == "did you mean --chmod?"


@pytest.mark.parametrize("line", ["ENV a", "LABEL a=1 b", 'CMD ["a", 1]', "ONBUILD ENV a", 'HEALTHCHECK CMD ["a", 1]'])
def test_what_is_malformed_is_told_first(line: str) -> None:
    """As in BuildKit, which takes the whole text apart before it reads any instruction."""
    with pytest.raises(DockerfileError) as caught:
        grammar.read(parse(f"FROM scratch\nFOO x\nCOPY --foo a b\n{line}\n"))
    assert caught.value.lines == (4, 4)
    with pytest.raises(DockerfileError, match="unknown instruction 'FOO'"):
        grammar.read(parse("FROM scratch\nFOO x\nENV =a\n"))


def test_directives_are_told() -> None:
    """``syntax``, ``escape`` and ``check`` at the top; behind anything else they are comments."""
    syntax = parse("# Syntax = docker/dockerfile:1 \n#check=skip=all;error=true\n\n# escape=`\nFROM a\\\nFROM b")
    assert dict(syntax.directives) == {"syntax": "docker/dockerfile:1", "check": "skip=all;error=true"}
    assert syntax.escape == "\\"
    assert len(syntax.lines) == 1


def test_durations_are_gos() -> None:
    """As time.ParseDuration reads them."""
    assert gowords.nanoseconds("1h2m3.5s") == 3_723_500_000_000
    assert gowords.nanoseconds("1.5ms") == 1_500_000
    assert gowords.nanoseconds("0") == 0
    for wrong in ("", "5", "1x", "1h2", " 1s"):
        with pytest.raises(ValueError, match=wrong.strip() or "^$"):
            gowords.nanoseconds(wrong)


def test_an_onbuild_keeps_its_document() -> None:
    """The trigger's text holds all that a later build needs."""
    read = grammar.read(parse("FROM a\nonbuild  RUN <<E\nx\nE\n"))
    assert isinstance(read[1], ins.Onbuild)
    assert read[1].trigger == "RUN <<E\nx\nE"

"""Why a step was made anew: the sentence, from real builds, and what is kept for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbcontainers.build import earlier, reasons
from nbcontainers.results import BuildResult
from tests.build.conftest import Builder
from tests.build.test_solver import unique


def why(made: BuildResult) -> list[str]:
    """The reasons of the steps after the first FROM."""
    return [step.reason for step in made.steps[1:]]


TEXT = """FROM busybox
ARG VERSION=1.2
ENV A=1
RUN echo $VERSION {word}
COPY src /src
RUN cat /src/app.py
"""


def test_a_first_build_and_a_cached_one_have_no_reasons(builder: Builder) -> None:
    """There is nothing that changed."""
    builder.write({"src/app.py": "1", "src/other.py": "1"})
    text = TEXT.format(word=unique())
    assert why(builder.build(text)) == ["", "", ""]
    assert why(builder.build(text)) == ["", "", ""]


def test_the_argument_the_file_and_the_step_above_are_named(builder: Builder) -> None:
    """Each step says what changed of itself, else that the one above did."""
    builder.write({"src/app.py": "1", "src/other.py": "1"})
    text = TEXT.format(word=unique())
    builder.build(text)
    made = builder.build(text, arguments={"VERSION": "1.3"})
    assert why(made)[0] == "the build argument VERSION was 1.2, is 1.3"
    builder.write({"src/app.py": "2"})
    assert why(builder.build(text)) == ["", "src/app.py changed", earlier.ABOVE]
    (builder.context / "src/other.py").unlink()
    builder.write({"src/new.py": "1"})
    assert why(builder.build(text))[1:] == ["src/new.py is new, and 1 more", earlier.ABOVE]
    (builder.context / "src/new.py").chmod(0o755)
    assert why(builder.build(text))[1] == "the mode of src/new.py was 644, is 755"
    made = builder.build(text.replace("A=1", "A=2"))
    assert why(made)[0] == "the variable A was 1, is 2"


def test_an_instruction_that_is_other_new_or_moved(builder: Builder) -> None:
    """What it was is quoted; a step that was not there has none before it; the steps below follow."""
    word = unique()
    named = {"called": ("app:1",)}
    builder.build(f"FROM busybox\nRUN echo a{word}\nRUN echo b{word}\nUSER app\nRUN echo c{word}\n", **named)
    made = builder.build(f"FROM busybox\nRUN echo a{word}\nRUN echo B{word}\nUSER root\nRUN echo c{word}\n", **named)
    assert why(made) == ["", f"the instruction was 'RUN echo b{word}'", "the user was app, is root"]
    word, named = unique(), {"called": ("app:2",)}
    builder.build(f"FROM busybox\nRUN echo a{word}\nRUN echo b{word}\n", **named)
    made = builder.build(f"FROM busybox\nRUN echo a{word}\nRUN echo new{word}\nRUN echo b{word}\n", **named)
    assert why(made) == ["", "there was no such RUN before", earlier.ABOVE]


def test_another_base_and_another_stage_are_named(builder: Builder) -> None:
    """A FROM whose image is another one; files that come from a stage."""
    word = unique()
    named = {"called": ("based",)}
    text = "FROM {base} AS one\nRUN echo {word} > /w\nFROM busybox\nCOPY --from=one /w /w\nCOPY --chown=1 --from=one /w /v\n"
    from nbcontainers.oci.reference import Reference

    other = builder.build(f"FROM busybox\nLABEL a=b\nRUN echo {word} > /other\n")
    builder.store.images.tag(other.image, Reference.parse("busybox:other"))
    builder.build(text.format(base="busybox", word=word), **named)
    made = builder.build(text.format(base="busybox:other", word=word), **named)
    assert made.steps[1].reason == "the base image changed"
    made = builder.build(text.format(base="busybox", word=f"{word}2"), **named)
    assert [step.reason for step in made.steps[3:]] == ["what it copies from one changed"] * 2


def test_another_dockerfile_is_no_earlier_build(builder: Builder) -> None:
    """Unless it has the same name: then it is the same one, edited."""
    word = unique()
    builder.build(f"FROM busybox\nRUN echo a{word}\n", called=("mine",))
    assert why(builder.build(f"FROM busybox\nRUN echo x{word}\n", called=("other",))) == [""]
    assert why(builder.build(f"FROM busybox\nRUN echo y{word}\n", called=("mine",))) == [
        f"the instruction was 'RUN echo a{word}'"
    ]


def test_no_cache_and_lost_layers_are_reasons(builder: Builder) -> None:
    """For all stages, or for those that are named, in any case; another name is an error with a hint."""
    word = unique()
    text = f"FROM busybox AS first\nRUN echo {word} > /x\nFROM busybox AS second\nCOPY --from=first /x /x\nRUN cat /x\n"
    made = builder.build(text)
    assert [step.reason for step in builder.build(text, no_cache=True).steps if not step.cached] == [
        earlier.UNASKED
    ] * 3
    made = builder.build(text, no_cache_stages=["SECOND"])
    assert [(step.stage, step.reason) for step in made.steps if not step.cached] == [("second", earlier.UNASKED)] * 2
    with pytest.raises(Exception, match="no stage 'third'"):
        builder.build(text, no_cache_stages=["third"])
    builder.store.content.delete(made.image.layers[-1].digest)
    assert earlier.LOST in [step.reason for step in builder.build(text).steps]


def test_no_secret_is_kept(builder: Builder) -> None:
    """Neither a secret's content nor the value of an argument that is called like one; that it changed is told."""
    word = unique()
    text = f"FROM busybox\nARG API_TOKEN\nRUN --mount=type=secret,id=s cat /run/secrets/s; echo {word}\n"
    from nbcontainers.build.execute import Settings
    from nbcontainers.build.showing import Offers

    settings = Settings(offers=Offers(secrets={"s": b"hush-hush"}))
    builder.build(text, arguments={"API_TOKEN": "tell-nobody"}, settings=settings)
    made = builder.build(text, arguments={"API_TOKEN": "tell-no-one"}, settings=settings)
    assert why(made) == ["the build argument API_TOKEN changed"]
    kept = [path.read_text() for path in (builder.store.root / "cache/reasons").rglob("*") if path.is_file()]
    assert any(word in text for text in kept)
    assert not any("tell-no" in text or "hush" in text for text in kept)


def test_what_is_kept_is_bounded() -> None:
    """Of many files folders are kept; a change in one is still found, and told as well as it can be."""
    files = {f"a/b{number % 7}/c/f{number}": f"644 {number}" for number in range(5000)}
    before = reasons.Account(title="COPY", base="", files=reasons.bounded(files.items()))
    assert len(before.files) <= reasons.MOST_FILES
    files["a/b3/c/f3"] = "644 other"
    after = reasons.Account(title="COPY", base="", files=reasons.bounded(files.items()))
    assert reasons.sentence(reasons.differences(before, after)) == "something in a/b3/c/ changed"
    flat = reasons.bounded((f"f{number}", "644 1") for number in range(5000))
    assert len(flat) == 1


def test_torn_files_cost_a_sentence_and_nothing_else(builder: Builder, tmp_path: Path) -> None:
    """A build goes on whatever lies there."""
    text = TEXT.format(word=unique())
    builder.write({"src/app.py": "1"})
    builder.build(text)
    for path in (builder.store.root / "cache/reasons").rglob("*"):
        if path.is_file():
            path.write_text('{"steps": [["a"]], "called": 3}')
    builder.write({"src/app.py": "2"})
    assert why(builder.build(text)) == ["", "", ""]
    earlier.forget(builder.store.root)
    assert not (builder.store.root / "cache/reasons").exists()

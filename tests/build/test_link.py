"""COPY and ADD with --link: a layer of its own, the same on whatever it stands."""

from __future__ import annotations

from tests.build.conftest import Builder
from tests.build.test_solver import unique


def test_it_is_reused_although_all_above_changed(builder: Builder) -> None:
    """The same layer stands on another tree, also in another stage; the steps after it go on with that tree."""
    word = unique()
    builder.write({"a": word, "d/b": "b"})
    text = (
        "FROM busybox\nRUN echo {} > /above\nCOPY --link a /x/a\nADD --link --chown=7:8 d /y/\n"
        "RUN cat /above /x/a /y/b; stat -c '%u:%g %a' /y/b\n"
    )
    first = builder.build(text.format(unique()))
    second = builder.build(text.format(other := unique()))
    assert builder.cached == [True, False, True, True, False]
    assert builder.output == f"{other}\n{word}b7:8 644\n"
    assert first.steps[2].layer == second.steps[2].layer
    assert first.image.chain_ids[-2] != second.image.chain_ids[-2]
    builder.build("FROM busybox\nCOPY --link a /x/a\n")
    assert builder.cached == [True, True]


def test_with_a_mode_folders_keep_theirs(builder: Builder) -> None:
    """There is no layer of its own then, as with BuildKit: the folders above would bring the file's mode to those that are there."""
    builder.write({"a": "a"})
    builder.build(
        "FROM busybox\nRUN mkdir -m 1777 /d && mkdir /real && ln -s /real /l\n"
        "COPY --link --chmod=600 a /d/x/\nCOPY --link --chmod=u+x a /l/\nRUN stat -c '%a' /d /d/x /d/x/a /real/a\n"
    )
    assert builder.output == "1777\n600\n600\n744\n"


def test_nothing_below_is_looked_at(builder: Builder) -> None:
    """A link on the way is replaced by a folder, a folder that a file is copied to by the file: as BuildKit has it."""
    word = unique()
    builder.write({"a": word})
    builder.build(
        "FROM busybox\nRUN mkdir /real /folder; ln -s real /link; touch /real/kept /folder/gone\n"
        "COPY --link a /link/a\nCOPY --link a /folder\nRUN ls /link; ls /real; cat /folder\n"
    )
    assert builder.output == f"a\nkept\n{word}"


def test_folders_above_are_as_on_an_empty_tree(builder: Builder) -> None:
    """Theirs is mode 0755, as of any COPY on scratch, also where a folder with another mode stands; the rest of it stays."""
    builder.write({"a": unique()})
    builder.build("FROM busybox\nRUN echo kept > /tmp/kept\nCOPY --link a /tmp/a\nRUN stat -c %a /tmp; ls /tmp\n")
    assert builder.output == "755\na\nkept\n"


def test_what_a_stage_made_can_be_linked(builder: Builder) -> None:
    """By the files that it takes, whatever else changed there."""
    word = unique()
    text = (
        f"FROM busybox AS one\nARG A\nRUN echo {word} > /same; echo $A > /other\n"
        "FROM busybox\nRUN echo {} > /r\nCOPY --link --from=one /same /\nRUN cat /same\n"
    )
    builder.build(text.format(unique()), arguments={"A": "1"})
    builder.build(text.format(unique()), arguments={"A": "2"})
    assert builder.output == f"{word}\n"
    assert builder.cached == [True, False, True, False, True, False]


def test_a_name_is_looked_up_where_it_stands(builder: Builder) -> None:
    """So that it is no layer of its own: BuildKit refuses it."""
    builder.write({"a": unique()})
    text = "FROM busybox\nRUN echo {} > /above\nCOPY --link --chown=app a /a\nRUN stat -c %u:%g /a\n"
    builder.build(text.format(unique()))
    builder.build(text.format(unique()))
    assert builder.output == "1000:1001\n"
    assert builder.cached == [True, False, False, False]

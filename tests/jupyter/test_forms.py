"""HTML that stands alone: well formed, without scripts or addresses, and with every name as text."""

from __future__ import annotations

import dataclasses
import importlib
import re
from html.parser import HTMLParser

import pytest

from nbcontainers.cli import text as words
from nbcontainers.cli.text import ended
from nbcontainers.errors import BuildError
from nbcontainers.events import Output, StepFinished, StepStarted, StepStopped, Warned
from nbcontainers.jupyter import forms, html, payload, show
from nbcontainers.jupyter.progress import Record
from nbcontainers.results import Check, ContainerState, HostReport
from tests.jupyter import samples

ALLOWED = set(
    "b br code details div i li mark p polyline pre span style summary svg table tbody td th thead tr ul".split()
)


class Reader(HTMLParser):
    """Reads a form, and fails on what must not be in one."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ALLOWED, tag
        for name, value in attrs:
            assert name in {
                "class",
                "style",
                "role",
                "aria-label",
                "aria-hidden",
                "scope",
                "open",
                "points",
                "viewbox",
            }, name
            assert name != "style" or re.fullmatch(r"width:[\d.]+%|text-align:left", value or ""), value
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


def read(markup: str) -> str:
    reader = Reader()
    reader.feed(markup)
    reader.close()
    assert reader.open == []
    assert not re.search(r"https?:|url\(|@import|<script|javascript:", markup)
    markup.encode()
    return reader.text


def failed_build(output: bytes = b"one\n\x1b[31mtwo\x1b[0m\n", name: str = "demo:latest") -> Record:
    record = Record(name, samples.DOCKERFILE)
    for number, text in enumerate(("FROM toolbox", "ENV LANG=C.UTF-8", "COPY main.py .", "RUN false"), 1):
        record.take(StepStarted(number=number, total=5, text=text, stage="", lines=(number, number)))
        if number < 4:
            record.take(StepFinished(number=number, cached=number < 3, seconds=0.1))
    record.take(Output(data=output, step=4))
    record.take(Warned(message="no .dockerignore", line=3, hint="write one"))
    record.fail(BuildError("step 4 failed", step="RUN false", lines=(4, 5), exit_code=1, output=output, hint="look"))
    return record


def finished_build() -> Record:
    record = Record("demo:latest", samples.DOCKERFILE)
    record.take(StepStarted(number=1, total=1, text="FROM toolbox", stage="", lines=(1, 1)))
    record.take(Output(data=b"unpacking\n", step=1))
    record.take(StepFinished(number=1, cached=False, seconds=0.5))
    record.phase, record.seconds, record.stack = "done", 2.31, samples.stack()
    return record


REPORT = HostReport(
    tier="T2",
    summary="one uid",
    checks=(Check(name="overlay", holds=True), Check(name="cgroups", holds=False, detail=samples.HOSTILE)),
    not_enforced=("memory is watched (no group)", samples.HOSTILE, "cpu is not limited (no group)"),
    kernel="6.18",
    cgroups="hybrid",
)
HISTORY = [(float(second), 0.1 * second, second << 20, 3) for second in range(200)]
FORMS = {
    "stack": lambda: forms.layer_stack(samples.stack()),
    "large stack": lambda: forms.layer_stack(samples.large_stack()),
    "empty stack": lambda: forms.layer_stack(samples.stack((), "empty")),
    "hostile stack": lambda: forms.layer_stack(samples.hostile_stack()),
    "diff": lambda: forms.image_diff(samples.diff()),
    "large diff": lambda: forms.image_diff(samples.large_diff(5000)),
    "no diff": lambda: forms.image_diff(samples.diff((), ())),
    "hostile diff": lambda: forms.image_diff(samples.hostile_diff()),
    "usage": lambda: forms.usage(
        [(samples.state(), samples.usage(3), 0.48, HISTORY), (samples.state("b", "created"), None, None, [])]
    ),
    "hostile usage": lambda: forms.usage(
        [(samples.state(samples.HOSTILE, image=samples.ESCAPE, lacks=samples.UNKEPT), samples.usage(3), None, [])]
    ),
    "no usage": lambda: forms.usage([]),
    "host": lambda: forms.host_report(REPORT),
    "build": lambda: forms.build(finished_build()),
    "failed build": lambda: forms.build(failed_build()),
    "hostile build": lambda: forms.build(failed_build(samples.HOSTILE.encode() + b"\x1b]0;x\x07", samples.HOSTILE)),
    "note": lambda: html.note(samples.HOSTILE + samples.ESCAPE),
    "listing": lambda: html.listing(
        [("NAMES", "Names"), ("SIZE", "Size")],
        [{"Names": samples.HOSTILE, "Size": "1MB"}],
        label="Images",
        empty="none",
    ),
    "empty listing": lambda: html.listing([("NAMES", "Names")], [], label="Containers", empty="No container."),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_form_is_well_formed_and_needs_nothing(name: str) -> None:
    """Known elements only, each closed; no script, no handler, no address; names of files and images as text."""
    text = read(FORMS[name]())
    assert "\x1b" not in text
    assert "\u202e" not in text
    if "hostile" in name or name in ("note", "listing"):
        assert samples.HOSTILE in text


def test_a_table_without_styles_reads_well() -> None:
    """Where a viewer takes the styles away, words stand on the left and a bar is its percents."""
    markup = forms.layer_stack(samples.stack())
    assert re.search(r'<th scope="col" class="long" style="text-align:left">Instruction', markup)
    assert re.search(r'<i style="width:86.2%">86%</i>', markup)


def test_the_share_of_a_layer_is_that_of_the_image() -> None:
    """As the widget tells it: the shares of layers that replace nothing are the whole."""
    markup = forms.layer_stack(samples.stack())
    stack = samples.stack()
    told = [float(width) for width in re.findall(r'<i style="width:([0-9.]+)%">', markup)]
    sizes = [layer.size for layer in stack.layers if layer.diff_id]
    assert told == [round(100 * size / stack.size, 1) for size in sizes]
    assert sum(told) == pytest.approx(100, abs=0.5)


def test_a_list_breaks_no_line_that_need_not_be() -> None:
    """An ID and an age stay whole beside a name that is long."""
    columns = [("IMAGE ID", "ID"), ("CREATED", "CreatedSince"), ("NAMES", "Names")]
    row = {"ID": "abc", "CreatedSince": "6 seconds ago", "Names": "n" * 200}
    markup = html.listing(columns, [row], label="Containers", empty="none")
    assert "Image ID" in read(markup)
    assert markup.count('<td class="k"') == 2


def test_a_list_is_called_what_it_lists() -> None:
    """To who hears it: what is said where there is nothing is not its name."""
    markup = html.listing([("NAMES", "Names")], [{"Names": "web"}], label="Running containers", empty="None runs.")
    assert 'aria-label="Running containers"' in markup
    assert "None runs." not in markup
    assert "None runs." in html.listing([("NAMES", "Names")], [], label="Running containers", empty="None runs.")


def test_a_notebook_does_not_grow_with_the_difference() -> None:
    """Of a hundred thousand files some hundred lines are kept, and the sums of all."""
    markup = forms.image_diff(samples.large_diff())
    assert len(markup) < 200_000
    assert "33,334 added" in read(markup)
    assert "not kept here" in read(markup)


def test_packages_are_told_with_both_versions_and_not_without_end() -> None:
    """What manages them and where; of very many only some are kept."""
    text = read(forms.image_diff(samples.diff()))
    assert "4 packages" in text
    assert "python in /usr/lib/python3.11/site-packages" in text
    assert "3.0.11-1~deb12u2" in text
    many = samples.diff((), (), samples.PACKAGES * 100)
    assert "… 200 more not kept here" in read(forms.image_diff(many))
    unread = dataclasses.replace(many, unread=("the packages could not be read",))
    assert "could not be read" in read(forms.image_diff(unread))


def test_a_limit_that_is_not_held_is_not_told_as_one_that_is() -> None:
    """Without a cgroup nothing limits the processor: the widget, HTML and text say so; where the kernel holds it, none does."""
    for more, held in (
        ({}, True),
        ({"source": "process tree"}, False),
        ({"source": "process tree", "periods": 7}, True),  # a group that limits the processor and does not count memory
    ):
        sample = samples.usage(3, **more)
        markup = read(forms.usage([(samples.state(), sample, 0.48, HISTORY)]))
        told = words.usage([(samples.state(), sample, 0.48)])
        assert ("48% of 50%, not held" in markup, "48% / 50%, not held" in told) == (not held, not held)
        assert "48% of 50%" in markup
        assert "48% / 50%" in told
        assert words.holds_processor(sample) is held


def test_a_container_that_ended_says_why_in_its_row() -> None:
    """Measured or not."""
    state = samples.state(status="exited", exit_code=137, out_of_memory=True)
    for sample in (None, samples.usage(3)):
        assert "memory ran out" in read(forms.usage([(state, sample, None, [])]))


@pytest.mark.parametrize(
    ("state", "mood"),
    [
        (samples.state(status="exited", exit_code=0), "d"),
        (samples.state(status="exited", exit_code=137), "r"),
        (samples.state(status="exited", exit_code=137, stopped=True), "d"),
        (samples.state(status="exited", exit_code=137, stopped=True, out_of_memory=True), "r"),
        (samples.state(status="exited", exit_code=137, stopped=True, error="ended because it wrote too much"), "r"),
        (samples.state(status="dead"), "d"),
    ],
)
def test_a_stop_that_was_asked_for_is_no_fault(state: ContainerState, mood: str) -> None:
    """Red is for what went wrong; the widget has it as the kept page has."""
    assert f'<span class="{mood}">{ended(state)}</span>' in forms.usage([(state, None, None, [])])
    assert payload.container(state)["calm"] == (mood == "d")


def test_what_is_not_enforced_is_kept_with_the_usage() -> None:
    """What was asked for, and what no container of the host has; a reason that several share is said once."""
    state = samples.state(not_enforced=samples.UNKEPT[2:], lacks=samples.UNKEPT)
    shared, alone = payload.container(state)["unkept"]
    assert shared == ("no group can be made here", ["memory is watched", "cpu is not limited"])
    assert alone == ("", [samples.HOSTILE])
    kept = read(forms.usage([(state, samples.usage(3), None, []), (state, None, None, [])]))
    assert "Not enforced here: 3" in kept
    assert kept.count("no group can be made here") == kept.count("memory is watched") == 1
    assert "Not enforced" not in forms.usage([(samples.state(), samples.usage(3), None, [])])


def test_a_failed_build_marks_the_lines_that_failed() -> None:
    """The place, the end of the output, the hint."""
    markup = forms.build(failed_build())
    marked = re.findall(r"<mark>([^<]*)</mark>", markup)
    assert marked == ["&gt; 4  RUN python3 -m compileall . &amp;&amp; \\", "&gt; 5      false"]
    text = read(markup)
    assert "step 4 failed" in text
    assert "two" in text
    assert "Hint: look" in text
    assert "no .dockerignore" in text


def test_steps_that_went_on_at_once_stand_in_their_order() -> None:
    """Each with its own output; the failed one is told from those that it cancelled."""
    record = Record("demo:latest", samples.DOCKERFILE)
    for number in (3, 1, 2):
        record.take(StepStarted(number=number, total=4, text=f"RUN {number}", stage="", lines=(number, number)))
    record.take(Output(data=b"of one\n", step=1))
    record.take(Output(data=b"of three\n", step=3))
    record.take(StepFinished(number=1, cached=False, seconds=0.1))
    record.take(StepStopped(number=3, seconds=0.2))
    record.take(StepStopped(number=2, seconds=0.2, cancelled=True))
    record.fail(BuildError("RUN 3 failed", step="RUN 3", lines=(3, 3), exit_code=1, output=b"of three\n"))
    assert [step["state"] for step in record.steps_json()] == ["done", "cancelled", "failed"]
    assert "of one" in str(record.tails_json()["1"])
    text = read(forms.build(record))
    assert text.index("RUN 1") < text.index("RUN 2") < text.index("RUN 3")
    assert "cancelled" in text
    assert "[2/4] RUN 2   cancelled" in record.text()


def test_a_stopped_build_has_no_failed_step() -> None:
    """Who pressed the button is not told of a failure: the step that ran was stopped, with what it had said."""
    record = Record("", "FROM a\nRUN b\n")
    record.take(StepStarted(number=1, total=1, text="RUN b", stage="", lines=(2, 2)))
    record.take(Output(data=b"so far\n", step=1))
    record.stop()
    assert [step["state"] for step in record.steps_json()] == ["stopped"]
    assert "[1/1] RUN b   stopped" in record.text()
    drawn = str(forms.build(record))
    assert "so far" in drawn
    assert "✕" not in drawn


def test_a_finished_build_shows_its_layers() -> None:
    """And folds its steps away."""
    text = read(forms.build(finished_build()))
    assert "built" in text
    assert "2.31 s" in text
    assert "98.9% efficient" in text


def test_markup_is_made_by_hand_only_where_it_says_so() -> None:
    """Text is escaped, in elements and in attributes; what is markup already is not escaped twice."""
    made = html.h("td", "a < b", html.h("b", "&"), title='"')
    assert made == '<td title="&quot;">a &lt; b<b>&amp;</b></td>'
    assert html.h("p", None, 3, hidden=None) == "<p>3</p>"


def test_what_shows_itself_is_registered_where_it_is_defined() -> None:
    """By name, so that nothing is imported for it: a type that moves takes its registration along."""
    for module, name, _ in show.TYPES:
        assert getattr(importlib.import_module(module), name).__module__ == module

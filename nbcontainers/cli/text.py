"""Results as a terminal shows them: the command line prints these, and a notebook keeps them beside its widgets.

Every name that comes out of an image or a container passes ``printable``: a file may be called anything, and nothing it is
called may move the cursor or colour the screen.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import signal
from collections.abc import Iterable, Iterator

from ..errors import BuildError, DockerfileError, NBContainersError
from ..results import ContainerState, HostReport, LayerStack, Usage
from . import format as form
from .terminal import plain

INSTRUCTION = 72  # characters of an instruction in a line about it
LARGEST = 5
CONTEXT = 2  # lines of a Dockerfile before and after the failing ones
TAIL = 12  # lines of a failed step's output

_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")


def printable(text: str) -> str:
    r"""The text with what cannot be seen written out: escapes, line breaks, marks that turn the direction, bytes that are no UTF-8.

    A terminal's escape shows as ``\x1b``, an undecodable byte (surrogateescape) as ``\xff``.
    """
    return _HIDDEN.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    sign = ord(match[0])
    if 0xDC80 <= sign <= 0xDCFF:
        return f"\\x{sign - 0xDC00:02x}"
    return match[0].encode("unicode_escape").decode() if sign < 0xD800 else f"\\u{sign:04x}"


def shortened(text: str, width: int) -> str:
    """The text on one line of at most ``width`` characters; what is cut off shows as an ellipsis."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= width else line[: width - 1] + "…"


def ending(text: str, width: int) -> str:
    """The end of a line that is longer than ``width``: of a path that is what tells it from others."""
    return text if len(text) <= width else "…" + text[len(text) - width + 1 :]


def plural(count: int, one: str, many: str = "") -> str:
    """``1 layer``, ``2 layers``, ``12,000 layers``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def signed(count: int) -> str:
    """A growth in bytes: ``+1.2MB``, ``-300kB``, ``0B``."""
    return f"{'+' if count > 0 else '-' if count < 0 else ''}{form.size(abs(count))}"


def layer_stack(stack: LayerStack, *, width: int = 120) -> str:
    """What each layer of an image holds, from the base up, who shares it, and the largest files; no line is longer than ``width``."""
    made = [layer for layer in stack.layers if layer.diff_id]
    summary = f"{plural(len(made), 'layer')}, {form.size(stack.size)} of files, {form.size(stack.stored_size)} stored"
    waste = f", {form.size(stack.wasted)} wasted" if stack.wasted else ""
    lines = [
        f"{printable(stack.name)}   {stack.id.short}   {printable(stack.platform)}",
        f"{summary}{waste}, efficiency {stack.efficiency:.1%}",
        "",
        *_layer_lines(stack, width),
    ]
    told = [shortened(line, width) for line in shared(stack)]
    if told:
        lines += ["", *told]
    numbers = (number for number, layer in enumerate(stack.layers, 1) for _ in layer.largest)
    files = zip(numbers, (entry for layer in stack.layers for entry in layer.largest), strict=True)
    largest = sorted(files, key=lambda pair: pair[1].size, reverse=True)[:LARGEST]
    if largest:
        room = max(20, width - 20)
        rows = [
            [str(number), form.size(entry.size), ending(printable("/" + entry.path.lstrip("/")), room)]
            for number, entry in largest
        ]
        lines += ["", form.table(("LAYER", "SIZE", "LARGEST FILES"), rows, right=(0, 1))]
    return "\n".join(lines)


def _layer_lines(stack: LayerStack, width: int) -> list[str]:
    """The table of the layers: columns that say nothing are left out, and the instruction has what is left of the width."""
    titles = ["LAYER", "SIZE", "STORED", "WASTED", "FILES"]
    rows = []
    for number, layer in enumerate(stack.layers, 1):
        if layer.diff_id is None:
            rows.append([str(number), "", "", "", ""])
            continue
        counts = (("+", layer.added), ("~", layer.modified), ("-", layer.deleted))
        files = " ".join(f"{sign}{count:,}" for sign, count in counts if count)
        wasted = form.size(layer.wasted) if layer.wasted else "-"
        rows.append([str(number), form.size(layer.size), form.size(layer.stored_size), wasted, files or "-"])
    if not stack.wasted:
        del titles[3]
        for row in rows:
            del row[3]
    wide = sum(max(len(row[column]) for row in (titles, *rows)) + 3 for column in range(len(titles)))
    room = max(24, width - wide)
    for row, layer in zip(rows, stack.layers, strict=True):
        row.append(shortened(layer.instruction, room))
    return form.table((*titles, "INSTRUCTION"), rows, right=range(len(titles))).split("\n")


def shared(stack: LayerStack) -> Iterator[str]:
    """Which layers are shared with which images: layers after one another that the same images share are one line."""
    layers = [(number, layer.shared_with) for number, layer in enumerate(stack.layers, 1) if layer.diff_id]
    for names, group in itertools.groupby(layers, key=lambda pair: pair[1]):
        if not names:
            continue
        numbers = [number for number, _ in group]
        which = f"layer {numbers[0]}" if len(numbers) == 1 else f"layers {numbers[0]} to {numbers[-1]}"
        yield f"{which} shared with {', '.join(map(printable, names))}"


def unkept(state: ContainerState) -> tuple[str, ...]:
    """What is not enforced for a container: what was asked for it, then what no container of its host has."""
    return tuple(dict.fromkeys((*state.not_enforced, *state.lacks)))


def by_reason(sentences: Iterable[str]) -> list[tuple[str, list[str]]]:
    """(a reason, what it is the reason of), in order: what several sentences say in brackets at their end is said once.

    A sentence that shares its reason with no other is whole, and alone under an empty one.
    """
    sentences = list(sentences)
    found: dict[str, list[str]] = {}
    for sentence in sentences:
        what, _, reason = sentence.removesuffix(")").rpartition(" (")
        is_shared = ")" not in reason and sum(other.endswith(f" ({reason})") for other in sentences) > 1
        found.setdefault(reason if is_shared else sentence, []).append(what if is_shared else sentence)
    return [("" if whats == [reason] else reason, whats) for reason, whats in found.items()]


def not_enforced(sentences: Iterable[str]) -> list[str]:
    """What is not enforced, a reason that several sentences share before them, each on a line of its own."""
    return [
        "".join((f"{reason}, so", *(f"\n  - {what}" for what in whats))) if reason else whats[0]
        for reason, whats in by_reason(sentences)
    ]


def host_report(report: HostReport) -> str:
    """What this host allows: the isolation tier, each thing tried, and what cannot be enforced here."""
    lines = [f"tier {report.tier}: {report.summary}", f"kernel {report.kernel}, cgroups {report.cgroups}"]
    if report.store:
        lines.append(f"store {printable(report.store)}" + (f": {report.store_reason}" if report.store_reason else ""))
        lines += [f"not in {printable(folder)}: {printable(why)}" for folder, why in report.stores_refused]
    width = max((len(check.name) for check in report.checks), default=0)
    lines += [
        "",
        *(
            f"{'yes' if check.holds else 'no ':<3} {check.name:<{width}}  {check.detail}".rstrip()
            for check in report.checks
        ),
    ]
    if report.not_enforced:
        lines += ["", "not enforced here:", *(f"- {words}" for words in not_enforced(report.not_enforced))]
    return "\n".join(lines)


def usage(items: Iterable[tuple[ContainerState, Usage | None, float | None]]) -> str:
    """What containers use; each with its state, its last sample if there is one, and the processors it keeps busy (1.0 is one)."""
    rows = []
    for state, sample, busy in items:
        if sample is None:
            rows.append([printable(state.name), ended(state) or state.status, "", "", "", ""])
            continue
        memory = form.binary_size(sample.memory)
        if sample.memory_limit:
            memory += f" / {form.binary_size(sample.memory_limit)}"
        processes = str(sample.processes) + (f" / {sample.processes_limit}" if sample.processes_limit else "")
        cpu = "" if busy is None else f"{busy:.0%}"
        if cpu and sample.cpu_limit:
            cpu += f" / {sample.cpu_limit:.0%}" + ("" if holds_processor(sample) else ", not held")
        rows.append(
            [printable(state.name), ended(state) or state.status, cpu, memory, processes, counted_by(sample.source)]
        )
    if not rows:
        return "no container is running"
    return form.table(("CONTAINER", "STATUS", "CPU", "MEMORY", "PROCESSES", "SOURCE"), rows)


def ended(state: ContainerState) -> str:
    """Why a container is not running any more, in some words: what the kernel did, a signal, an exit code; empty while it may run on.

    Of one that somebody stopped, that comes first: how it ended is then no fault of its own.
    """
    if state.status not in ("exited", "dead"):
        return ""
    if state.out_of_memory:
        return "memory ran out"
    if state.error:
        return printable(state.error)
    code = state.exit_code
    if code is None:
        return "removed"
    how = f"exit code {code}"
    if 128 < code < 128 + signal.NSIG:
        with contextlib.suppress(ValueError):
            how = f"{how}: {signal.Signals(code - 128).name}"
    return f"stopped ({how})" if state.stopped else how


def is_fault(state: ContainerState) -> bool:
    """Whether something went wrong with a container that has ended: not where it succeeded, nor where somebody stopped it."""
    return state.out_of_memory or (state.exit_code not in (0, None) and (bool(state.error) or not state.stopped))


def counted_by(source: str) -> str:
    """Who counted a sample, in words that say whether the kernel enforces the limits."""
    return f"watched, {source}" if is_watched(source) else source


def is_watched(source: str) -> bool:
    """Whether a sample was counted by who watches the processes, and not by the kernel."""
    return not source.startswith("cgroup")


def holds_processor(sample: Usage) -> bool:
    """Whether the kernel holds a container to its limit of processor time, if it has one: it does in a cgroup alone."""
    return (
        sample.source.startswith("cgroup") or sample.periods is not None
    )  # a group may limit the processor and not count memory


def excerpt(dockerfile: str, lines: tuple[int, int], *, context: int = CONTEXT) -> list[tuple[int, str, bool]]:
    """The lines of a Dockerfile around ``lines`` (from 1, both ends in it): number, text, and whether it is one of them."""
    everything = dockerfile.splitlines() or [""]
    first = min(max(lines[0], 1), len(everything))
    last = min(max(lines[1], first), len(everything))
    around = range(max(1, first - context), min(len(everything), last + context) + 1)
    return [(number, everything[number - 1], first <= number <= last) for number in around]


def marked(dockerfile: str, lines: tuple[int, int]) -> str:
    """Some lines of a Dockerfile with those around them, each with its number, the lines themselves with a mark."""
    around = excerpt(dockerfile, lines)
    width = len(str(around[-1][0]))
    return "\n".join(
        f"{'>' if is_meant else ' '} {number:>{width}} | {printable(line.expandtabs(4))}"
        for number, line, is_meant in around
    )


def failure(error: NBContainersError, dockerfile: str = "") -> str:
    """An error and its hint; for a Dockerfile the lines with the failing ones marked, and the end of the step's output."""
    parts = [f"{type(error).__name__}: {printable(error.message)}"]
    if isinstance(error, BuildError | DockerfileError) and dockerfile:
        parts.append(marked(dockerfile, error.lines))
    if isinstance(error, BuildError) and error.output.strip():
        tail = plain(error.output).rstrip().split("\n")[-TAIL:]
        parts.append("\n".join(f"    {printable(line.expandtabs(4))}".rstrip() for line in tail))
    if error.hint:
        parts.append(f"hint: {error.hint}")
    return "\n".join(parts)

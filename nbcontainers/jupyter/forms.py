"""Results as the HTML that a notebook keeps: the same figures as the widgets, without anything that moves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..cli.folders import ROOT, ChangeTree, Folder, Row, what
from ..cli.progress import rebuilt
from ..cli.text import counted_by, ended, holds_processor, is_fault, plural, printable, shared, shortened, unkept
from ..results import ContainerState, HostReport, ImageDiff, Layer, LayerStack, PackageChange, Usage
from .html import Html, bar, code, growth, h, join, listed, memory, not_enforced, note, output, page, size, table
from .progress import Failure, Record

ROWS = 300  # lines of a tree that a notebook keeps
LARGEST = 8
STEPS = 12  # steps of a build that show unasked
PACKAGES = 200
_PACKAGE_KINDS = {"added": ("+", "g"), "deleted": ("−", "r"), "upgraded": ("↑", "g"), "downgraded": ("↓", "w")}
_KINDS = {"added": ("+", "g"), "modified": ("~", "w"), "deleted": ("−", "r")}


def layer_stack(stack: LayerStack) -> str:
    """The layers of an image, from the base up."""
    return page(stack_body(stack), label=f"Layers of {printable(stack.name)}")


def stack_body(stack: LayerStack) -> Html:
    """The same without the frame."""
    made = sum(1 for layer in stack.layers if layer.diff_id)
    figures = [plural(made, "layer"), join((size(stack.size), " of files")), join((size(stack.stored_size), " stored"))]
    if stack.wasted:
        figures.append(join((h("span", size(stack.wasted), class_="w"), " wasted")))
    figures.append(f"{stack.efficiency:.1%} efficient")
    head = h(
        "p",
        h("b", stack.name),
        " ",
        code(stack.id.short),
        " · ",
        stack.platform,
        " · ",
        listed(figures),
        class_="head",
    )
    titles = [
        ("No.", "n"),
        ("Instruction", "long"),
        ("Share", ""),
        ("Size", "n"),
        ("Stored", "n"),
        ("Files", "n"),
        ("Wasted", "n"),
    ]
    largest = sorted(
        ((entry, number) for number, layer in enumerate(stack.layers, 1) for entry in layer.largest),
        key=lambda pair: pair[0].size,
        reverse=True,
    )[:LARGEST]
    return join(
        (
            head,
            table(titles, [_layer(number, layer, max(1, stack.size)) for number, layer in enumerate(stack.layers, 1)]),
            *(h("p", sentence[0].upper(), sentence[1:], class_="d") for sentence in shared(stack)),
            h(
                "details",
                h("summary", "Largest files"),
                table(
                    [("Size", "n"), ("Layer", "n"), ("Path", "long")],
                    [(size(entry.size), number, code("/" + entry.path.lstrip("/"))) for entry, number in largest],
                ),
            )
            if largest
            else None,
        )
    )


def _layer(number: int, layer: Layer, whole: int) -> tuple[object, ...]:
    instruction = code(shortened(layer.instruction, 160), class_=None if layer.diff_id else "d")
    if layer.diff_id is None:
        return number, instruction, "", "", "", h("span", "settings only", class_="d"), ""
    counts = (("added", layer.added), ("modified", layer.modified), ("deleted", layer.deleted))
    files = [h("span", f"{_KINDS[kind][0]}{count:,}", class_=_KINDS[kind][1]) for kind, count in counts if count]
    wasted = h("span", size(layer.wasted), class_="w") if layer.wasted else "–"
    return (
        number,
        instruction,
        bar(layer.size / whole),
        size(layer.size),
        size(layer.stored_size),
        listed(files, " "),
        wasted,
    )


def image_diff(diff: ImageDiff, tree: ChangeTree | None = None) -> str:
    """In what two images differ: the folders to unfold as far as a notebook should keep them, and the settings."""
    tree = tree or ChangeTree(diff.files)
    words = ("added", "modified", "deleted")
    counts = [
        h("span", f"{_KINDS[kind][0]}{count:,} {word}", class_=_KINDS[kind][1])
        for kind, word, count in zip(words, ("added", "changed", "removed"), tree.counts, strict=True)
        if count
    ]
    same = (
        None
        if diff.files or diff.settings
        else h("p", "No difference: the same files and the same settings.", class_="d")
    )
    head = h(
        "p",
        h("b", diff.before, " → ", diff.after),
        " ",
        listed(
            [
                *counts,
                growth(tree.growth),
                plural(len(diff.packages), "package") if diff.packages else None,
                plural(len(diff.settings), "setting") if diff.settings else None,
                f"{plural(diff.shared_layers, 'layer')} shared",
            ]
        ),
        class_="head",
    )
    settings = [
        (
            code(setting.key),
            h("code", setting.before, class_="r") if setting.before is not None else h("span", "not set", class_="d"),
            h("code", setting.after, class_="g") if setting.after is not None else h("span", "not set", class_="d"),
        )
        for setting in diff.settings
    ]
    return page(
        head,
        same,
        _tree(tree, ROOT, _Budget(ROWS)) if diff.files else None,
        _packages(diff.packages) if diff.packages else None,
        table([("Setting", "long"), ("Before", "long"), ("After", "long")], settings) if settings else None,
        *(h("p", sentence, class_="w") for sentence in diff.unread),
        label=f"In what {printable(diff.before)} and {printable(diff.after)} differ",
    )


def _packages(packages: Sequence[PackageChange]) -> Html:
    rows = []
    for one in packages[:PACKAGES]:
        sign, mood = _PACKAGE_KINDS[one.kind]
        name = join((h("span", sign, " ", class_=mood), code(one.name)))
        where = h("span", one.packaging, f" in {one.where}" if one.where else "", class_="d")
        rows.append((name, code(one.before) if one.before else "", code(one.after) if one.after else "", where))
    left = len(packages) - len(rows)
    return join(
        (
            table([("Package", "long"), ("Before", "long"), ("After", "long"), ("Managed by", "long")], rows),
            h("p", f"… {left:,} more not kept here", class_="d") if left else None,
        )
    )


class _Budget:
    """How many lines may still be written."""

    def __init__(self, left: int) -> None:
        self.left = left


def _tree(tree: ChangeTree, folder: Folder, budget: _Budget, depth: int = 0) -> Html:
    rows = tree.rows(folder)
    shown = rows[: max(0, budget.left)]
    budget.left -= len(shown)
    parts: list[object] = []
    files: list[Html] = []
    for row in shown:
        if row.folder is None:
            files.append(_file(row))
            continue
        counts = [
            h("span", f"{sign}{count:,}", class_=mood)
            for count, (sign, mood) in zip(row.counts, _KINDS.values(), strict=True)
            if count
        ]
        summary = h(
            "summary",
            _sign(row),
            code(row.name + "/"),
            " ",
            listed(counts, " "),
            h("span", growth(row.growth), class_="end"),
        )
        inner = _tree(tree, row.folder, budget, depth + 1) if budget.left > 0 else h("p", "not kept here", class_="d")
        parts.append(h("details", summary, inner, open=Html("") if len(rows) <= 6 and depth < 2 else None))
    if files:
        parts.append(h("ul", *files))
    if len(shown) < len(rows):
        parts.append(h("p", f"… {len(rows) - len(shown):,} more not kept here", class_="d"))
    return join(parts)


def _file(row: Row) -> Html:
    assert row.change is not None
    said = what(row.change)
    return h(
        "li",
        _sign(row),
        code(row.name),
        h("span", said, class_="d") if said else None,
        h("span", growth(row.growth), class_="end"),
    )


def _sign(row: Row) -> Html | None:
    return h("span", _KINDS[row.change.kind][0], " ", class_=_KINDS[row.change.kind][1]) if row.change else None


def usage(items: Iterable[tuple[ContainerState, Usage | None, float | None, Sequence[Sequence[Any]]]]) -> str:
    """What containers use: state, last sample, processors kept busy, and the samples [instant, busy, memory, processes] so far."""
    rows: list[Sequence[object]] = []
    sentences: dict[str, None] = {}
    for state, sample, busy, history in items:
        sentences |= dict.fromkeys(unkept(state))
        name = join((h("b", state.name), " ", h("span", state.image, class_="d")))
        mood = "r" if is_fault(state) else "d"
        status = h("span", ended(state), class_=mood) if ended(state) else state.status
        if sample is None:
            rows.append((name, status, "", "", "", ""))
            continue
        held = sample.cpu_limit if holds_processor(sample) else None
        cpu = "" if busy is None else f"{busy:.0%}"
        if cpu and sample.cpu_limit:
            cpu += f" of {sample.cpu_limit:.0%}" + ("" if held else ", not held")
        ram = listed([memory(sample.memory), memory(sample.memory_limit) if sample.memory_limit else None], " of ")
        pids = f"{sample.processes}" + (f" of {sample.processes_limit}" if sample.processes_limit else "")
        rows.append(
            (
                name,
                status,
                join((_line(history, 1, held), " ", cpu)),
                join((_line(history, 2, sample.memory_limit), " ", ram)),
                join((_line(history, 3, sample.processes_limit), " ", pids)),
                counted_by(sample.source),
            )
        )
    if not rows:
        return note("No container is running.")
    titles = [
        ("Container", ""),
        ("Status", "k"),
        ("Processor", "k"),
        ("Memory", "k"),
        ("Processes", "k"),
        ("Counted by", "k"),
    ]
    told = not_enforced(sentences, is_folded=True) if sentences else None
    return page(table(titles, rows), told, label="What containers use")


def _line(history: Sequence[Sequence[Any]], column: int, limit: float | None) -> Html | None:
    points = [(sample[0], sample[column]) for sample in history if sample[column] is not None]
    points = points[:: max(1, len(points) // 60)]
    if len(points) < 3:
        return None
    start, span = points[0][0], max(points[-1][0] - points[0][0], 0.001)
    most = max(limit or 0, *(value for _, value in points)) or 1
    path = " ".join(f"{(at - start) / span * 118 + 1:.1f},{23 - value / most * 22:.1f}" for at, value in points)
    return h("svg", h("polyline", points=path), viewBox="0 0 120 24", aria_hidden="true")


def host_report(report: HostReport) -> str:
    """What this host allows, and what it cannot enforce."""
    head = h(
        "p",
        h("b", f"Tier {report.tier}"),
        " ",
        report.summary,
        h("span", f" · kernel {report.kernel} · cgroups {report.cgroups}", class_="d"),
        class_="head",
    )
    checks = [
        (h("span", "yes", class_="g") if check.holds else h("span", "no", class_="r"), check.name, check.detail)
        for check in report.checks
    ]
    return page(
        head,
        table([("Holds", "k"), ("Tried", "k"), ("Found", "long")], checks),
        h("p", h("b", "Not enforced here")) if report.not_enforced else None,
        not_enforced(report.not_enforced),
        label="What this host allows",
    )


def build(record: Record) -> str:
    """A build: its steps, then the layers of the image or what went wrong."""
    done = [step for step in record.steps.values() if step.state in ("done", "cached")]
    cached = sum(1 for step in done if step.state == "cached")
    moods = {
        "running": ("building", "d"),
        "done": ("built", "g"),
        "failed": ("failed", "r"),
        "stopped": ("stopped", "w"),
    }
    word, mood = moods[record.phase]
    head = h(
        "p",
        h("b", record.name or "Build"),
        " ",
        h("span", word, class_=mood),
        " · ",
        listed(
            [
                f"{len(done)} of {plural(record.total, 'step')}" if record.total else None,
                f"{cached} from the cache" if cached else None,
                f"{record.seconds:.2f} s" if record.phase != "running" else None,
            ]
        ),
        class_="head",
    )
    steps = _steps(record)
    if record.phase == "done":
        steps = h("details", h("summary", "Steps"), steps)
    warnings = [
        h(
            "p",
            h("span", warning.told, class_="w"),
            " ",
            warning.hint or None,
        )
        for warning in record.warnings
    ]
    return page(
        head,
        h("p", record.work, class_="d") if record.work else None,
        steps if record.steps else None,
        *warnings,
        failure(record.failure) if record.failure else None,
        stack_body(record.stack) if record.stack else None,
        label="Build",
    )


def _steps(record: Record) -> Html:
    signs = {"running": ("…", "d"), "done": ("✓", "g"), "cached": ("✓", "d"), "failed": ("✕", "r")}
    signs |= {"cancelled": ("–", "d"), "stopped": ("–", "d")}
    rows = []
    for step in sorted(record.steps.values(), key=lambda one: one.number):
        sign, mood = signs[step.state]
        text = code(shortened(step.text, 160), class_="d" if step.state == "cached" else None)
        if step.tail and step.state in ("running", "done", "stopped"):
            text = h("details", h("summary", text), output(step.tail.runs()))
        if step.reason:
            text = join((text, h("div", rebuilt(step.reason), class_="d")))
        told = step.state in ("cached", "cancelled", "stopped")
        time = h("span", step.state, class_="d") if told else f"{step.seconds:.2f} s"
        rows.append((h("span", sign, class_=mood), step.number, text, time))
    return table([("State", "k"), ("No.", "n"), ("Step", "long"), ("Time", "n")], rows)


def failure(failed: Failure) -> Html:
    """What went wrong: the message, the Dockerfile's lines with the failing ones marked, the end of the output, the hint."""
    width = len(str(failed.excerpt[-1][0])) if failed.excerpt else 0
    lines: list[object] = []
    for number, text, marked in failed.excerpt:
        line = f"{number:>{width}}  {text.expandtabs(4)}"
        lines.append(h("mark", f"> {line}") if marked else f"  {line}\n")
    return join(
        (
            h("p", h("b", failed.message, class_="r")),
            h("pre", *lines, class_="marks") if lines else None,
            output(failed.output) if failed.output else None,
            h("p", h("span", "Hint: ", class_="d"), failed.hint) if failed.hint else None,
        )
    )

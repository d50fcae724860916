"""HTML that needs nothing: no script, no picture, no address; escaped by construction.

It is what a notebook keeps beside a widget, and what a reader sees where there are no widgets. The look comes from the theme
where there is one; where a viewer takes the styles away, tables and lists stay.
"""

from __future__ import annotations

import html as escaping
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from ..cli import format as form
from ..cli.terminal import Run
from ..cli.text import by_reason, printable, signed
from . import scripts

_VOID = ("br", "hr")


class Html(str):
    """Text that is markup already; any other text is escaped when it is put into markup."""

    __slots__ = ()


def h(tag: str, *children: object, **attributes: object) -> Html:
    """An element: ``h("td", "a < b", class_="n")``. None among children and attributes is left out; all but Html is escaped."""
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escaping.escape(str(value))}"'
        for name, value in attributes.items()
        if value is not None and value is not False
    )
    return Html(f"<{tag}{written}>" if tag in _VOID else f"<{tag}{written}>{join(children)}</{tag}>")


def join(children: Iterable[object]) -> Html:
    """Children one after another."""
    return Html(
        "".join(
            child if isinstance(child, Html) else escaping.escape(_clean(child))
            for child in children
            if child is not None
        )
    )


def _clean(child: object) -> str:
    return "\n".join(printable(line) for line in str(child).split("\n"))


def page(*children: object, kind: str = "nbcf", label: str | None = None) -> str:
    """A whole form with its styles."""
    return h("style", Html(scripts.style("forms.css"))) + h(
        "div", *children, class_=kind, role="group" if label else None, aria_label=label
    )


def size(count: float) -> Html:
    """Bytes with a narrow space before the unit, never broken."""
    return _spaced(form.size(count))


def memory(count: float) -> Html:
    """The same in powers of 1024."""
    return _spaced(form.binary_size(count))


def _spaced(text: str) -> Html:
    return Html(re.sub(r"(?<=\d)(?=[A-Za-z])", " ", text).replace("-", "−"))


def growth(count: int) -> Html:
    """A growth in bytes with its sign."""
    return _spaced(signed(count))


def code(text: str, **attributes: object) -> Html:
    """What a machine reads."""
    return h("code", text, **attributes)


def table(titles: Sequence[tuple[str, str]], rows: Iterable[Sequence[object]]) -> Html:
    """A table; each title with the class of its column: ``n`` for numbers, ``k`` for what is not broken, or nothing."""
    # The side stands with the cell as well: JupyterLab keeps no style sheet of a notebook that has not run, and sets tables to the right.
    looks = [{"class_": kind or None, "style": None if kind == "n" else "text-align:left"} for _, kind in titles]
    head = h("tr", *(h("th", title, scope="col", **look) for (title, _), look in zip(titles, looks, strict=True)))
    body = [h("tr", *(h("td", cell, **look) for cell, look in zip(row, looks, strict=True))) for row in rows]
    return h("table", h("thead", head), h("tbody", *body))


def bar(share: float) -> Html:
    """A share of one as a bar; its percents are read where it cannot be drawn."""
    return h("span", h("i", f"{share:.0%}", style=f"width:{share * 100:.1f}%"), class_="bar")


def listed(parts: Iterable[object], between: str = " · ") -> Html:
    """Parts with something between them, a dot unless said otherwise; None among them is left out."""
    shown: list[object] = []
    for part in parts:
        if part is None:
            continue
        shown += [between, part] if shown else [part]
    return join(shown)


def listing(columns: Sequence[tuple[str, str]], rows: Iterable[Mapping[str, Any]], *, label: str, empty: str) -> str:
    """A list as the command line has it: columns of (title, key), its name, and what to say where there is none."""
    body = [[code(str(row[key])) if key == "ID" else str(row[key]) for _, key in columns] for row in rows]
    if not body:
        return note(empty)
    kinds = {"Size": "n", "ID": "k", "CreatedSince": "k", "RunningFor": "k"}
    titles = [(title.capitalize().replace(" id", " ID"), kinds.get(key, "")) for title, key in columns]
    return page(table(titles, body), label=label)


def note(text: str, *, mood: str = "d") -> str:
    """One calm line; moods: ``d`` dim, ``g`` good, ``w`` a warning, ``r`` bad."""
    return page(h("p", h("span", text, class_=mood or None)), kind="nbcf line")


def not_enforced(sentences: Collection[str], *, is_folded: bool = False) -> Html:
    """What is not enforced, a reason that several sentences share before them; folded, behind a line that tells how much it is."""
    shown: list[Html] = []
    for reason, whats in by_reason(sentences):
        shown.append(h("p", f"{reason}, so" if reason else whats[0], class_="w"))
        if reason:
            shown.append(h("ul", *(h("li", h("span", "–"), what, class_="w") for what in whats)))
    if not is_folded:
        return join(shown)
    return h("details", h("summary", f"Not enforced here: {len(sentences)}", class_="w"), *shown)


def output(lines: Sequence[Sequence[Run]]) -> Html:
    """What a program wrote; its colours are named only where the theme has one for them."""
    colours = {"1": "r", "9": "r", "2": "g", "10": "g", "3": "w", "11": "w", "8": "d"}
    parts: list[object] = []
    for place, runs in enumerate(lines):
        parts.append("\n" if place else None)
        for style, text in runs:
            mood = next((colours[word] for word in style.split() if word in colours), None)
            parts.append(h("span", text, class_=mood) if mood else text)
    return h("pre", *parts)

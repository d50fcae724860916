"""A Dockerfile cell while it is written."""

from __future__ import annotations

import pytest

expect = pytest.importorskip("playwright.sync_api", reason="needs playwright").expect

CELL = """%%dockerfile -t app
FROM scratch AS base
MAINTAINER me
ENV GREETING=hello
LABEL said=$GREETNG \\
    by=me
CMD echo $GREETING
"""
# Put a text in the cell in front, as somebody would who replaces all of it.
WRITE = """text => {
  const editor = window.jupyterapp.shell.currentWidget.content.activeCell.editor.editor;
  editor.dispatch({ changes: { from: 0, to: editor.state.doc.length, insert: text } });
}"""


def test_a_dockerfile_cell_tells_what_is_wrong_while_it_is_written(notebook):
    """Marks under the text and a list below it, with the ways out, as soon as one stops writing; gone when it is mended."""
    notebook.open("%load_ext nbcontainers", CELL)
    page = notebook.page
    remarks = page.get_by_role("list", name="Remarks on the Dockerfile")
    expect(remarks.get_by_text("MaintainerDeprecated")).to_be_visible()
    expect(remarks.get_by_text("UndefinedVar")).to_be_visible()
    expect(remarks.get_by_role("listitem")).to_have_count(3)
    expect(page.locator(".nbc-mark.warning").first).to_be_visible()
    assert page.locator(".jp-Cell .cm-line", has_text="FROM scratch").locator("span").count() > 0
    notebook.look("editor", ".jp-Notebook .jp-Cell:nth-child(2) .nbc-remarks")
    notebook.shot("editor-cell", ".jp-Notebook")
    remarks.get_by_role("button", name="line 4").click()
    assert (
        page.evaluate(
            "() => { const { state } = window.jupyterapp.shell.currentWidget.content.widgets[1].editor.editor;"
            " return state.doc.lineAt(state.selection.main.head).number; }"
        )
        == 5
    )
    page.evaluate("() => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = 1; }")
    page.evaluate(WRITE, "%%dockerfile\nFROM toolbox\nRUM true\n")
    expect(remarks.get_by_text("error")).to_be_visible()
    expect(page.locator(".nbc-mark.error")).to_have_text("RUM true")
    notebook.look("editor-error", ".jp-Notebook .jp-Cell:nth-child(2) .nbc-remarks")
    page.evaluate(WRITE, "%%dockerfile\nFROM toolbox\nRUN true\n")
    expect(remarks).to_have_count(0)
    page.evaluate(WRITE, "print('no Dockerfile')\n")
    expect(page.locator(".nbc-mark")).to_have_count(0)

"""An image that comes to a notebook: a table while it comes, calm words when it is here."""

from __future__ import annotations

from pathlib import Path

from tests.store.registry.servers import Parts, Server, serving


def test_a_pull_is_a_table_below_its_cell(kernel, tmp_path: Path) -> None:
    """HTML and text tell the same; a registry's words are text, never markup."""
    rules = tmp_path / "registries.toml"
    rules.write_text("")
    with serving(Server()) as server:
        name = Parts.make(71, layers=3).serve(server, "team/app", "1")
        done = kernel.run(f"import os\nos.environ['NBCONTAINERS_REGISTRIES'] = {str(rules)!r}\n%nbc pull {name}")
        assert done.error is None
        html, text = done.html, done.text
        assert name in html
        assert "Pull complete" in html
        assert "<script" not in html
        assert f"Status: Downloaded newer image for {name}" in text
        again = kernel.run(f"%nbc pull {name}")
        assert "up to date" in again.html
        missing = kernel.run(f"%nbc pull {server.host}/<b>nothing")
        assert missing.error["ename"] == "InvalidReference"
        missing = kernel.run(f"%nbc pull {server.host}/nothing")
        assert missing.error["ename"] == "RegistryError"

"""The build context: what sources name, what is left out, and digests that tell a change from none."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any

import pytest

from nbcontainers.build.context import Context
from nbcontainers.build.digests import FileDigests
from nbcontainers.errors import NBContainersError, NotFound


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "context"
    for name in ("a.txt", "b.txt", "c.md", "src/one.py", "src/two.py", "src/deep/three.py", "Dockerfile"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return root


def names(context: Context, source: str) -> list[str]:
    return [found.name for found in context.select(source)]


def test_a_source_is_a_file_a_folder_or_a_wildcard(root: Path) -> None:
    """Wildcards match as Go's filepath.Match: never across a slash, in the order of names."""
    context = Context.open(root)
    assert names(context, "a.txt") == ["a.txt"]
    assert names(context, "/src/") == ["src"]
    assert names(context, "../../a.txt") == ["a.txt"]
    assert names(context, ".") == [""]
    assert names(context, "*.txt") == ["a.txt", "b.txt"]
    assert names(context, "s*/*.py") == ["src/one.py", "src/two.py"]
    assert names(context, "[a-b].*") == ["a.txt", "b.txt"]
    assert names(context, "*.none") == []
    with pytest.raises(NotFound, match="'none' is not in the context"):
        context.select("none/*")
    (root / "far").symlink_to("b.txt")
    (root / ".dockerignore").write_text("src\nb.txt\n")
    for source, told in (("src/*", "'src'"), ("f*r", "'far'")):
        with pytest.raises(NotFound, match=f"{told} is left out of the context by .dockerignore"):
            Context.open(root).select(source)


def test_what_is_not_there_is_told_with_the_nearest_name(root: Path) -> None:
    """The message has the source as it was written."""
    with pytest.raises(NotFound, match=r"^'/a.text' is not in the context$") as caught:
        Context.open(root).select("/a.text")
    assert caught.value.hint == "did you mean a.txt?"
    with pytest.raises(NotFound) as caught:
        Context.open(root).select("no/such/x")
    assert "no folder 'no/such'" in caught.value.hint


def test_ignored_files_are_not_there(root: Path) -> None:
    """Naming one says that it is left out; a folder comes without them; what an exception keeps, is kept."""
    (root / ".dockerignore").write_text("*.md\nsrc\n!src/deep\n")
    context = Context.open(root)
    with pytest.raises(NotFound, match=r"'c\.md' is left out of the context") as caught:
        context.select("c.md")
    assert caught.value.hint == "add the line !c.md to .dockerignore"
    (src,) = context.select("src")
    assert src.excluded == ("src/one.py", "src/two.py")
    assert names(context, "src/*") == ["src/deep"]
    (whole,) = context.select(".")
    assert whole.excluded == ("c.md", "src/one.py", "src/two.py")


def test_a_dockerfile_has_an_ignore_file_of_its_own(root: Path) -> None:
    """``NAME.dockerignore`` beside it takes the place of ``.dockerignore``."""
    (root / ".dockerignore").write_text("*.txt\n")
    (root / "Dockerfile.dockerignore").write_text("*.md\n")
    context = Context.open(root, dockerfile=root / "Dockerfile")
    assert names(context, "*.txt") == ["a.txt", "b.txt"]
    assert names(context, "*.md") == []


def test_a_wrong_ignore_file_is_named(root: Path) -> None:
    """The error names the file and its line."""
    (root / ".dockerignore").write_text("a\n[b\n")
    with pytest.raises(NBContainersError, match=r"^\.dockerignore line 2: "):
        Context.open(root)


def test_a_context_that_is_no_folder_is_refused(root: Path) -> None:
    """The message tells a missing one from a file."""
    with pytest.raises(NotFound, match="is not there"):
        Context.open(root / "none")
    with pytest.raises(NotFound, match="is no folder"):
        Context.open(root / "a.txt")


def test_links_never_lead_out(root: Path, tmp_path: Path) -> None:
    """A link that a source names is followed inside the context, whatever it points at."""
    (tmp_path / "outside").write_text("secret")
    (root / "link").symlink_to("src")
    (root / "up").symlink_to("../../outside")
    (root / "absolute").symlink_to("/a.txt")
    (root / "loop").symlink_to("loop")
    context = Context.open(root)
    (link,) = context.select("link")
    assert (link.name, link.path, link.folder) == ("link", "src", True)
    assert context.select("link/one.py")[0].path == "src/one.py"
    assert context.select("absolute")[0].path == "a.txt"
    for source in ("up", "loop"):
        with pytest.raises(NotFound):
            context.select(source)


def digest(root: Path, source: str, **options: Path) -> str:
    context = Context.open(root, **options)
    found = context.select(source)
    context.save()
    return "".join(one.digest for one in found)


def test_a_digest_stands_for_names_modes_and_contents(root: Path) -> None:
    """Times change nothing; a mode, a name, a link's target or a byte does."""
    before = digest(root, "src")
    os.utime(root / "src/one.py", (1, 1))
    assert digest(root, "src") == before
    seen = {before}
    (root / "src/one.py").chmod(0o755)
    seen.add(digest(root, "src"))
    (root / "src/one.py").write_text("other")
    seen.add(digest(root, "src"))
    (root / "src/two.py").rename(root / "src/2.py")
    seen.add(digest(root, "src"))
    (root / "src/link").symlink_to("x")
    seen.add(digest(root, "src"))
    (root / "src/link").unlink()
    (root / "src/link").symlink_to("y")
    seen.add(digest(root, "src"))
    (root / "src/empty").mkdir()
    seen.add(digest(root, "src"))
    assert len(seen) == 7


def test_an_unchanged_file_is_not_read_again(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The digests of a context are kept; a changed file is read again, however much it looks the same."""
    kept = tmp_path / "kept"
    time.sleep(0.06)  # a file is kept only once the clock has moved on from its last change
    first = digest(root, "src", digests=kept)
    (file,) = kept.iterdir()
    assert file.stat().st_size

    def no_reading(*_: object) -> None:
        raise AssertionError("a file was read again")

    with monkeypatch.context() as patched:
        patched.setattr("hashlib.file_digest", no_reading)
        assert digest(root, "src", digests=kept) == first
    path = root / "src/one.py"
    stamps = path.stat().st_mtime_ns
    path.write_text("ONE" + path.read_text()[3:])
    os.utime(path, ns=(stamps, stamps))
    assert digest(root, "src", digests=kept) != first


def test_a_file_that_cannot_be_read_is_the_error(tmp_path: Path) -> None:
    """Also where it is the first of its folder: what is kept of the others is no matter then."""
    file = tmp_path / "gone"
    file.write_text("x")
    found = file.stat()
    file.unlink()
    digests = FileDigests(tmp_path / "kept", tmp_path)
    with pytest.raises(FileNotFoundError):
        digests.of_folder("", [("gone", found)])
    digests.save()


def test_only_what_changed_is_read(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of a folder and the whole of it share what is kept; what is new, other or just written is read, and nothing else."""
    kept, read = tmp_path / "kept", list[str]()
    really = hashlib.file_digest

    def reading(file: Any, name: str) -> Any:
        read.append(Path(file.name).name)
        return really(file, name)

    def build() -> list[str]:
        """What was read; each digest is what nothing kept gives."""
        context, fresh = Context.open(root, digests=kept), Context.open(root)
        wanted = [(".", ()), ("src", ("two.py",)), ("a.txt", ()), ("src", ("one.py", "deep")), ("src", ())]
        read.clear()
        found = [context.select(source, exclude) for source, exclude in wanted]
        context.save()
        told = sorted(set(read))
        assert found == [fresh.select(source, exclude) for source, exclude in wanted]
        return told

    monkeypatch.setattr("hashlib.file_digest", reading)
    time.sleep(0.06)
    assert build() == ["Dockerfile", "a.txt", "b.txt", "c.md", "one.py", "three.py", "two.py"]
    assert build() == []
    (root / "src/two.py").unlink()
    (root / "src/new.py").write_text("new")
    os.utime(root / "src/new.py", (1, 1))  # its inode's time is that of now
    assert build() == ["new.py"]
    time.sleep(0.06)
    assert build() in (["new.py"], [])  # a slow machine had settled before
    assert build() == []
    (root / "src/new.py").chmod(0o600)
    time.sleep(0.06)
    assert build() == ["new.py"]
    assert build() == []


def test_torn_rows_are_rows_that_are_not_there(root: Path, tmp_path: Path) -> None:
    """Whatever stands in the file of digests, the answer is right."""
    kept = tmp_path / "kept"
    time.sleep(0.06)
    first = digest(root, "src", digests=kept)
    whole = next(kept.iterdir()).read_bytes()
    for torn in (b"", b"{", whole[:30], whole[:-1], whole + b"\0", whole.replace(b"one.py", b"two.py")):
        next(kept.iterdir()).write_bytes(torn)
        assert digest(root, "src", digests=kept) == first


def test_contexts_do_not_mix(root: Path, tmp_path: Path) -> None:
    """Each has rows of its own; those of the contexts used longest ago are forgotten."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.txt").hardlink_to(root / "a.txt")
    time.sleep(0.06)
    kept = tmp_path / "kept"
    assert digest(root, "a.txt", digests=kept) == digest(other, "a.txt", digests=kept)
    assert len(list(kept.iterdir())) == 2

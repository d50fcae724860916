from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbcontainers.errors import NotFound
from nbcontainers.events import Event, Progress, Warned
from nbcontainers.linux.idmap import of_host
from nbcontainers.oci.image import Image, Index, to_bytes
from nbcontainers.store import interpreter, inventory, toolbox
from nbcontainers.store.bytecode import Compilation
from nbcontainers.store.store import Store
from tests.store.random_images import random_image
from tests.store.validate import validate

ROOT = Path(__file__).parent.parent.parent
ENVIRONMENT = {"PATH": toolbox.PATH, "LANG": "C.UTF-8", "HOME": "/root"}
MODULES = "import ssl, sqlite3, json, ctypes, zoneinfo, hashlib, lzma, bz2, asyncio, venv"
IMPORTS = f"{MODULES}; found = ssl.create_default_context().get_ca_certs(); print(zoneinfo.ZoneInfo('Europe/Berlin'), found != [])"


ENTER = """mount --rbind /proc "$0/proc" && exec chroot "$0" "$@\""""  # the loader asks /proc where a program stands


def can_chroot(*before: str) -> bool:
    return subprocess.run([*before, "sh", "-c", ENTER, "/", "true"], capture_output=True, check=False).returncode == 0


CHROOT = ("unshare", "-m") if os.geteuid() == 0 and can_chroot("unshare", "-m") else ("unshare", "-Urm")
needs_chroot = pytest.mark.skipif(
    not can_chroot(*CHROOT), reason="needs root or a user namespace (unshare -Urm chroot)"
)


def needs(tool: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not shutil.which(tool), reason=f"needs {tool}")


def unpack(store: Store, image: Image, folder: Path) -> Path:
    """The image's files by tar(1), which knows nothing of ours."""
    for layer in image.layers:
        subprocess.run(["tar", "-xpzf", store.content.path(layer.digest), "-C", folder], check=True)
    return folder


def inside(tree: Path, *words: str, before: tuple[str, ...] = CHROOT) -> str:
    """What a command prints in the tree, with nothing of this environment."""
    done = subprocess.run(
        [*before, "sh", "-c", ENTER, tree, *words],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(module_path: Path) -> Iterator[tuple[Store, Image, list[Event]]]:
    """A toolbox of this host, its store, and what was said while it was made."""
    events: list[Event] = []
    with Store(module_path / "store", identity=of_host()) as store:
        yield store, toolbox.build(store, on_event=events.append), events


@pytest.fixture(scope="module")
def tree(built: tuple[Store, Image, list[Event]]) -> Iterator[Path]:
    """Its files, in a folder that other users may enter."""
    store, image, _ = built
    folder = Path(tempfile.mkdtemp(prefix="nbc-toolbox-"))
    folder.chmod(0o755)
    yield unpack(store, image, folder)
    subprocess.run(["chmod", "-R", "u+rwX", folder], check=True)
    shutil.rmtree(folder)


def test_it_is_a_whole_image_with_a_name(built: tuple[Store, Image, list[Event]]) -> None:
    """Tag, defaults, a line of history for each layer, fixed times; every digest is that of its bytes."""
    store, image, events = built
    validate(store, image)
    assert store.images.resolve("toolbox").id == image.id
    assert image.name == "toolbox:latest"
    assert image.config.config.cmd == ("/bin/sh",)
    assert f"PATH={toolbox.PATH}" in image.config.config.env
    assert image.config.created == "1970-01-01T00:00:00Z"
    lines = [line.created_by for line in image.config.history if not line.empty_layer]
    assert lines == [
        "toolbox: base files and shell",
        "toolbox: core programs",
        f"toolbox: Python {'.'.join(map(str, sys.version_info[:3]))}",
    ]
    assert len(image.layers) == len(lines)
    progress = [event for event in events if isinstance(event, Progress)]
    assert progress[0].done == 0
    assert progress[-1].done == progress[-1].total


def test_the_same_host_gives_the_same_digest(built: tuple[Store, Image, list[Event]], tmp_path: Path) -> None:
    """In another process, with another hash seed, umask, time zone, language and PATH, from another folder."""
    script = (
        "import os, sys, pathlib; os.umask(0o077)\n"
        "from nbcontainers.linux.idmap import of_host\n"
        "from nbcontainers.store.store import Store\n"
        "from nbcontainers.store import toolbox\n"
        "with Store(pathlib.Path(sys.argv[1]), identity=of_host()) as store: print(toolbox.build(store).id)"
    )
    environment = {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C", "PATH": f"{tmp_path}:/usr/bin:/bin"}
    environment |= {"PYTHONPATH": str(ROOT), "HOME": os.environ.get("HOME", "/")}
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "store"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == built[1].id


def test_an_unchanged_host_is_not_read_again(
    built: tuple[Store, Image, list[Event]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second call only looks the image up."""
    store, image, _ = built
    monkeypatch.setattr(inventory, "gather", None)
    assert toolbox.build(store) == image


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A toolbox of few programs and no standard library, made in no time."""
    python = dataclasses.replace(interpreter.running(), libraries=())
    monkeypatch.setattr(inventory, "PROGRAMS", ["cat"])
    monkeypatch.setattr(interpreter, "running", lambda: python)


@pytest.mark.usefixtures("small")
def test_a_toolbox_that_was_removed_is_made_again(store: Store) -> None:
    """What is remembered of an image does not stand in for it."""
    image = toolbox.build(store)
    store.images.remove("toolbox")
    assert not store.images.list()
    assert toolbox.build(store).id == image.id
    for record in (store.root / "cache").iterdir():
        record.write_bytes(b"torn")
    assert toolbox.build(store).id == image.id


@pytest.mark.usefixtures("small")
def test_a_program_from_anywhere_comes_along_and_its_change_is_seen(tmp_path: Path, store: Store) -> None:
    """``extra`` takes paths; they stand in PATH, in a layer of their own, and a changed file makes another image."""
    script = tmp_path / "bin" / "greet"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\necho hello\n")
    script.chmod(0o755)
    events: list[Event] = []
    first = toolbox.build(store, extra=[str(script)], on_event=events.append)
    assert first.config.history[3].created_by == "toolbox: greet"
    assert len(first.layers) == 4
    assert any(isinstance(event, Warned) and "is a script" in event.message for event in events)
    assert str(tmp_path) not in str(first.config.to_json())
    script.write_text("#!/bin/sh\necho goodbye\n")
    second = toolbox.build(store, extra=[str(script)])
    assert second.layers[:3] == first.layers[:3]
    assert second.layers[3] != first.layers[3]
    if can_chroot(*CHROOT):
        (tmp_path / "tree").mkdir()
        assert inside(unpack(store, second, tmp_path / "tree"), "greet") == "goodbye\n"


@needs_chroot
def test_a_script_finds_the_python_that_is_there(tmp_path: Path, store: Store) -> None:
    """Whichever Python its first line names, of the system or of a virtual environment, inside it is the image's."""
    (tmp_path / "bin").mkdir()
    lines = {
        "system": "#!/usr/bin/python3",
        "looked-up": "#!/usr/bin/env python3",
        "venv": f"#!{tmp_path}/bin/python -S",
    }
    for name, line in lines.items():
        (tmp_path / "bin" / name).write_text(f"{line}\nimport sys; print(sys.version)\n")
        (tmp_path / "bin" / name).chmod(0o755)
    image = toolbox.build(store, extra=[str(tmp_path / "bin" / name) for name in lines])
    (tmp_path / "tree").mkdir()
    tree = unpack(store, image, tmp_path / "tree")
    for name in lines:
        assert inside(tree, name) == f"{sys.version}\n"
    first = [line.read_text().partition("\n")[0] for line in (tree / "opt").rglob("bin/venv")]
    assert first == ["#!/opt/looked-up/bin/python -S"], "programs of one folder stay together"


@pytest.mark.usefixtures("small")
def test_the_name_means_what_was_asked_for_last(tmp_path: Path, store: Store) -> None:
    """Without an image one is made; chosen programs stay chosen; an image from elsewhere is let be."""
    plain = toolbox.current(store)
    assert plain == toolbox.build(store)
    script = tmp_path / "greet"
    script.write_text("#!/bin/sh\necho hello\n")
    script.chmod(0o755)
    chosen = toolbox.build(store, extra=[str(script)])
    assert toolbox.current(store) == chosen
    script.write_text("#!/bin/sh\necho goodbye\n")
    assert toolbox.current(store).layers[:-1] == chosen.layers[:-1]
    assert toolbox.current(store) != chosen
    with store.lease():
        store.images.tag(random_image(store, 1), toolbox.REFERENCE)
    assert toolbox.current(store).id == store.images.resolve("toolbox").id != plain.id


@pytest.mark.usefixtures("small")
def test_what_cannot_come_along_is_named(tmp_path: Path, store: Store) -> None:
    """A program that is not there, and a library that one needs, are told by their names; no tag is made."""
    with pytest.raises(NotFound, match="no program 'nbc-no-such-program' on this host") as missing:
        toolbox.build(store, extra=["nbc-no-such-program"])
    assert missing.value.hint
    with pytest.raises(NotFound, match="no program"):
        toolbox.build(store, extra=[str(tmp_path / "nothing")])
    assert not store.images.list()


@needs("cc")
@pytest.mark.usefixtures("small")
def test_a_program_with_its_own_libraries_works_elsewhere(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by $ORIGIN, by an absolute search path into a home folder, or by LD_LIBRARY_PATH: inside it runs without."""

    def cc(name: str, source: str, *flags: str) -> None:
        target = tmp_path / name
        target.parent.mkdir(exist_ok=True)
        words = ["cc", "-o", target, "-x", "c", "-", "-x", "none", *flags]
        subprocess.run(words, input=source, text=True, check=True, cwd=tmp_path)

    for name in ("own", "far", "env"):
        cc(
            f"{name}/libnbc{name}.so",
            f"int {name}(void) {{ return 1; }}",
            "-shared",
            "-fPIC",
            f"-Wl,-soname,libnbc{name}.so",
        )
    cc(
        "own/app",
        '#include <stdio.h>\nint own(void), far(void), env(void); int main(void) { printf("%d\\n", own() + far() + env()); }',
        *(f"{name}/libnbc{name}.so" for name in ("own", "far", "env")),
        f"-Wl,-rpath,$ORIGIN:{tmp_path}/far",
    )
    with pytest.raises(NotFound, match=r"libnbcenv\.so"):
        toolbox.build(store, extra=[str(tmp_path / "own/app")])
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path / "env"))
    image = toolbox.build(store, extra=[str(tmp_path / "own/app")])
    if can_chroot(*CHROOT):
        (tmp_path / "tree").mkdir()
        assert inside(unpack(store, image, tmp_path / "tree"), "app") == "3\n"


@needs_chroot
def test_its_programs_run(tree: Path) -> None:
    """Shell, coreutils, find, grep, sed, awk, tar, gzip and Python run with nothing but what is in the image."""
    assert inside(tree, "sh", "-c", "echo $((6 * 7)) | sed s/4/5/ | grep -o 5.") == "52\n"
    assert inside(tree, "id", "-un") == "root\n"
    assert inside(tree, "sh", "-c", "find /etc -name passwd | head -1") == "/etc/passwd\n"
    assert inside(tree, "sh", "-c", "tar -cf - etc/passwd | gzip | gunzip | tar -t") == "etc/passwd\n"
    assert inside(tree, "awk", "BEGIN { print 6 * 7 }") == "42\n"
    assert inside(tree, "sh", "-c", "TZ=Asia/Tokyo date +%Z") == "JST\n"
    for tool in ("ps", "ip", "less", "xz"):
        if shutil.which(tool, path=toolbox.PATH):
            assert inside(tree, "sh", "-c", f"{tool} --version || {tool} -V")


@needs_chroot
def test_its_python_is_whole(tree: Path) -> None:
    """``python3`` and ``python`` are in PATH, import what has libraries of its own, and know certificates and time zones."""
    for name in ("python3", "python"):
        assert inside(tree, name, "-c", IMPORTS) == "Europe/Berlin True\n"
    version = inside(tree, "python3", "-c", "import sys; print(sys.version)")
    assert version == f"{sys.version}\n"
    missing = (
        "import sys; print([m for m in sys.stdlib_module_names if not __import__('importlib.util').util.find_spec(m)])"
    )
    left_out = set(eval(inside(tree, "python3", "-c", missing)))
    here = {name for name in left_out if __import__("importlib.util").util.find_spec(name)}
    assert here <= {"idlelib", "tkinter", "_tkinter", "turtle", "turtledemo", "test"} | {
        n for n in here if "xx" in n or "test" in n
    }


@needs_chroot
def test_nothing_is_compiled_inside(tree: Path) -> None:
    """Modules come with bytecode that is never checked, so a run changes no file of the image."""
    before = sorted(str(path) for path in tree.rglob("*"))
    inside(tree, "python3", "-c", f"{MODULES}, unittest, http.server, email.mime.text, xml.dom.minidom, logging.config")
    assert sorted(str(path) for path in tree.rglob("*")) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_an_ordinary_user_runs_it_in_a_user_namespace(tree: Path) -> None:
    """uid 1000 enters with ``unshare -Ur`` and is root inside."""
    user = ("setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "unshare", "-Urm")
    if not can_chroot(*user):
        pytest.skip("needs user namespaces for ordinary users")
    assert inside(tree, "id", "-u", before=user) == "0\n"
    assert inside(tree, "python3", "-c", IMPORTS, before=user) == "Europe/Berlin True\n"


def test_nothing_of_the_host_shows(tree: Path) -> None:
    """No name of a home folder, of a user or of the place where a moved Python was stands in any file or link."""
    python = interpreter.running()
    words = [os.uname().nodename] if len(os.uname().nodename) > 6 else []
    if python.move:
        words.append(python.move.old)
    home = os.path.expanduser("~")
    if home not in ("/", "/root"):
        words.append(home)
    for word in words:
        found = subprocess.run(["grep", "-rlaF", "--", word, tree], capture_output=True, text=True, check=False).stdout
        assert found == "", f"{word} is in {found}"
    targets = [os.readlink(path) for path in tree.rglob("*") if path.is_symlink()]
    assert not [target for target in targets if target.startswith(("/home", "/root", "/tmp", "/work"))]


def test_users_and_folders_are_the_usual_ones(tree: Path) -> None:
    """root and nobody, /tmp for everybody, /root for root, links as the host has them, and none that leads nowhere."""
    assert (tree / "tmp").stat().st_mode & 0o7777 == 0o1777
    assert (tree / "var/tmp").stat().st_mode & 0o7777 == 0o1777
    assert (tree / "root").stat().st_mode & 0o7777 == 0o700
    passwd = (tree / "etc/passwd").read_text()
    assert passwd.startswith("root:x:0:0:")
    assert "nobody:x:65534:65534:" in passwd
    assert (tree / "etc/resolv.conf").read_bytes() == b""
    assert "nbcontainers toolbox" in (tree / "usr/lib/os-release").read_text()
    for name in ("bin", "sbin", "lib"):
        assert (tree / name).is_symlink() == Path(f"/{name}").is_symlink()
    for path in tree.rglob("*"):
        if path.is_symlink():
            target = os.readlink(path)
            final = tree / target.lstrip("/") if target.startswith("/") else path.parent / target
            parts = final.relative_to(tree).parts if final.is_relative_to(tree) else ()
            if parts[:1] not in (("proc",), ("etc",)):
                assert os.path.lexists(final), f"{path} leads to {target}"
        elif path.is_file():
            assert path.stat().st_mode & 0o7777 in (0o755, 0o644)


@needs("skopeo")
@pytest.mark.peer("skopeo")
def test_skopeo_accepts_it(built: tuple[Store, Image, list[Event]], tmp_path: Path) -> None:
    """skopeo copies the image out of the store's layout and inspects it."""
    store, image, _ = built
    layout = as_layout(store, image, tmp_path)
    done = subprocess.run(["skopeo", "inspect", f"oci:{layout}:toolbox"], capture_output=True, text=True, check=True)
    assert image.layers[0].digest in done.stdout
    subprocess.run(["skopeo", "copy", f"oci:{layout}:toolbox", f"dir:{tmp_path}/dir"], capture_output=True, check=True)


@needs("umoci")
@pytest.mark.peer("umoci")
def test_umoci_unpacks_it(built: tuple[Store, Image, list[Event]], tmp_path: Path) -> None:
    """umoci makes a bundle out of it whose files are those of the layers."""
    store, image, _ = built
    layout = as_layout(store, image, tmp_path)
    words = [
        "umoci",
        "unpack",
        *(() if os.geteuid() == 0 else ("--rootless",)),
        "--image",
        f"{layout}:toolbox",
        tmp_path / "bundle",
    ]
    subprocess.run(words, capture_output=True, check=True)
    assert (tmp_path / "bundle/rootfs/etc/passwd").read_text().startswith("root:")


def as_layout(store: Store, image: Image, folder: Path) -> Path:
    """An OCI layout with one image, by hand."""
    layout = folder / "layout"
    (layout / "blobs/sha256").mkdir(parents=True)
    for digest in (image.descriptor.digest, image.id, *(layer.digest for layer in image.layers)):
        os.link(store.content.path(digest), layout / "blobs/sha256" / digest.hex)
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    named = dataclasses.replace(image.descriptor, annotations={"org.opencontainers.image.ref.name": "toolbox"})
    (layout / "index.json").write_bytes(to_bytes(Index(manifests=(named,))))
    return layout


def pythons() -> list[tuple[Path, bool]]:
    """Interpreters of this host that can run the project, as they are and in a virtual environment; not the one that runs this."""
    own = Path(sys.base_prefix) / "bin/python3"
    candidates = [path for path in (Path("/usr/bin/python3"), Path("/usr/local/bin/python3"), own) if path.exists()]
    found = [(path, environment) for path in dict.fromkeys(candidates) for environment in (False, True)]
    return [pair for pair in found if pair != (own, sys.prefix != sys.base_prefix)]


@pytest.mark.slow
@needs_chroot
@pytest.mark.parametrize(("python", "environment"), pythons(), ids=str)
def test_other_pythons_come_along_too(python: Path, environment: bool, tmp_path: Path) -> None:
    """A system's Python, one in a home folder, and a virtual environment of each are whole inside."""
    packages = [path for path in sys.path if path.endswith("site-packages")]
    variables = {"PYTHONPATH": os.pathsep.join([str(ROOT), *packages]), "PATH": os.environ["PATH"]}
    if environment:
        subprocess.run([python, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
        python = tmp_path / "venv/bin/python3"
    script = (
        "import sys, pathlib\n"
        "from nbcontainers.linux.idmap import of_host\n"
        "from nbcontainers.store.store import Store\n"
        "from nbcontainers.store import toolbox\n"
        "with Store(pathlib.Path(sys.argv[1]), identity=of_host()) as store: toolbox.build(store)\n"
        "print(sys.version)"
    )
    done = subprocess.run(
        [python, "-c", script, tmp_path / "store"], env=variables, capture_output=True, text=True, check=False
    )
    if "Error: No module named" in done.stderr or "cannot import name" in done.stderr:
        pytest.skip(f"needs the project's dependencies for {python}")
    assert done.returncode == 0, done.stderr
    with Store(tmp_path / "store", identity=of_host()) as store:
        (tmp_path / "tree").mkdir()
        tree = unpack(store, store.images.resolve("toolbox"), tmp_path / "tree")
    assert inside(tree, "python3", "-c", IMPORTS) == "Europe/Berlin True\n"
    assert inside(tree, "python", "-c", "import sys; print(sys.version)") == done.stdout
    assert not subprocess.run(["grep", "-rlF", str(tmp_path), tree], capture_output=True, check=False).stdout


def test_bytecode_is_the_same_every_time(tmp_path: Path) -> None:
    """Sets, shared strings and the order of other modules do not show in it; what is no Python is left out."""
    (tmp_path / "a.py").write_text("x = {'one', 'two', 'three'}\ndef f(y=(1, 2)): return y in {'a', 'b', 'c'}\n")
    modules: list[tuple[str | bytes, str]] = [(str(tmp_path / "a.py"), "/a.py"), (b"def", "/b.py"), (b"y = 1", "/c.py")]
    made = []
    for _ in range(2):
        with Compilation(sys.executable, modules) as compilation:
            made.append(compilation.result())
    assert made[0] == made[1]
    assert made[0] is not None
    assert made[0][1] is None
    code = made[0][0]
    assert code is not None
    assert int.from_bytes(code[4:8], "little") == 1, "hash-based and unchecked, PEP 552"


def test_a_compiler_that_fails_is_no_failure() -> None:
    """An interpreter that cannot be started in this way gives no bytecode, and nothing hangs."""
    with Compilation("/bin/false", [(b"x = 1", "/x.py")]) as compilation:
        assert compilation.result() is None

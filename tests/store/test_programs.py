from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbcontainers.store.programs import Host, default_folders, read, read_cache

needs_cc = pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler (cc)")
SHELL = os.path.realpath("/bin/sh")


def cc(folder: Path, name: str, *flags: str, source: str = "int main(void) { return 0; }") -> Path:
    """Compile a program or, with -shared, a library."""
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["cc", "-o", target, "-x", "c", "-", "-x", "none", *flags], input=source, text=True, check=True, cwd=folder
    )
    return target


def library(folder: Path, name: str, *flags: str, function: str = "f") -> Path:
    return cc(
        folder,
        name,
        "-shared",
        "-fPIC",
        f"-Wl,-soname,{Path(name).name}",
        *flags,
        source=f"int {function}(void) {{ return 1; }}",
    )


def test_the_shells_loader_and_libraries_are_those_that_the_loader_takes() -> None:
    """What is found for programs of this host is what their own loader lists."""
    host = Host()
    programs = [host.program(name) for name in ("sh", "ls", "grep", "tar")]
    for program in filter(None, programs):
        needs = host.needs(program)
        if not needs.loader:
            continue
        assert needs.missing == ()
        listed = subprocess.run([needs.loader, "--list", program], capture_output=True, text=True, check=True).stdout
        for entry in needs.libraries:
            (line,) = (line for line in listed.splitlines() if line.strip().startswith(f"{entry.name} "))
            assert os.path.realpath(line.split()[2]) == os.path.realpath(entry.path)


@needs_cc
def test_a_library_beside_its_program_is_found_by_origin(tmp_path: Path) -> None:
    """RUNPATH with $ORIGIN means the folder of the file that it stands in, also when a link leads there."""
    library(tmp_path, "lib/libnbcown.so.1")
    cc(tmp_path, "bin/app", "-Wl,--no-as-needed", "lib/libnbcown.so.1", "-Wl,--enable-new-dtags,-rpath,$ORIGIN/../lib")
    (tmp_path / "elsewhere").symlink_to(tmp_path / "bin/app")
    for path in (tmp_path / "bin/app", tmp_path / "elsewhere"):
        needs = Host().needs(str(path))
        (found,) = (entry for entry in needs.libraries if entry.name == "libnbcown.so.1")
        assert found.path == str(tmp_path / "lib/libnbcown.so.1")
        assert found.folder == "$ORIGIN/../lib"
        assert needs.missing == ()


@needs_cc
@pytest.mark.parametrize(("tags", "missing"), [("--disable-new-dtags", ()), ("--enable-new-dtags", ("libnbcdeep.so",))])
def test_rpath_serves_libraries_of_libraries_and_runpath_does_not(
    tmp_path: Path, tags: str, missing: tuple[str, ...]
) -> None:
    """As ld.so(8) has it: DT_RPATH is handed on to what is loaded below, DT_RUNPATH is not."""
    library(tmp_path, "lib/libnbcdeep.so", function="deep")
    library(tmp_path, "lib/libnbcmid.so", "-Wl,--no-as-needed", "lib/libnbcdeep.so")
    cc(
        tmp_path,
        "app",
        "-Wl,--no-as-needed",
        "lib/libnbcmid.so",
        "-Wl,--allow-shlib-undefined,-rpath-link,lib",
        f"-Wl,{tags},-rpath,{tmp_path}/lib",
    )
    assert Host().needs(str(tmp_path / "app")).missing == missing
    works = subprocess.run([tmp_path / "app"], capture_output=True, check=False)
    assert (works.returncode == 0) == (missing == ())


@needs_cc
def test_a_missing_library_is_named(tmp_path: Path) -> None:
    """A library that is nowhere on the host is in ``missing``, and the others are found all the same."""
    library(tmp_path, "libnbcgone.so")
    app = cc(tmp_path, "app", "-Wl,--no-as-needed", "libnbcgone.so")
    (tmp_path / "libnbcgone.so").unlink()
    needs = Host().needs(str(app))
    assert needs.missing == ("libnbcgone.so",)
    assert any(entry.name.startswith("libc.") for entry in needs.libraries)


@needs_cc
def test_a_static_program_needs_nothing(tmp_path: Path) -> None:
    """A static program has neither loader nor libraries."""
    try:
        app = cc(tmp_path, "app", "-static")
    except subprocess.CalledProcessError:
        pytest.skip("needs a static C library")
    needs = Host().needs(str(app))
    assert (needs.loader, needs.libraries, needs.missing, needs.programs) == ("", (), (), ())


def test_a_script_needs_its_interpreter(tmp_path: Path) -> None:
    """Of ``#!/usr/bin/env NAME`` both are needed, options and settings of env aside."""
    host = Host()
    for line, expected in (
        ("#!/bin/sh", ("/bin/sh",)),
        ("#! /bin/sh -e", ("/bin/sh",)),
        ("#!/usr/bin/env sh", ("/usr/bin/env", host.program("sh"))),
        ("#!/usr/bin/env -S A=1 sh -e", ("/usr/bin/env", host.program("sh"))),
        ("#!", ()),
        ("echo no interpreter", ()),
    ):
        script = tmp_path / "script"
        script.write_text(f"{line}\necho\n")
        assert host.needs(str(script)).programs == expected


def test_programs_come_from_the_system_before_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PATH is asked last, so that an activated environment does not change what the toolbox is made of."""
    for name in ("sh", "nbc-own-program"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    host = Host()
    assert not host.program("sh").startswith(str(tmp_path))
    assert host.program("nbc-own-program") == str(tmp_path / "nbc-own-program")
    assert host.program("nbc-no-such-program") == ""
    assert host.program(str(tmp_path / "sh")) == str(tmp_path / "sh")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_file_is_no_program(data: st.DataObject) -> None:
    """Whatever stands behind the magic number, reading ends with an answer."""
    with open(SHELL, "rb") as stream:
        head = bytearray(stream.read(4096))
    for _ in range(data.draw(st.integers(1, 8))):
        head[data.draw(st.integers(4, len(head) - 1))] = data.draw(st.integers(0, 255))
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"nbc-damaged-{os.getpid()}"
    path.write_bytes(head[: data.draw(st.integers(0, len(head)))])
    try:
        read(str(path))
    finally:
        path.unlink()


def test_the_cache_of_the_loader_is_read() -> None:
    """Every library that ldconfig prints is known, with its path."""
    ldconfig = shutil.which("ldconfig", path="/sbin:/usr/sbin")
    if not ldconfig or not os.path.exists("/etc/ld.so.cache"):
        pytest.skip("needs ldconfig and its cache")
    known = read_cache(Path("/etc/ld.so.cache").read_bytes())
    printed = subprocess.run([ldconfig, "-p"], capture_output=True, text=True, check=True).stdout.splitlines()[1:]
    for line in printed:
        name, _, path = line.strip().partition(" ")
        if "=>" in path and "hwcap" not in path:
            assert path.rpartition("=> ")[2] in known[name]
    assert read_cache(b"") == {}
    assert read_cache(b"glibc-ld.so.cache1.1" + bytes([255]) * 60) == {}


def test_the_loaders_own_folder_is_always_searched() -> None:
    """Wherever a distribution has put it: lib64, a multiarch folder, a store."""
    loader = Host().needs(SHELL).loader
    if loader and "musl" not in loader:
        assert os.path.dirname(os.path.realpath(loader)) in default_folders(loader)
    assert "/usr/lib" in default_folders("")
    assert default_folders("/lib/ld-musl-nowhere.so.1")[0] == "/lib"

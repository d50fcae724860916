"""In what two images of 100,000 files differ, where one file in a hundred does.

Ours compares the indexes that were written when the layers were committed or unpacked; nothing of the trees is touched. Once the
images share a base and differ in what is above it, as two builds of one Dockerfile do, and once they share nothing. ``docker
diff`` does a part of this: it names the paths that a container changed on top of its image, without content, sizes or
packages; here it is given a container of the first image in which the same files were written.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

from nbcontainers.results import ImageDiff

from . import image
from .docker import Docker
from .harness import OURS, Contender, Session, Table, Target, main
from .image import Base
from .ours import Ours

FILES, CHANGED, FOLDER = 100_000, 100, 50
SCRIPT = "for n in $(seq 0 {step} {last}); do echo changed > /tree/$((n / {folder}))/file-$n; done"


def tables(session: Session) -> Iterator[Table]:
    """Above a common base, then with nothing in common."""
    files = FILES // 50 if session.quick else FILES
    folder = session.folder
    ours = session.stack.enter_context(Ours(folder))
    base = Base.at(folder).layer.read_bytes()
    whole, above = packed(files), packed(files, step=CHANGED, every=False)
    archives = {
        "bench-before:latest": [base, whole],
        "bench-above:latest": [base, whole, above],
        "bench-other:latest": [packed(files, step=CHANGED)],
    }
    for name, layers in archives.items():
        image.write(folder / f"{name.partition(':')[0]}.tar", name, layers)
        with (folder / f"{name.partition(':')[0]}.tar").open("rb") as stream:
            ours.engine.load(stream)
        ours.engine.layers(name)  # unpacked, with its indexes
    docker = session.open(Docker)
    expected = -(-files // CHANGED)

    def diff(after: str) -> ImageDiff:
        return ours.engine.image_diff("bench-before:latest", after)

    assert len(diff("bench-above:latest").files) == expected
    contenders = [Contender(name=OURS, run=lambda: diff("bench-above:latest"))]
    if docker is not None:
        contenders.append(container_diff(docker, folder / "bench-before.tar", files, expected))
    targets = (Target(limit=100), Target(peer="docker diff", limit=0.1))
    shape = f"{files:,} files, {expected:,} of them changed"
    yield Table(title=f"diff of two images on a common base ({shape})", targets=targets).in_turn(
        contenders, session.rounds(full=7)
    )
    yield Table(title=f"diff of two images that share no layer ({shape})", targets=(Target(limit=100),)).in_turn(
        [Contender(name=OURS, run=lambda: diff("bench-other:latest"))], session.rounds(full=20)
    )


def packed(files: int, *, step: int = 0, every: bool = True) -> bytes:
    """A gzipped layer of small files in folders; each ``step``th has another content, and the others are there or not."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for number in range(files):
            if number % FOLDER == 0 and every:
                entry = tarfile.TarInfo(f"tree/{number // FOLDER}")
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(entry)
            other = bool(step) and number % step == 0
            if other or every:
                content = f"{number} {'other' if other else 'same'}\n".encode()
                entry = tarfile.TarInfo(f"tree/{number // FOLDER}/file-{number}")
                entry.size, entry.mode = len(content), 0o644
                archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(made.getvalue(), 1, mtime=0)


def container_diff(docker: Docker, archive: Path, files: int, expected: int) -> Contender:
    """``docker diff`` of a container that wrote the same files."""
    docker.run(docker.command("load", "--input", str(archive)))
    script = SCRIPT.format(step=CHANGED, last=files - 1, folder=FOLDER)
    docker.run(
        docker.command("run", "--name", "differs", "--network", "none", "bench-before:latest", "/bin/sh", "-c", script)
    )
    listed = [line for line in docker.ask("diff", "differs").splitlines() if "/file-" in line]
    assert len(listed) == expected, listed[:3]
    return Contender(name="docker diff", run=lambda: docker.ask("diff", "differs"))


if __name__ == "__main__":
    main("differences", tables)

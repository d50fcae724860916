"""The files that the corpus copies: those of usual projects, archives, links, odd names, modes and times."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
from pathlib import Path

FILES = {
    "package.json": '{"name": "app"}\n',
    "package-lock.json": "{}\n",
    "yarn.lock": "",
    "src/index.js": "console.log(1)\n",
    "src/lib/util.js": "exports.x = 1\n",
    "src/lib/util.test.js": "test\n",
    "src/styles/main.css": "body {}\n",
    "public/index.html": "<html></html>\n",
    "public/img/logo.svg": "<svg/>\n",
    "requirements.txt": "flask==3\n",
    "requirements-dev.txt": "pytest\n",
    "app.py": "print('hello')\n",
    "setup.py": "setup()\n",
    "app/__init__.py": "",
    "app/main.py": "x = 1\n",
    "app/templates/base.html": "{}\n",
    "app/__pycache__/main.pyc": "bytes\n",
    "go.mod": "module x\n",
    "go.sum": "sum\n",
    "main.go": "package main\n",
    "cmd/server/main.go": "package main\n",
    "pkg/a/a.go": "package a\n",
    "pom.xml": "<project/>\n",
    "java/src/main/App.java": "class App {}\n",
    "nginx.conf": "events {}\n",
    "conf.d/default.conf": "server {}\n",
    "conf.d/gzip.conf": "gzip on;\n",
    "docker-entrypoint.sh": '#!/bin/sh\nexec "$@"\n',
    "scripts/start.sh": "#!/bin/sh\necho start\n",
    "scripts/build.sh": "#!/bin/sh\necho build\n",
    "config/app.yml": "a: 1\n",
    "config/dev/db.yml": "b: 2\n",
    "docs/README.md": "# docs\n",
    "docs/guide/intro.md": "# intro\n",
    "README.md": "# readme\n",
    "LICENSE": "free\n",
    ".env": "SECRET=1\n",
    ".git/HEAD": "ref: refs/heads/main\n",
    ".gitignore": "*.pyc\n",
    "with space.txt": "space\n",
    "odd/[x].txt": "brackets\n",
    "odd/a*b.txt": "star\n",
    "odd/x.txt": "plain\n",
    "a.txt": "a\n",
    "b.txt": "b\n",
    "deep/one/two/three/file": "deep\n",
    "deep/one/other": "other\n",
    "private/key": "key\n",
}
MODES = {
    "docker-entrypoint.sh": 0o755,
    "scripts/start.sh": 0o755,
    "private": 0o700,
    "private/key": 0o600,
    "b.txt": 0o640,
}
LINKS = {"link-to-file": "a.txt", "link-to-folder": "src", "src/relative": "../a.txt", "broken": "nowhere"}
TIME = 1_000_000_000


def make(folder: Path) -> Path:
    """Fill a folder; it is the same whoever does it and when."""
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "empty").mkdir()
    for name, target in LINKS.items():
        (folder / name).symlink_to(target)
    data = _archive()
    (folder / "app.tar").write_bytes(data)
    (folder / "app.tar.gz").write_bytes(gzip.compress(data, mtime=0))
    (folder / "app.tgz").write_bytes(gzip.compress(data, mtime=0))
    (folder / "app.tar.bz2").write_bytes(bz2.compress(data))
    (folder / "app.tar.xz").write_bytes(lzma.compress(data))
    (folder / "text.gz").write_bytes(gzip.compress(b"no archive\n", mtime=0))
    (folder / "named.tar").write_text("no archive either\n")
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(MODES.get(str(path.relative_to(folder)), 0o755 if path.is_dir() else 0o644))
    for above, folders, files in os.walk(folder, topdown=False):
        for name in (*folders, *files):
            os.utime(f"{above}/{name}", (TIME, TIME), follow_symlinks=False)
    folder.chmod(0o755)
    return folder


def _archive() -> bytes:
    """An archive with every kind of entry, and a folder that none speaks of."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:

        def add(name: str, kind: bytes = tarfile.REGTYPE, content: bytes = b"", **about: object) -> None:
            info = tarfile.TarInfo(name)
            info.type, info.size, info.mtime = kind, len(content), TIME - 1
            info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
            for key, value in about.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))

        add("./", tarfile.DIRTYPE, mode=0o700, uid=9, gid=9)
        add("top/", tarfile.DIRTYPE, mode=0o750, uid=5, gid=6)
        add("top/file", content=b"file\n", uid=5, gid=6, mode=0o600)
        add("top/program", content=b"#!/bin/sh\n", mode=0o4755)
        add("top/hard", tarfile.LNKTYPE, linkname="top/file", uid=5, gid=6, mode=0o600)
        add("top/soft", tarfile.SYMTYPE, linkname="file", mode=0o777)
        add("top/away", tarfile.SYMTYPE, linkname="/etc/passwd", mode=0o777)
        add("unsaid/inner/file", content=b"inner\n")
    return stream.getvalue()

"""Results as the engine gives them, for the tests of how they are shown: ordinary ones, large ones and hostile ones."""

from __future__ import annotations

import hashlib

from nbcontainers.oci.descriptor import Digest
from nbcontainers.results import (
    BuildStep,
    ContainerState,
    Entry,
    FileChange,
    ImageDiff,
    Layer,
    LayerStack,
    PackageChange,
    SettingChange,
    Usage,
)

HOSTILE = "<img src=x onerror=alert(1)>"
ESCAPE = "\x1b]0;owned\x07\x1b[2J\u202egpj.exe"


def digest(word: str) -> Digest:
    return Digest("sha256:" + hashlib.sha256(word.encode(errors="surrogateescape")).hexdigest())


def layer(instruction: str, size: int = 0, **more) -> Layer:
    if not size and not more:
        return Layer(instruction=instruction, digest=None, diff_id=None)
    return Layer(
        instruction=instruction,
        digest=digest("blob" + instruction),
        diff_id=digest(instruction),
        size=size,
        stored_size=more.pop("stored_size", size * 36 // 100),
        **more,
    )


def files(*pairs: tuple[str, int]) -> tuple[Entry, ...]:
    return tuple(Entry(path=path, kind="file", size=size, mode=0o644) for path, size in pairs)


def stack(layers: tuple[Layer, ...] | None = None, name: str = "demo:latest") -> LayerStack:
    """The stack of a small image such as the first notebook builds."""
    layers = layers if layers is not None else DEMO
    size, wasted = sum(one.size for one in layers), sum(one.wasted for one in layers)
    return LayerStack(
        name=name,
        id=digest(name),
        platform="linux/amd64",
        layers=layers,
        size=size,
        stored_size=sum(one.stored_size for one in layers),
        wasted=wasted,
        efficiency=1 - wasted / size if size else 1.0,
    )


DEMO = (
    layer(
        "toolbox: programs and libraries of this host",
        61_203_456,
        stored_size=22_417_910,
        added=2914,
        wasted=812_044,
        shared_with=("toolbox:latest", "hello:latest"),
        largest=files(
            ("usr/bin/python3.11", 6_831_704),
            ("usr/lib/x86_64-linux-gnu/libcrypto.so.3", 4_734_648),
            ("usr/lib/x86_64-linux-gnu/libc.so.6", 1_926_232),
            ("usr/bin/bash", 1_265_648),
            ("usr/lib/python3.11/lib-dynload/_decimal.cpython-311-x86_64-linux-gnu.so", 412_204),
            ("etc/ssl/certs/ca-certificates.crt", 212_882),
        ),
    ),
    layer("ENV LANG=C.UTF-8 APP_HOME=/srv/app"),
    layer("WORKDIR /srv/app", 0, stored_size=112, added=1),
    layer(
        "COPY requirements.txt main.py ./",
        18_204,
        stored_size=6_804,
        added=2,
        largest=files(("srv/app/main.py", 17_100), ("srv/app/requirements.txt", 1_104)),
    ),
    layer(
        "RUN python3 -m compileall -q /usr/lib/python3.11 && find / -xdev -name '*.pyc' -newer /srv/app/main.py | wc -l > count",
        9_812_044,
        added=211,
        modified=44,
        deleted=3,
        largest=files(("usr/lib/python3.11/__pycache__/typing.cpython-311.pyc", 151_904), ("srv/app/count", 4)),
    ),
    layer("USER 1000"),
    layer('CMD ["python3", "main.py"]'),
)


def large_stack(number: int = 60) -> LayerStack:
    """An image of many layers, with instructions of many lines."""
    return stack(
        tuple(
            layer(
                f"RUN make part-{index} && \\\n    make install DESTDIR=/opt/part-{index} PREFIX=/usr "
                + "FLAG=value " * (index % 9),
                (index * 7919 % 97 + 1) ** 3 * 1000,
                added=index * 31 % 900,
                modified=index % 7,
                deleted=index % 3,
                wasted=(index % 4 == 1) * index * 31_000,
                largest=files(*((f"opt/part-{index}/lib/lib{part}.so", 900_000 // part) for part in range(1, 13))),
            )
            for index in range(1, number + 1)
        ),
        name="registry.example:5000/a-team/a-rather-long-repository-name/service:2026.11.23-release",
    )


def hostile_stack() -> LayerStack:
    return stack(
        (
            layer(
                f"COPY {HOSTILE} {ESCAPE} /",
                4096,
                added=1,
                largest=files((HOSTILE, 4000), (ESCAPE, 90), ("bad\udcff\nname", 6)),
            ),
        ),
        name=HOSTILE,
    )


def change(path: str, before: int | None, after: int | None, what: tuple[str, ...] = ()) -> FileChange:
    modes = (0o644, 0o600) if "mode" in what else (0o644, 0o644)
    sides = [
        None
        if size is None
        else Entry(path=path, kind="file", size=size, mode=mode, digest=str(digest(f"{path}{size}")))
        for size, mode in zip((before, after), modes, strict=True)
    ]
    kind = "added" if before is None else "deleted" if after is None else "modified"
    return FileChange(
        kind=kind, path=path, before=sides[0], after=sides[1], what=what or (("content",) if kind == "modified" else ())
    )


def folder(path: str) -> FileChange:
    return FileChange(kind="added", path=path, before=None, after=Entry(path=path, kind="directory", mode=0o755))


def diff(
    changes: tuple[FileChange, ...] | None = None,
    settings: tuple[SettingChange, ...] | None = None,
    packages: tuple[PackageChange, ...] | None = None,
) -> ImageDiff:
    """Two versions of a small image."""
    return ImageDiff(
        before="demo:1",
        after="demo:2",
        files=tuple(sorted(changes if changes is not None else DIFF, key=lambda one: one.path)),
        settings=settings if settings is not None else SETTINGS,
        shared_layers=2,
        packages=packages if packages is not None else PACKAGES if changes is None else (),
    )


DIFF = (
    change("etc/motd", 120, 188),
    change("etc/passwd", 640, 640, ("mode",)),
    folder("srv/app/static"),
    change("srv/app/main.py", 17_100, 18_412),
    change("srv/app/static/logo.svg", None, 4_812),
    change("srv/app/static/style.css", None, 22_907),
    change("srv/app/count", 4, None),
    *(
        change(f"usr/lib/python3.11/site-packages/requests/{name}.py", None, 3_100 + 977 * index)
        for index, name in enumerate(
            (
                "__init__",
                "adapters",
                "api",
                "auth",
                "certs",
                "compat",
                "cookies",
                "exceptions",
                "hooks",
                "models",
                "sessions",
                "utils",
            )
        )
    ),
    change("usr/lib/python3.11/__pycache__/typing.cpython-311.pyc", 151_904, None),
    change("var/cache/ldconfig/aux-cache", 18_212, 19_800),
)
SETTINGS = (
    SettingChange(key="Env.APP_HOME", before="/srv", after="/srv/app"),
    SettingChange(key="Env.REQUESTS_CA_BUNDLE", before=None, after="/etc/ssl/certs/ca-certificates.crt"),
    SettingChange(
        key="Cmd", before='["python3", "main.py"]', after='["python3", "-X", "dev", "main.py", "--listen", "0.0.0.0"]'
    ),
    SettingChange(key="Labels.maintainer", before="someone", after=None),
)
SITE = "/usr/lib/python3.11/site-packages"
PACKAGES = (
    PackageChange(
        kind="upgraded", packaging="dpkg", name="libssl3", before="3.0.11-1~deb12u2", after="3.0.15-1~deb12u1"
    ),
    PackageChange(kind="deleted", packaging="dpkg", name="netcat-openbsd", before="1.219-1", after=None),
    PackageChange(
        kind="downgraded", packaging="python", name="charset-normalizer", before="3.4.0", after="3.3.2", where=SITE
    ),
    PackageChange(kind="added", packaging="python", name="requests", before=None, after="2.32.3", where=SITE),
)


def large_diff(number: int = 100_000) -> ImageDiff:
    """Two images that differ in very many files."""
    kinds = ((None, 5), (9, 7), (3, None))
    return diff(
        tuple(
            change(
                f"usr/share/part-{index % 40:02}/section-{index % 1000 // 40:02}/file-{index:06}.dat", *kinds[index % 3]
            )
            for index in range(number)
        )
    )


def hostile_diff() -> ImageDiff:
    return diff(
        (change(f"srv/{HOSTILE}/x", None, 10), change(f"srv/{ESCAPE}", 10, 12), change("srv/bad\udcff\nname", 1, None)),
        (SettingChange(key=f"Env.{HOSTILE}", before=HOSTILE, after=ESCAPE),),
        (PackageChange(kind="added", packaging="dpkg", name=HOSTILE, before=None, after=ESCAPE, where=f"/{HOSTILE}"),),
    )


def state(name: str = "hungry_hopper", status: str = "running", **more) -> ContainerState:
    return ContainerState(
        id=digest(name).hex,
        name=name,
        image=more.pop("image", "demo:latest"),
        image_id=str(digest("demo:latest")),
        command=("python3", "main.py"),
        status=status,
        created=1_795_000_000.0,
        started=1_795_000_000.2,
        **more,
    )


UNKEPT = ("cpu is not limited (no group can be made here)", HOSTILE, "memory is watched (no group can be made here)")


def usage(second: float, **more) -> Usage:
    return Usage(
        time=1_795_000_000.0 + second,
        cpu_seconds=more.pop("cpu_seconds", second * 0.48),
        memory=more.pop("memory", 31 << 20),
        processes=more.pop("processes", 3),
        source=more.pop("source", "cgroup v1"),
        **{"cpu_limit": 0.5, "memory_limit": 64 << 20, "processes_limit": 32, "memory_peak": 33 << 20, **more},
    )


def steps(failed: bool = False) -> tuple[BuildStep, ...]:
    texts = ("FROM toolbox", "ENV LANG=C.UTF-8", "COPY main.py .", "RUN python3 -m compileall .")
    return tuple(
        BuildStep(text=text, stage="", lines=(number, number), cached=number < 3, seconds=0.01 * number**3, layer=None)
        for number, text in enumerate(texts[: 3 if failed else 4], 1)
    )


DOCKERFILE = (
    'FROM toolbox\nENV LANG=C.UTF-8\nCOPY main.py .\nRUN python3 -m compileall . && \\\n    false\nCMD ["true"]\n'
)

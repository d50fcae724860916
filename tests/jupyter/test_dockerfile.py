"""The Tab key in a Dockerfile."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbcontainers.build import grammar
from nbcontainers.jupyter import dockerfile

STAGES = "FROM toolbox AS build\nARG VERSION=1 CHANNEL\nENV APP_HOME=/srv\nFROM scratch\nFROM toolbox AS run\n"


def words(text: str, folder: Path | str = "/nonexistent") -> list[str]:
    return list(dockerfile.complete(text, lambda: ["hello:latest", "base:1"], str(folder)).words)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FR", ["FROM"]),
        ("FROM x\nco", ["COPY"]),
        ("FROM x\nONBUILD WO", ["WORKDIR"]),
        ("FROM he", ["hello:latest"]),
        ("FROM hello:la", ["hello:latest"]),
        ("FROM --pl", ["--platform="]),
        ("FROM --platform=linux/ar", ["--platform=linux/arm64"]),
        ("FROM --platform=linux/arm64 ba", ["base:1"]),
        ("FROM base:1 A", ["AS"]),
        (f"{STAGES}FROM b", ["build", "base:1"]),
        (f"{STAGES}COPY --from=", ["--from=build", "--from=1", "--from=run", "--from=hello:latest", "--from=base:1"]),
        (f"{STAGES}COPY --from=bu", ["--from=build"]),
        (f"{STAGES}COPY --chown=1 --ch", ["--chmod="]),
        (f"{STAGES}RUN --m", ["--mount="]),
        (f"{STAGES}RUN --mount=type=cache,target=/x --mount=type=t", ["--mount=type=tmpfs,target="]),
        (f"{STAGES}RUN --network=n", ["--network=none"]),
        (f"{STAGES}WORKDIR $APP", ["$APP_HOME"]),
        (f"{STAGES}RUN echo ${{VER", ["${VERSION}"]),
        (f"{STAGES}RUN echo a-$CHA", ["$CHANNEL"]),
        (f"{STAGES}HEALTHCHECK --start-", ["--start-period=", "--start-interval="]),
        (f"{STAGES}HEALTHCHECK --retries=3 C", ["CMD"]),
        (f"{STAGES}STOPSIGNAL SIGI", ["SIGINT"]),
        ("FROM x\nCOPY \\\n  --fr", ["--from="]),
        ("FROM x\n# comment\nRUN a && \\\n# comment\n  CO", []),
        ("# escape=`\nFROM x\nRUN a `\n EN", []),
        ("FROM x\nRUN <<EOF\nFR", []),
        ("FROM x\nRUN <<-'EOF' cat\nx\n\tEOF\nCM", ["CMD"]),
        ("FROM x\n# FR", []),
        ("FROM x\nRUN --network=none apt-get --", []),
        ("FROM x\nENV --", []),
    ],
)
def test_what_may_stand_there_is_told(text: str, expected: list[str]) -> None:
    """Instructions, flags, stages, images and variables, each where it may stand and nowhere else."""
    assert words(text) == expected


def test_files_of_the_context_are_told_behind_copy(tmp_path: Path) -> None:
    """Folders with a slash; hidden ones when a dot was written; nothing outside, and nothing where they come from a stage."""
    (tmp_path / "src/deep").mkdir(parents=True)
    for name in ("src/main.py", "setup.py", ".hidden"):
        (tmp_path / name).touch()
    assert words("FROM x\nCOPY s", tmp_path) == ["setup.py", "src/"]
    assert words("FROM x\nADD --chown=1 setup.py src/", tmp_path) == ["src/deep/", "src/main.py"]
    assert words("FROM x\nCOPY .h", tmp_path) == [".hidden"]
    assert words("FROM x\nCOPY ../", tmp_path / "src") == ["../deep/", "../main.py"], "as COPY reads it"
    assert words("FROM x\nCOPY --from=y s", tmp_path) == []


def test_what_is_told_is_what_the_builder_reads() -> None:
    """No instruction and no flag that it does not know."""
    assert set(dockerfile.INSTRUCTIONS) <= set(grammar._READERS)
    for keyword, flags in dockerfile.FLAGS.items():
        assert {flag.strip("-=") for flag in flags} <= set(grammar.FLAGS[keyword])

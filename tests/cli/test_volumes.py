"""The verbs of volumes, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nbcontainers.cli import main
from nbcontainers.engine import Engine


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine(tmp_path / "store")


def test_volumes_are_made_listed_and_removed(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    """Docker's words, columns and keys."""

    def said(*words: str, code: int = 0) -> str:
        assert main.run(["volume", *words], engine=engine) == code
        return capsys.readouterr().out

    assert said("create", "--label", "of=me", "data") == "data\n"
    made = said("create").strip()
    assert len(made) == 64
    assert said("ls").splitlines() == [
        "DRIVER   VOLUME NAME",
        f"local    {min(made, 'data')}",
        f"local    {max(made, 'data')}",
    ]
    assert said("ls", "-q", "--filter", "label=of=me") == "data\n"
    assert said("ls", "--format", "{{.Name}} {{.Labels}}", "-f", "name=dat") == "data of=me\n"
    assert said("ls", "-q", "-f", "name=^dat.*a$") == "data\n"
    assert said("ls", "-q", "-f", "name=^ata") == ""
    assert said("ls", "--format", "{{.Size}}", "-f", "name=data") == "N/A\n"
    assert said("ls", "-q", "-f", "dangling=false") == ""
    assert said("ls", "-f", "colour=red", code=1) == ""
    (about,) = json.loads(said("inspect", "data"))
    assert (about["Name"], about["Driver"], about["Labels"]) == ("data", "local", {"of": "me"})
    assert Path(about["Mountpoint"]).is_dir()
    assert said("inspect", "-f", "{{.Mountpoint}}", "data").strip() == about["Mountpoint"]
    assert said("prune", "-f").splitlines()[:2] == ["Deleted Volumes:", made]
    assert said("rm", "data") == "data\n"
    assert not Path(about["Mountpoint"]).exists()
    said("rm", "data", code=1)
    for name in ("v10", "v9"):
        said("create", name)
    assert said("ls", "-q") == "v9\nv10\n"
    said("rm", "-f", "data")
    said("create", "-d", "nfs", "x", code=1)
    engine.close()


def test_volumes_go_by_filters_and_when_it_is_meant(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    """``prune`` asks, and where nobody is there removes nothing; those with a name go with ``-a`` only."""

    def said(words: str, *, code: int = 0) -> str:
        assert main.run(["volume", *words.split()], engine=engine) == code
        told = capsys.readouterr()
        return told.out + told.err

    for name in ("one", "two", "three"):
        said(f"create --label of={name} {name}")
    anonymous = said("create").strip()
    assert "nobody is there to be asked" in said("prune", code=1)
    assert "Deleted" not in said("prune --force --filter until=24h")
    assert said("prune --force").splitlines()[:2] == ["Deleted Volumes:", anonymous]
    assert said("prune --force --all --filter label=of=one").splitlines()[:2] == ["Deleted Volumes:", "one"]
    said("prune -f -a --filter label!=of=two")
    assert said("ls -q") == "two\n"
    assert "no filter 'colour'" in said("prune -f --filter colour=red", code=1)
    engine.close()

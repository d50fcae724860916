"""``inspect`` beside Docker's and podman's: every key of theirs is here, or is left out for a reason.

``inspect_keys.json`` has the keys that they print of a container and of an image, by their versions, what is left out and why,
where else a thing is said, and what the same key means here where that is not quite theirs.
``python -m tests.cli.test_inspect`` writes docs/inspect.md, which these tests hold to what the program is.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nbcontainers import Engine
from tests.build.peer import Dockerd
from tests.cli.saying import said, tag
from tests.waiting import until

HERE = Path(__file__).parent
DATA = json.loads((HERE / "inspect_keys.json").read_text())
DOCUMENT = HERE.parents[1] / "docs/inspect.md"
KINDS = ("container", "image")
PEERS = ("docker", "podman")
# What stands below these is named by the user.
OPEN = "Labels Annotations Volumes ExposedPorts PortBindings Tmpfs Ports Sysctls Healthcheck History".split()
MADE = (
    "--name one --interactive --memory 64m --cpus 0.5 --volume {volume}:/v --volume /etc:/e:ro --tmpfs /t:size=1m --env Y=2 "
    "--workdir /tmp --restart on-failure:3 --network none --cap-add NET_ADMIN --ulimit nofile=5:6 --add-host a:1.2.3.4 "
    "--hostname hh --stop-timeout 5 --health-cmd true --health-interval 5s --health-timeout 6s --health-retries 2 "
    "--health-start-period 1s --label q=r --entrypoint /bin/sh --user 3:4 --oom-score-adj 5 --shm-size 1m --read-only "
    "--pids-limit 77 --cpuset-cpus 0 --expose 80 --security-opt no-new-privileges --init "
    "--device /dev/null:/dev/nn --mount type=bind,source=/usr,target=/u,readonly app -c true"
)
# What has keys of its own, where it is asked for.
SEEN: dict[str, Any] = {
    "ulimit": ["nofile=500:600"],
    "device": ["/dev/null:/dev/nn"],
    "mount": ["type=bind,source=/usr,target=/u,readonly"],
    "init": True,
    "stop_signal": "TERM",
    "stop_timeout": 5,
    "tmpfs": ["/t:size=1m"],
}


def walk(value: Any, path: str = "", last: str = "") -> Iterator[tuple[str, Any]]:
    """Each key that is no object by its path; of those with names of the user only the whole."""
    if isinstance(value, dict) and value and last not in OPEN and path != "HostConfig.LogConfig.Config":
        for key, inner in value.items():
            yield from walk(inner, f"{path}.{'*' if path == 'NetworkSettings.Networks' else key}".lstrip("."), key)
    elif isinstance(value, list) and value and isinstance(value[0], dict) and last not in OPEN:
        for inner in value:
            yield from walk(inner, f"{path}[]")
    else:
        yield path, value


def keys(value: dict[str, Any]) -> set[str]:
    return {path for path, _ in walk(value)}


def inspected(engine: Engine, *words: str) -> dict[str, Any]:
    (found,) = json.loads(said(engine, " ".join(("inspect", *words))))
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def engine(module_path: Path) -> Iterator[Engine]:
    """One with an image called app, made from the offline base."""
    with Engine(module_path) as made:
        made.build("FROM toolbox\nEXPOSE 90\nHEALTHCHECK CMD true\nCMD sh\n", tag="app")
        yield made
        for container in made.containers(all=True):
            container.remove(force=True)


@pytest.fixture(scope="module")
def ours(engine: Engine) -> dict[str, set[str]]:
    """The keys that we print: of a container that ran and was made, with all there is, and of its image."""
    running = engine.run("app", "sleep", "1000", volumes=["named:/v", "/etc:/e"], **SEEN)
    made = keys(running.inspect()) | keys(inspected(engine, "--type", "container", running.id))
    made |= keys(engine.create("app", "true", sysctl=["net.core.somaxconn=5"]).inspect())
    return {"container": made, "image": keys(inspected(engine, "--type", "image", "app"))}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("peer", PEERS)
def test_no_key_of_theirs_is_forgotten(ours: dict[str, set[str]], peer: str, kind: str) -> None:
    """Each is here, or said elsewhere, or left out with a reason; and what is left out is not here."""
    left, elsewhere = DATA["left_out"][kind], DATA["elsewhere"][kind]
    known = {*ours[kind], *(path.partition("[]")[0] for path in ours[kind])}
    assert {key for key in DATA[peer][kind] if key not in known and key not in left and key not in elsewhere} == set()
    assert not set(left) & ours[kind]
    assert {key for key in elsewhere.values() if key not in ours[kind]} == set()


def test_the_page_is_made_of_what_is() -> None:
    """docs/inspect.md is what this module writes, and it explains no key that nobody has."""
    assert DOCUMENT.read_text() == document(), "write it anew: python -m tests.cli.test_inspect"
    for kind in KINDS:
        theirs = {*DATA["docker"][kind], *DATA["podman"][kind]}
        assert {*DATA["left_out"][kind], *DATA["elsewhere"][kind]} <= theirs


def test_what_is_said_of_a_running_container_can_be_used(engine: Engine) -> None:
    """Its folders are there, its tree is seen through MergedDir, its network is that of its process, and its commands are told."""
    container = engine.run("app", "sh", "-c", "echo here > /made; exec sleep 1000", detach=True)
    until(lambda: Path(f"/proc/{container.state.pid}/root/made").exists())
    assert container.inspect()["ExecIDs"] is None
    command = container.exec("sleep", "1000", detach=True)
    found = container.inspect()
    data = found["GraphDriver"]["Data"]
    assert found["GraphDriver"]["Name"] == found["Driver"] == engine.store.snapshots.name
    assert Path(data["MergedDir"], "made").read_text() == "here\n"
    assert os.path.isdir(data["UpperDir"])
    layers = data.get("LowerDir", "").split(":")
    assert found["Driver"] == "copy" or [Path(path).parent.name for path in reversed(layers)] == [
        chain.hex for chain in engine.image("app").chain_ids
    ]
    assert Path(found["HostsPath"]).read_text() == Path(data["MergedDir"], "etc/hosts").read_text()
    assert found["Config"]["Hostname"] == Path(found["HostnamePath"]).read_text().strip()
    network = found["NetworkSettings"]
    assert os.stat(network["SandboxKey"]).st_ino == int(network["SandboxID"]) != os.stat("/proc/self/ns/net").st_ino
    assert found["ExecIDs"] == [str(command.pid)]
    command.close()
    container.stop(timeout=0)
    ended = container.inspect()
    assert "MergedDir" not in ended["GraphDriver"]["Data"]
    assert (ended["ExecIDs"], ended["NetworkSettings"]["SandboxKey"], ended["NetworkSettings"]["SandboxID"]) == (
        None,
        "",
        "",
    )


def test_what_nobody_asked_for_is_said_as_docker_says_it(engine: Engine) -> None:
    """Some keys are left out then, some are null, and a folder is empty; templates know what is left out all the same."""
    plain = engine.create("toolbox", "true", name="bare").inspect()
    config, host = plain["Config"], plain["HostConfig"]
    assert not config.keys() & {"ExposedPorts", "StopSignal", "StopTimeout"}
    assert not host.keys() & {"Annotations", "Sysctls", "Tmpfs", "Init", "Mounts"}
    assert (config["WorkingDir"], config["Volumes"], host["ExtraHosts"], host["BlkioWeightDevice"]) == (
        "",
        None,
        None,
        [],
    )
    assert {host[f"BlkioDevice{one}"] for one in ("ReadBps", "WriteBps", "ReadIOps", "WriteIOps")} == {None}
    fields = (
        "{{.Config.StopSignal}}|{{.Config.StopTimeout}}|{{.HostConfig.Sysctls}}|{{.HostConfig.ExtraHosts}}|{{.SizeRw}}"
    )
    assert said(engine, f"inspect --format {fields} bare") == "|<nil>|map[]|[]|<nil>\n"
    asked: dict[str, Any] = {
        "stop_signal": "INT",
        "stop_timeout": 5,
        "workdir": "/",
        "sysctl": ["net.core.somaxconn=5"],
    }
    full = engine.create("app", "true", **asked).inspect()
    assert [full["Config"][key] for key in ("StopSignal", "StopTimeout", "WorkingDir")] == ["INT", 5, "/"]
    assert full["HostConfig"]["Sysctls"] == {"net.core.somaxconn": "5"}


def test_whose_streams_they_are(engine: Engine) -> None:
    """A container in the background is attached to nobody; one in the foreground to its caller, with a standard input if asked."""

    def words(**options: Any) -> list[bool]:
        config = engine.create("app", "true", **options).inspect()["Config"]
        return [config[key] for key in "AttachStdin AttachStdout AttachStderr OpenStdin StdinOnce".split()]

    assert words() == [False, True, True, False, False]
    assert words(interactive=True) == [True, True, True, True, True]
    assert words(interactive=True, attached=("stdout",)) == [False, True, False, True, False]
    behind = engine.run("app", "sleep", "1000", detach=True, interactive=True).inspect()["Config"]
    assert [behind[key] for key in "AttachStdin AttachStdout OpenStdin StdinOnce".split()] == [
        False,
        False,
        True,
        False,
    ]


def test_an_images_settings_are_there_if_they_are_empty(engine: Engine) -> None:
    """A script that asks for the user or the entrypoint of any image gets an answer, as from Docker; its folders are unpacked ones."""
    identifier = tag(engine, 5, "plain")
    config = inspected(engine, "plain")["Config"]
    assert {"User", "Env", "Cmd", "Entrypoint", "WorkingDir", "Volumes", "OnBuild", "Labels"} <= set(config)
    assert said(engine, "inspect --format {{.Config.User}}|{{.Config.Entrypoint}}| plain").strip() == "|[]|"
    assert inspected(engine, "plain")["GraphDriver"]["Data"] is None
    engine.store.snapshots.unpack(engine.image(identifier))
    data = inspected(engine, "plain")["GraphDriver"]["Data"]
    tops = [data["UpperDir"], *data["LowerDir"].split(":")]
    assert [Path(path).parent.name for path in reversed(tops)] == [
        chain.hex for chain in engine.image("plain").chain_ids
    ]
    assert all(map(os.path.isdir, tops))


def test_what_is_there_is_shown_though_others_are_not(engine: Engine) -> None:
    """As Docker does: the list has those that were found, the others are told, and the code says that something was missing."""
    told = said(engine, "inspect nosuch app", code=1)
    listed, _, errors = told.partition("\nerror: ")
    assert [item["RepoTags"] for item in json.loads(listed)] == [["app:latest"]]
    assert "'nosuch'" in errors
    assert said(engine, "inspect nosuch", code=1).startswith("[]\n")
    assert said(engine, "inspect --format {{.Os}} nosuch app", code=1).startswith("linux\n")


def test_networks_and_volumes_are_looked_at_too(engine: Engine) -> None:
    """As by Docker: the first of a container, an image, a network and a volume that has the name, or of one kind only."""
    for kind in ("volume", "network"):
        said(engine, f"{kind} create Both")
    said(engine, "volume create Alone")
    assert said(engine, "inspect -f {{.Name}}:{{.Driver}} Both Alone").split() == ["Both:bridge", "Alone:local"]
    assert said(engine, "inspect --type volume -f {{.Driver}} Both").strip() == "local"
    assert "no such network: 'Alone'" in said(engine, "inspect --type network Alone", code=1)
    for word in ("Upper", "a::b", "/Both"):
        assert f"no such container, image, network or volume: '{word}'" in said(engine, f"inspect {word}", code=1)
    for words in ("network rm Both", "volume rm Both Alone"):
        said(engine, words)


def test_forcing_away_what_is_not_there_is_no_error(engine: Engine) -> None:
    """A script can say rm -f and rmi -f again; without -f it is told that there is nothing."""
    for verb in ("rm", "rmi"):
        assert said(engine, f"{verb} -f nosuch") == ""
        assert "nosuch" in said(engine, f"{verb} nosuch", code=1)


@pytest.mark.peer("docker")
def test_dockers_values_are_ours(engine: Engine) -> None:
    """dockerd knows no key but those of the list, and says the same of the same words but where the page says otherwise."""
    if why := Dockerd.missing():
        pytest.skip(why)
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
    docker = Dockerd(folder)
    try:
        docker.start()
        with (folder / "app.tar").open("wb") as stream:
            engine.save(["app"], stream)
        assert docker.run("load", "--input", str(folder / "app.tar")).returncode == 0
        created = docker.run("create", *MADE.format(volume="named").split())
        assert created.returncode == 0, created.stderr
        theirs = {
            "container": json.loads(docker.run("inspect", "one").stdout)[0],
            "image": json.loads(docker.run("inspect", "app").stdout)[0],
        }
    finally:
        docker.stop()
        shutil.rmtree(folder, ignore_errors=True)
    said(engine, "create " + MADE.format(volume="named"))
    mine = {"container": inspected(engine, "one"), "image": inspected(engine, "app")}
    for one in (mine, theirs):
        one["container"]["HostConfig"]["Binds"].sort()  # docker's command line goes over them as a Go map, in any order
    for kind in KINDS:
        assert {
            key.partition(".")[0] if key.startswith("ContainerConfig") else key for key in keys(theirs[kind])
        } <= set(DATA["docker"][kind])
        ours, other = dict(walk(mine[kind])), dict(walk(theirs[kind]))
        different = {key for key in ours.keys() & other.keys() if (ours[key] or None) != (other[key] or None)}
        expected = {*DATA["differs"], *DATA["own"]}
        assert {key for key in different if key not in expected and not key.startswith("Mounts[]")} == set(), {
            key: (ours[key], other[key]) for key in different
        }


def document() -> str:
    """The page about inspect."""
    docker, podman = (DATA["versions"][peer] for peer in PEERS)
    lines = [
        "# `inspect` beside Docker's and podman's",
        "",
        f"`nbcontainers inspect` prints Docker's keys. Of those that Docker {docker} and podman {podman} print, these are left out or said",
        "elsewhere, and these mean something else; all others are there and mean the same. The tests write this page, and hold it to",
        "what dockerd says.",
        "",
        "`NBContainers` is ours: the isolation `Tier`; `NotEnforced`, what was asked for this container and does not hold; `Lacks`, what",
        "no container of this host has or is protected by, asked for or not (the sentences that `doctor` prints as not enforced, and why",
        "its networks do not lead to the world, if so); and the `Capabilities`.",
    ]
    for kind in KINDS:
        theirs = {peer: set(DATA[peer][kind]) for peer in PEERS}
        rows = {**DATA["left_out"][kind], **{key: f"see `{to}`" for key, to in DATA["elsewhere"][kind].items()}}
        lines += [
            "",
            f"## Of {'a container' if kind == 'container' else 'an image'}",
            "",
            "| key | of | |",
            "|---|---|---|",
        ]
        for key in sorted(rows):
            of = ", ".join(peer for peer in PEERS if key in theirs[peer])
            lines.append(f"| `{key}` | {of} | {rows[key]} |")
    lines += ["", "## What means something else", "", "| key | here |", "|---|---|"]
    lines += [f"| `{key}` | {what} |" for key, what in sorted(DATA["differs"].items())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(document())

"""Builds: real commands in real containers, the cache, errors and what they leave (nothing)."""

from __future__ import annotations

import json
import re
import secrets
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
from pathlib import Path

import pytest

from nbcontainers.build import records
from nbcontainers.errors import BuildError, DockerfileError, NBContainersError
from nbcontainers.events import Event, Output, StepFinished, StepStarted, Warned
from nbcontainers.oci.descriptor import Digest
from nbcontainers.oci.image import Image
from nbcontainers.runtime.process import Runtime
from nbcontainers.store.store import Store
from tests.build.conftest import Builder
from tests.store.validate import validate


def unique() -> str:
    """A word that no other test's cache knows."""
    return secrets.token_hex(8)


def test_a_command_runs_and_its_files_are_a_layer(builder: Builder) -> None:
    """The output comes as it is written, with the step's number; the layer has what the command made and nothing else."""
    word = unique()
    made = builder.build(f"FROM busybox\nRUN echo {word}; echo {word} > /new\n")
    assert builder.output == f"{word}\n"
    assert {event.step for event in builder.events if isinstance(event, Output)} == {2}
    assert builder.cached == [True, False]
    assert [step.text for step in made.steps] == ["FROM busybox", f"RUN echo {word}; echo {word} > /new"]
    validate(builder.store, made.image)
    again = builder.build(f"FROM busybox\nRUN echo {word}; echo {word} > /new\nRUN cat /new\n")
    assert builder.cached == [True, True, False]
    assert builder.output == f"{word}\n"
    assert again.image.layers[:-1] == made.image.layers


def test_what_was_only_mounted_on_is_no_part_of_a_layer(builder: Builder) -> None:
    """But for /dev, /proc and /sys, which BuildKit's images get with their first RUN too: no /etc/hosts or /etc/resolv.conf."""
    made = builder.build(f"FROM busybox\nRUN true {unique()}\n")
    chain = made.image.chain_ids[-1]
    names = [path.name for path in (builder.store.root / "layers" / chain.hex / "fs").iterdir()]
    assert sorted(names) == ["dev", "proc", "sys"]


def test_what_a_command_writes_waits_for_no_disk(builder: Builder) -> None:
    """Its tree is volatile until it is a layer: fsync costs nothing, and to unmount it brings nothing of others to the disk."""
    if builder.store.snapshots.name != "overlay":
        pytest.skip("needs an overlay")
    builder.build(f"FROM busybox\nRUN echo {unique()} > /x && sync && grep ' / overlay ' /proc/mounts\n")
    assert re.search("[,=]volatile[, ]", builder.output)


def test_steps_are_numbered_over_the_whole_build(builder: Builder) -> None:
    """Those that execute something; ENV and its like cost nothing and are not told."""
    builder.build(
        f"FROM busybox AS one\nENV A=1\nRUN true {unique()}\nFROM scratch\nCOPY --from=one /etc/group /\nLABEL a=b\n"
    )
    started = sorted((event for event in builder.events if isinstance(event, StepStarted)), key=attrgetter("number"))
    assert [(event.number, event.total, event.stage) for event in started] == [
        (1, 4, "one"),
        (2, 4, "one"),
        (3, 4, "stage-1"),
        (4, 4, "stage-1"),
    ]
    assert [event.lines for event in started] == [(1, 1), (3, 3), (4, 4), (5, 5)]
    finished = sorted((event for event in builder.events if isinstance(event, StepFinished)), key=attrgetter("number"))
    assert [event.layer is None for event in finished] == [True, False, True, False]


def test_a_build_that_is_cached_starts_no_process(builder: Builder) -> None:
    """And gives the same image: nothing of the clock is in it."""
    builder.write({"a": "1"})
    text = f"FROM busybox\nENV A={unique()}\nRUN true\nWORKDIR /w\nCOPY a b\nUSER app\nCMD true\n"
    first = builder.build(text)
    with Store(builder.store.root, identity=builder.host.identity) as store:
        idle = Builder(store, Runtime(builder.store.root.parent / "idle", builder.host), builder.host, builder.context)
        second = idle.build(text)
        assert idle.cached == [True] * 4
        assert second.image.id == first.image.id
        assert idle.runtime._zygote is None
        assert store.worker.pids() == ()
        idle.runtime.close()


def test_without_the_cache_everything_is_made_anew(builder: Builder) -> None:
    """``no_cache`` asks for it; the next build finds what was made last."""
    text = f"FROM busybox\nRUN echo {unique()}; cat /proc/sys/kernel/random/uuid > /id\n"
    first = builder.build(text)
    second = builder.build(text, no_cache=True)
    assert builder.cached == [True, False]
    assert second.image.id != first.image.id
    assert builder.build(text).image.id == second.image.id


def test_a_changed_file_rebuilds_from_where_it_is_copied(builder: Builder) -> None:
    """A change of its time alone changes nothing."""
    word = unique()
    builder.write({"a": word, "b": word})
    text = "FROM busybox\nCOPY a /a\nRUN cat /a\nCOPY b /b\nRUN cat /b\n"
    builder.build(text)
    (builder.context / "a").touch()
    builder.build(text)
    assert builder.cached == [True] * 5
    builder.write({"b": "other"})
    builder.build(text)
    assert builder.cached == [True, True, True, False, False]
    assert builder.output == "other"


def test_a_record_whose_blob_is_gone_is_none(builder: Builder) -> None:
    """The layer is made again."""
    text = f"FROM busybox\nRUN echo {unique()} > /x\n"
    made = builder.build(text)
    builder.store.content.delete(made.image.layers[-1].digest)
    builder.build(text)
    assert builder.cached == [True, False]


def test_a_stage_made_anew_with_the_same_files_changes_nothing(builder: Builder) -> None:
    """COPY --from goes by what it takes, not by where that came from."""
    word = unique()
    text = "FROM busybox AS one\nARG A\nRUN echo {word} > /same; echo $A > /other\nFROM busybox\nCOPY --from=one /same /\nRUN cat /same\n"
    builder.build(text.format(word=word), arguments={"A": "1"})
    builder.build(text.format(word=word), arguments={"A": "2"})
    assert builder.cached == [True, False, True, True, True]


def test_a_failed_command_is_shown_as_it_was_written(builder: Builder) -> None:
    """With no backslash that nobody wrote, whatever quotes are in it."""
    for command in ("""echo "it's" '\\n' && exit 3""", "echo 'a' \"b\"; exit 3"):
        with pytest.raises(BuildError) as caught:
            builder.build(f"FROM busybox\nRUN {command}\n")
        assert caught.value.message == f"'RUN {command}' ended with exit code 3"
    with pytest.raises(BuildError) as caught:
        builder.build("""FROM busybox\nRUN ["/no'such", "a\\\\b"]\n""")
    assert caught.value.message.startswith("""'RUN ["/no'such", "a\\\\b"]' could not be started: """)


def test_a_failed_command_tells_its_place_and_the_end_of_its_output(builder: Builder) -> None:
    """Steps before it stay cached; nothing else is left."""
    word = unique()
    text = f"FROM busybox\nRUN echo {word} > /x\n\nRUN seq 30000; \\\n  echo the end; exit 7\nRUN never\n"
    with pytest.raises(BuildError) as caught:
        builder.build(text)
    error = caught.value
    assert (error.lines, error.exit_code) == ((4, 5), 7)
    assert error.step == "RUN seq 30000; echo the end; exit 7"
    assert error.message == "'RUN seq 30000; echo the end; exit 7' ended with exit code 7"
    assert error.output.endswith(b"\n30000\nthe end\n")
    assert len(error.output) == 64 << 10
    assert builder.left() == []
    builder.build(f"FROM busybox\nRUN echo {word} > /x\n")
    assert builder.cached == [True, True]


def test_a_command_that_cannot_start_says_why(builder: Builder) -> None:
    """Nothing is in scratch, not even a shell."""
    with pytest.raises(BuildError) as caught:
        builder.build("FROM scratch\nRUN echo\n")
    assert caught.value.exit_code == 127
    assert caught.value.lines == (2, 2)
    assert "/bin/sh" in caught.value.hint


def test_an_interrupt_leaves_nothing(builder: Builder) -> None:
    """Raised in the observer, as a notebook does it, it ends the command at once."""

    def interrupt(event: Event) -> None:
        if isinstance(event, Output):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        builder.build(f"FROM busybox\nRUN echo {unique()}; sleep 60\n", on_event=interrupt)
    assert builder.left() == []


def test_commands_have_the_environment_that_buildkit_gives(builder: Builder) -> None:
    """PATH, ENV and ARG, the user's HOME, the working directory, a host name and a network."""
    text = f"""FROM busybox
ARG A={unique()}
ENV B=$A
WORKDIR /w/x
RUN echo "$A=$B $HOME $PWD"; id -u; cat /proc/sys/kernel/hostname; cat /etc/hosts
"""
    builder.build(text)
    lines = builder.output.splitlines()
    first, second = lines[0].split(" ", 1)
    assert first.split("=")[0] == first.split("=")[1]
    assert second in ("/root /w/x", "/ /w/x")
    assert lines[1] == "0"
    assert any(line.startswith("127.0.0.1") and "buildkitsandbox" in line for line in lines[3:])


def test_a_network_can_be_denied(builder: Builder) -> None:
    """``--network=none`` leaves the loopback interface alone."""
    builder.build(f"FROM busybox\nRUN --network=none echo {unique()}; ls /sys/class/net; head -n 9 /proc/net/dev\n")
    assert [line.split(":")[0].strip() for line in builder.output.splitlines() if ":" in line] == ["lo"]


def test_heredocs_run(builder: Builder) -> None:
    """As a script for the shell, as a program of its own, and as the shell's own documents."""
    text = f"""FROM busybox
RUN <<E
A={unique()}
echo one "$A" > /one
E
RUN <<'E'
#!/bin/busybox sh
echo "two $0" > /two
E
RUN cat <<A <<B > /three && cat /one /two /three
first
A
third
B
"""
    builder.build(text)
    assert builder.output.splitlines()[1:] == ["two /dev/pipes/E", "third"]


def test_the_shell_can_be_another(builder: Builder) -> None:
    """SHELL is for what is not JSON."""
    word = unique()
    builder.build(f'FROM busybox\nSHELL ["/bin/sh", "-xc"]\nRUN true {word}\nRUN ["/bin/echo", "$HOME"]\n')
    assert f"+ true {word}\n" in builder.output
    assert "\n$HOME\n" in f"\n{builder.output}"


def test_a_user_is_looked_up_in_the_image(builder: Builder) -> None:
    """By name or number, with a group; its files are its own, and so is the folder that WORKDIR makes."""
    builder.build(
        f"FROM busybox\nUSER app:wheel\nWORKDIR /home/app\nRUN id -u; id -g; echo {unique()} > x; echo $HOME; stat -c %u:%g x .\n"
    )
    assert builder.output.splitlines() == ["1000", "10", "/home/app", "1000:10", "1000:10"]


def test_a_missing_file_names_the_line_and_the_nearest(builder: Builder) -> None:
    """So does a context that is none."""
    builder.write({"there.txt": ""})
    with pytest.raises(DockerfileError) as caught:
        builder.build("FROM busybox\n\nCOPY here.txt /\n")
    assert caught.value.message == "line 3: 'here.txt' is not in the context"
    assert caught.value.hint == "did you mean there.txt?"
    with pytest.raises(DockerfileError, match="line 2: 'a' cannot be copied: this build has no context"):
        builder.build("FROM busybox\nCOPY a /\n", context=False)


def test_errors_of_a_copy_name_the_line(builder: Builder) -> None:
    """A file in the place of a folder, a broken archive, a stage without the file; an owner that nobody knows is root, with a warning."""
    builder.write({"a": unique() * 300, "d/x": ""})
    for line, words in {
        "COPY a /etc": "",
        "COPY d /etc/passwd": "passwd",
        "COPY --from=busybox /nothing /": "nothing",
    }.items():
        if words:
            with pytest.raises(DockerfileError, match=rf"^line 2: .*{words}"):
                builder.build(f"FROM busybox\n{line}\n")
    builder.write({"x.tar": ""})
    import tarfile

    with tarfile.open(builder.context / "x.tar", "w") as archive:
        archive.add(builder.context / "a", "a")
    (builder.context / "x.tar").write_bytes((builder.context / "x.tar").read_bytes()[:3000])
    with pytest.raises(DockerfileError, match=r"^line 2: "):
        builder.build("FROM busybox\nADD x.tar /\n")
    builder.build("FROM busybox\nCOPY --chown=nobody-knows a /\n")
    assert ["nobody-knows" in event.message for event in builder.events if isinstance(event, Warned)] == [True]
    builder.build("FROM busybox\nADD a /\n")


def test_a_wildcard_that_matches_nothing_is_a_warning(builder: Builder) -> None:
    """As BuildKit has it, which says nothing."""
    builder.build("FROM busybox\nCOPY *.none /x/\n")
    assert [event.message for event in builder.events if isinstance(event, Warned)] == [
        "'*.none' matches nothing in the context"
    ]


def test_the_same_time_gives_the_same_image(
    builder: Builder, started: tuple[Store, Runtime, object], tmp_path: Path, busybox: Path
) -> None:
    """With SOURCE_DATE_EPOCH two stores make the same digests, however long there is between them."""
    builder.write({"a": unique(), "d/e": "x"})
    text = "FROM busybox\nRUN mkdir /made && echo x > /made/file\nWORKDIR /w\nCOPY . /all\n"
    first = builder.build(text, epoch=1_000_000_000)
    with Store(tmp_path / "other", identity=builder.host.identity) as store:
        other = Builder(store, builder.runtime, builder.host, builder.context)
        builder.store.images.resolve("busybox")
        with (tmp_path / "image.tar").open("wb") as stream:
            from nbcontainers.store import archive

            archive.save(builder.store, [builder.store.images.resolve("busybox")], stream)
        with (tmp_path / "image.tar").open("rb") as stream:
            archive.load(store, stream)
        second = other.build(text, epoch=1_000_000_000)
    assert second.image.id == first.image.id
    assert first.image.config.created == "2001-09-09T01:46:40Z"


EVERYWHERE = """FROM busybox AS made
RUN mkdir -p /out/d && echo x > /out/d/file && ln -s file /out/d/link && chmod 750 /out/d && touch /out/empty
FROM scratch
COPY --from=made /out /out
COPY --chown=0:0 --chmod=640 a /a
WORKDIR /w
"""
EVERYWHERE_LAYERS = ["f63db1c6fd04", "8f7df16659e1", "5143e6766d42"]


def test_the_same_time_gives_the_same_digests_everywhere(builder: Builder) -> None:
    """For root and for an ordinary user, on every host: so they can stand here."""
    builder.write({"a": "a\n"})
    for _ in range(2):
        made = builder.build(EVERYWHERE, epoch=1_000_000_000, no_cache=True)
        assert [digest.hex[:12] for digest in made.image.config.diff_ids] == EVERYWHERE_LAYERS


EVERYTHING = """FROM busybox AS a
ARG V=1
ENV A=b$V
MAINTAINER me
LABEL a=1 b="two words"
USER app
WORKDIR /w/x
EXPOSE 80 443/udp
VOLUME /data /b
STOPSIGNAL 9
SHELL ["/bin/sh", "-ec"]
HEALTHCHECK --start-period=1m30s CMD ["a","b"]
ENTRYPOINT ["x"]
CMD a b
CMD []
ONBUILD RUN echo
COPY --chown=app Dockerfile z/
ARG UN
USER root
RUN echo $V
"""


def test_configuration_and_history_are_buildkits(builder: Builder) -> None:
    """What dockerd's BuildKit wrote for the same Dockerfile; newer ones name --chown in a COPY's line, and so do we."""
    builder.write({"Dockerfile": EVERYTHING})
    made = builder.build(EVERYTHING)
    written = json.loads(builder.store.content.read(made.image.id))
    assert written["author"] == "me"
    assert written["config"] == {
        "User": "root",
        "ExposedPorts": {"443/udp": {}, "80/tcp": {}},
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "A=b1"],
        "Entrypoint": ["x"],
        "Volumes": {"/b": {}, "/data": {}},
        "WorkingDir": "/w/x",
        "Labels": {"a": "1", "b": "two words"},
        "StopSignal": "9",
        "Healthcheck": {"Test": ["CMD", "a", "b"], "StartPeriod": 90000000000},
        "OnBuild": ["RUN echo"],
        "Shell": ["/bin/sh", "-ec"],
        "ArgsEscaped": True,
    }
    history = written["history"][2:]
    assert {line["comment"] for line in history} == {"buildkit.dockerfile.v0"}
    assert [(line["created_by"], line.get("empty_layer", False)) for line in history] == [
        ("ARG V=1", True),
        ("ENV A=b1", True),
        ("MAINTAINER me", True),
        ("LABEL a=1 b=two words", True),
        ("USER app", True),
        ("WORKDIR /w/x", False),
        ("EXPOSE [443/udp 80/tcp]", True),
        ("VOLUME [/data /b]", True),
        ("STOPSIGNAL 9", True),
        ("SHELL [/bin/sh -ec]", True),
        ('HEALTHCHECK &{["CMD" "a" "b"] "0s" "0s" "1m30s" "0s" \'\\x00\'}', True),
        ('ENTRYPOINT ["x"]', True),
        ('CMD ["/bin/sh" "-ec" "a b"]', True),
        ("CMD []", True),
        ("COPY --chown=app Dockerfile z/ # buildkit", False),
        ("ARG UN", True),
        ("USER root", True),
        ("RUN |2 V=1 UN= /bin/sh -ec echo $V # buildkit", False),
    ]
    assert written["created"] == history[-1]["created"]


def test_an_image_with_triggers_executes_them(builder: Builder) -> None:
    """ONBUILD of an image of the store comes first, at the place of the FROM; the new image has none."""
    word = unique()
    base = builder.build(f"FROM busybox\nONBUILD RUN echo {word} > /triggered\nONBUILD ENV A=$A-{word}\n")
    assert base.image.config.config.on_build == (f"RUN echo {word} > /triggered", f"ENV A=$A-{word}")
    made = builder.build(f"FROM {base.image.id}\nRUN cat /triggered; echo $A\n")
    assert builder.output == f"{word}\n-{word}\n"
    assert [step.lines for step in made.steps] == [(1, 1), (1, 1), (2, 2)]
    assert made.image.config.config.on_build == ()


def test_the_toolbox_is_made_when_it_is_not_there(builder: Builder) -> None:
    """And only then, and only when a FROM asks for it."""
    asked = []

    def toolbox() -> Image:
        asked.append(1)
        return builder.store.images.resolve("busybox")

    builder.no_toolbox = toolbox  # type: ignore[method-assign]
    builder.build("FROM busybox\nENV A=1\n")
    assert asked == []
    assert builder.build("FROM toolbox\nENV A=1\n").image.layers
    assert asked == [1]


def test_two_builds_at_once_both_succeed(builder: Builder) -> None:
    """Also when they make the same layers."""
    word = unique()
    text = f"FROM busybox\nRUN echo {word} > /a\nRUN mkdir /b && echo {word} > /b/c\nCOPY a /\n"
    builder.write({"a": word})

    def build() -> Digest:
        with Store(builder.store.root, identity=builder.host.identity) as store:
            return Builder(store, builder.runtime, builder.host, builder.context).build(text).image.id

    with ThreadPoolExecutor(2) as pool:
        made = [future.result() for future in [pool.submit(build) for _ in range(2)]]
    builder.build(text)
    assert builder.cached == [True] * 4
    assert all(builder.store.images.resolve(image) for image in made)


def test_a_build_argument_can_fix_the_time(builder: Builder) -> None:
    """SOURCE_DATE_EPOCH as BuildKit takes it; it need not be declared."""
    made = builder.build("FROM busybox\nWORKDIR /x\n", arguments={"SOURCE_DATE_EPOCH": "1"})
    assert made.image.config.created == "1970-01-01T00:00:01Z"
    assert made.warnings == ()
    with pytest.raises(NBContainersError, match="SOURCE_DATE_EPOCH is 'now'"):
        builder.build("FROM busybox\n", arguments={"SOURCE_DATE_EPOCH": "now"})


def test_what_a_build_made_is_named_for_the_collector(builder: Builder) -> None:
    """The cache's layers are kept by a collection that is told so."""
    made = builder.build(f"FROM busybox\nRUN echo {unique()} > /x\n")
    kept = records.kept(builder.store.root)
    assert made.image.layers[-1].digest in kept.blobs
    assert made.image.chain_ids[-1] in kept.layers

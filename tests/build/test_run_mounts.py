"""RUN --mount: what a command sees while it runs, and what is left of it."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path

import pytest

from nbcontainers.build import caches
from nbcontainers.build.context import Context
from nbcontainers.build.execute import Settings
from nbcontainers.build.showing import Offers
from nbcontainers.errors import BuildError, DockerfileError
from nbcontainers.events import Warned
from tests.build.conftest import Builder
from tests.build.test_solver import unique
from tests.store.trees import paths


def changes(builder: Builder, text: str, **more: object) -> list[str]:
    """The paths of the last layer that a build made."""
    image = builder.build(text, **more).image  # type: ignore[arg-type]
    from nbcontainers.store.entries import Index

    index = Index.from_bytes((builder.store.root / "layers" / image.chain_ids[-1].hex / "index").read_bytes())
    return sorted(path for path in index.paths if path != "/")


def test_a_bind_shows_the_context_as_it_is_copied(builder: Builder) -> None:
    """Without what is ignored, owned by root, read-only unless asked, and no part of the layer."""
    builder.write({"src/a": unique(), "src/b": "b\n", "src/no": "", ".dockerignore": "src/no\n"})
    text = """FROM busybox
RUN --mount=target=/in/here,source=src \\
    --mount=type=bind,src=src/b,dst=/one \\
    --mount=target=/rw,rw \\
    ls /in/here; cat /one; touch /in/here/x; echo $?; touch /rw/x && ls /rw; stat -c %u /in/here/a; echo done > /done
"""
    assert changes(builder, text) == ["/dev", "/done", "/proc", "/sys"]
    lines = builder.output.splitlines()
    assert lines[:3] == ["a", "b", "b"]
    assert [line for line in lines if not line.startswith("touch")][3:] == ["1", "src", "x", "0"]
    assert builder.build(text)
    assert all(builder.cached)
    builder.write({"src/b": "other\n"})
    assert builder.build(text)
    assert not all(builder.cached)


def test_a_bind_shows_a_stage_or_an_image(builder: Builder) -> None:
    """A folder or a file of it, found inside it whatever its links say."""
    text = f"""FROM busybox AS made
RUN mkdir -p /out/sub && echo {unique()} > /out/sub/file && ln -s /out/sub /link && ln -s ../../../../etc /out/up
FROM busybox
RUN --mount=from=made,source=/link,target=/a --mount=from=made,source=/out/sub/file,target=/b \\
    --mount=from=busybox,target=/c --mount=from=made,source=/out/up,target=/d \\
    cat /a/file /b > /got; ls /c; ls /d > /etc-of-made
"""
    paths = changes(builder, text)
    assert paths == ["/dev", "/etc-of-made", "/got", "/proc", "/sys"]
    assert "bin" in builder.output.split()
    with pytest.raises(BuildError):
        builder.build("FROM busybox\nRUN --mount=from=busybox,source=/nothing,target=/x true\n")


def test_caches_outlive_builds(builder: Builder) -> None:
    """Shared by their id, mode and owner, empty at first; nothing of them is in the layer."""
    name = unique().strip()
    text = f"FROM busybox\nRUN --mount=type=cache,id={name},target=/c,mode=0711 stat -c %a /c; ls /c; echo {{}} > /c/{{}}\n"
    assert changes(builder, text.format(1, 1)) == ["/dev", "/proc", "/sys"]
    assert builder.output.splitlines() == ["711"]
    builder.build(text.format(2, 2))
    assert builder.output.splitlines() == ["711", "1"]
    for options, there in (("source=/,mode=711,uid=0", ["1", "2"]), ("mode=0711,uid=5", []), ("source=/", [])):
        mounts = f"--mount=type=cache,id={name},target=/c,{options} --mount=type=cache,target=/o-{name}"
        builder.build(f"FROM busybox\nRUN {mounts} ls /c\n")
        assert builder.output.splitlines() == there
    assert [cache.id for cache in caches.every(builder.store.root) if cache.id == name] == [name] * 3
    for cache in caches.every(builder.store.root):
        if cache.id == name:
            assert caches.remove(cache, builder.store.worker)
    builder.build(text.format(3, 3))
    assert builder.output.splitlines() == ["711"]


def test_a_cache_begins_with_what_it_is_made_from(builder: Builder) -> None:
    """``from`` fills it once; a link that a command put into a cache leads nowhere."""
    name = unique().strip()
    text = f"FROM busybox AS seed\nRUN mkdir /s && echo {name} > /s/f\nFROM busybox\n"
    text += f"RUN --mount=type=cache,id={name},from=seed,source=/s,target=/c cat /c/f; echo more > /c/g\n"
    builder.build(text)
    assert builder.output.splitlines()[-1] == name
    builder.build(f"FROM busybox\nRUN --mount=type=cache,id=l{name},target=/c ln -s /etc /c/away\n")
    with pytest.raises(BuildError):
        builder.build(f"FROM busybox\nRUN --mount=type=cache,id=l{name},source=/away,target=/c ls /c\n")


def test_private_caches_are_kept_apart_and_locked_ones_wait(builder: Builder) -> None:
    """Who holds a private cache has it alone: the next gets another folder; for a locked one he waits."""
    root, made = builder.store.root, []
    with caches.used(root, "p", "private", Path.mkdir) as one, caches.used(root, "p", "private", Path.mkdir) as other:
        assert one != other
    with caches.used(root, "l", "locked", Path.mkdir):

        def wait() -> None:
            with caches.used(root, "l", "locked", Path.mkdir):
                made.append("second")

        thread = threading.Thread(target=wait)
        thread.start()
        made.append("first")
    thread.join()
    assert made == ["first", "second"]


def test_memory_is_empty_and_limited(builder: Builder) -> None:
    """A tmpfs of the size that was asked for."""
    text = f"FROM busybox\nRUN --mount=type=tmpfs,target=/m,size=1m test ! -e /m/x && echo {unique()} > /m/x && cat /proc/mounts\n"
    assert changes(builder, text) == ["/dev", "/proc", "/sys"]
    (line,) = [line for line in builder.output.splitlines() if " /m " in line]
    assert "size=1024k" in line


def test_secrets_are_seen_by_the_command_alone(builder: Builder) -> None:
    """As a file or a variable; no layer, history, cache key or record has a trace of them."""
    value = f"secret-{unique().strip()}"
    text = f"""FROM busybox
RUN --mount=type=secret,id=token --mount=type=secret,id=token,target=/etc/tok,mode=0444 --mount=type=secret,id=token,env=TOKEN \\
    test "$(cat /run/secrets/token)" = "$TOKEN" && stat -c %a /run/secrets/token /etc/tok && echo {unique()} > /x
"""
    settings = Settings(offers=Offers(secrets={"token": value.encode()}))
    result = builder.build(text, settings=settings)
    assert builder.output.splitlines() == ["400", "444"]
    assert value not in str(result.image.config)
    for path in map(Path, paths(str(builder.store.root))):
        # Other tests' layers have other users' files; and what the next builds will want is made just now.
        with contextlib.suppress(PermissionError, FileNotFoundError):
            assert not path.is_file() or value.encode() not in path.read_bytes(), path
    other = Settings(offers=Offers(secrets={"token": b"other"}))
    builder.build(text, settings=other)
    assert all(builder.cached)
    assert changes(builder, text, settings=other) == ["/dev", "/proc", "/sys", "/x"]


def test_no_mount_hides_one_below_it(builder: Builder) -> None:
    """They may be written in any order; of two in one place the last is seen."""
    flags = "--mount=type=tmpfs,target=/a/b/c --mount=type=tmpfs,target=/a --mount=type=bind,target=/a/b --mount=type=tmpfs,target=/a"
    builder.write({"file": "x"})
    builder.build(
        f"FROM busybox\nRUN {flags.replace('target=/a/b ', 'target=/b,rw ')} touch /a/b/c/x /b/x; ls /a/b /b; echo {unique()}\n"
    )
    assert builder.output.split()[:5] == ["/a/b:", "c", "/b:", "file", "x"]


def test_a_tmpfs_has_the_mode_of_what_it_covers(builder: Builder) -> None:
    """A new folder is everybody's."""
    folders = "/kept /new"
    flags = " ".join(f"--mount=type=tmpfs,target={folder}" for folder in folders.split())
    builder.build(f"FROM busybox\nRUN mkdir -m 750 /kept\nRUN {flags} stat -c %a {folders}; echo {unique()}\n")
    assert builder.output.split()[:2] == ["750", "1777"]


def test_a_required_secret_must_be_given(builder: Builder) -> None:
    """One that is not required is simply not there."""
    builder.build(f"FROM busybox\nRUN --mount=type=secret,id=no test ! -e /run/secrets/no && echo {unique()}\n")
    with pytest.raises(DockerfileError, match="'no' is required") as caught:
        builder.build(f"FROM busybox\nRUN --mount=type=secret,id=no,required=true echo {unique()}\n")
    assert caught.value.lines == (2, 2)
    text = f"FROM busybox\nRUN --mount=type=ssh,target=/agent test ! -e /agent && echo {unique()} $SSH_AUTH_SOCK\n"
    builder.build(text)
    assert builder.output.split()[-1] == "/agent"  # the place is told also where nothing is there
    with pytest.raises(DockerfileError, match="'default' is required"):
        builder.build(f"FROM busybox\nRUN --mount=type=ssh,required echo {unique()}\n")


def test_an_agent_answers_behind_a_socket(builder: Builder, tmp_path: Path) -> None:
    """Its own mode and place, and what is said there reaches the agent."""
    agent = socket.socket(socket.AF_UNIX)
    agent.bind(str(tmp_path / "a"))
    agent.listen()
    text = (
        f"FROM busybox\nRUN --mount=type=ssh,mode=0622 stat -c '%F %a' $SSH_AUTH_SOCK; echo {unique()} $SSH_AUTH_SOCK\n"
    )
    settings = Settings(offers=Offers(agents={"default": tmp_path / "a"}))
    with agent:
        builder.build(text, settings=settings)
    assert builder.output.splitlines()[0] == "socket 622"
    assert builder.output.split()[-1] == "/run/buildkit/ssh_agent.0"


def test_agents_are_numbered_by_their_mounts(builder: Builder, tmp_path: Path) -> None:
    """Each has a place of its own, those that are elsewhere or not given are counted, and ENV says better which is meant."""
    places = [tmp_path / name for name in ("a", "b")]
    listeners = []
    for place in places:
        listeners.append(socket.socket(socket.AF_UNIX))
        listeners[-1].bind(str(place))
        listeners[-1].listen()
    settings = Settings(offers=Offers(agents={"default": places[0], "b": places[1]}))
    mounts = " ".join(f"--mount=type=ssh{more}" for more in ("", ",id=b", ",id=no", ",id=b,target=up/s", ",id=b"))
    text = f"""FROM busybox
WORKDIR /srv/here
RUN {mounts} ls -d /run/buildkit/* /srv/here/up/s; echo {unique()} $SSH_AUTH_SOCK
RUN --mount=type=ssh,id=b,target=../s ls -d /srv/s; echo {unique()} $SSH_AUTH_SOCK
ENV SSH_AUTH_SOCK=/own
RUN --mount=type=ssh echo {unique()} $SSH_AUTH_SOCK
"""
    try:
        builder.build(text, settings=settings)
    finally:
        for listener in listeners:
            listener.close()
    found = [word for word in builder.output.split() if word.startswith("/")]
    agents = [f"/run/buildkit/ssh_agent.{number}" for number in (0, 1, 4)]
    assert found == [*agents, "/srv/here/up/s", agents[0], "/srv/s", "/srv/s", "/own"]


def test_a_secret_lies_below_the_working_directory(builder: Builder) -> None:
    """Where its target does not begin with a slash, as that of every other mount."""
    text = f"FROM busybox\nWORKDIR /srv\nRUN --mount=type=secret,id=s,target=up/s cat /srv/up/s; echo {unique()}\n"
    builder.build(text, settings=Settings(offers=Offers(secrets={"s": b"told "})))
    assert builder.output.split()[0] == "told"


def test_nothing_stays_of_what_a_command_is_lent(builder: Builder) -> None:
    """Neither below a mount that covers others, nor of a /dev/shm with a size of its own."""
    text = f"""FROM busybox AS lent
RUN --mount=from=busybox,source=/etc,target=/etc echo {unique()} > /x
FROM busybox
COPY --from=lent / /made/
RUN ls -A /made/etc; test ! -e /made/dev
"""
    builder.build(text, settings=Settings(shm_size=1 << 20))
    assert builder.output.split() == ["group", "passwd"]


def test_stubs_never_lead_out(builder: Builder, tmp_path: Path) -> None:
    """A command that replaces a folder on the way to a mount by a link removes nothing elsewhere (CVE-2024-23652)."""
    victim = tmp_path / "victim" / "b"
    victim.mkdir(parents=True)
    text = f"FROM busybox\nRUN --mount=type=tmpfs,target=/a/b/c mv /a /moved && ln -s {tmp_path}/victim /a; echo {unique()}\n"
    builder.build(text)
    assert victim.is_dir()


def test_a_named_context_can_be_mounted_copied_and_begun_with(builder: Builder, tmp_path: Path) -> None:
    """By COPY --from, RUN --mount=from, and FROM; its own .dockerignore counts."""
    other = tmp_path / "other"
    (other / "sub").mkdir(parents=True)
    (other / "sub/file").write_text(unique())
    (other / "no").write_text("")
    (other / ".dockerignore").write_text("no\n")
    opened = {"more": Context.open(other)}
    text = """FROM more AS tree
FROM busybox
COPY --from=more sub/ /copied/
COPY --from=tree /sub /begun/
RUN --mount=from=more,target=/m ls -A /m; ls /copied /begun
"""
    builder.build(text, contexts=opened)
    assert ".dockerignore" in builder.output
    assert "no" not in builder.output.split()
    assert builder.output.split().count("file") == 2
    builder.build("FROM busybox AS more\nRUN false\nFROM busybox\nCOPY --from=more sub/file /x\n", contexts=opened)


@pytest.mark.parametrize(
    ("mount", "told"),
    [
        ("type=ssh,env=X", "env, which does nothing for a ssh"),
        ("type=bind,target=/x,env=X,id=a", "env and id, which do nothing for a bind"),
        ("type=tmpfs,target=/x,env=X", "env, which does nothing for a tmpfs"),
        ("type=tmpfs,target=/x,from=busybox", "from, which does nothing for a tmpfs"),
    ],
)
def test_an_option_that_does_nothing_is_told(builder: Builder, mount: str, told: str) -> None:
    """BuildKit builds it without a word: so does it build here, with one."""
    builder.build(f"FROM busybox\nRUN --mount={mount} test -z $X && echo {unique()}\n")
    warned = [event for event in builder.events if isinstance(event, Warned)]
    assert [(event.message, event.line) for event in warned] == [(f"RUN --mount has {told}", 2)]


def test_memory_on_dev_has_the_devices(builder: Builder) -> None:
    """A tmpfs that is asked for on /dev is one with all that a /dev has, as in BuildKit, and its size is heeded."""
    text = f"FROM busybox\nRUN --mount=type=tmpfs,target=/dev,size=1m echo {unique()} > /dev/null && ls /dev && cat /proc/mounts\n"
    builder.build(text)
    assert {"null", "zero", "shm", "pts", "fd"} <= set(builder.output.split())
    (line,) = [line for line in builder.output.splitlines() if " /dev tmpfs " in line]
    assert "size=1024k" in line


@pytest.mark.parametrize(
    ("size", "kilobytes"), [("1e6", 980), ("+8192", 8), ("1.5m", 1536), (".5m", 512), ("10 kb", 12)]
)
def test_sizes_are_gos_numbers(builder: Builder, size: str, kilobytes: int) -> None:
    """As BuildKit reads them: also with an exponent, a sign, and a space before the unit."""
    text = f'FROM busybox\nRUN --mount=type=tmpfs,target=/m,"size={size}" cat /proc/mounts # {unique()}\n'
    builder.build(text)
    (line,) = [line for line in builder.output.splitlines() if " /m tmpfs " in line]
    assert f"size={kilobytes}k" in line


@pytest.mark.parametrize(
    ("mount", "words"),
    [
        ("type=bnid,target=/x", "type 'bnid'"),
        ("type=bind,traget=/x", "no option 'traget'"),
        ("type=bind,target=/x,sharing=locked", "'sharing', and its type is bind"),
        ("type=cache,target=/x,sharing=loked", "sharing=loked"),
        ("type=cache,target=/x,mode=9", "mode=9"),
        ("type=cache,target=/x,uid=-1", "uid=-1"),
        ("type=tmpfs,target=/x,size=many", "size=many"),
        ("type=tmpfs,target=/x,source=y", "source=/y, and its type is tmpfs"),
        ("type=ssh,source=y", "source, and its type is ssh"),
        ("type=ssh,target=/", "/ for a target"),
        ("size=1m,type=tmpfs,target=/x", "'size', and its type is bind"),
        ("required,type=secret,id=a", "'required', and its type is bind"),
        ("type=secret", "without a name"),
        ("type=secret,id=a,source=b", "both source and id"),
        ("type=bind,target=/", "/ for a target"),
        ("type=bind,target=/x,from=$y", "variable in from"),
        ("type=bind,target=/x,ro=maybe", "readonly=maybe"),
    ],
)
def test_a_mount_that_means_nothing_is_refused(builder: Builder, mount: str, words: str) -> None:
    """With its place, what was wanted, and what was got."""
    with pytest.raises(DockerfileError, match=words) as caught:
        builder.build(f"FROM busybox\nRUN --mount={mount} true\n")
    assert caught.value.lines == (2, 2)
    assert caught.value.hint

"""What the words of ``docker build`` mean: contexts of every kind, what is lent to commands, and what else is said of a build."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, TypedDict, cast

from ..errors import NBContainersError, NotFound
from ..events import Observer
from ..results import LintFinding
from . import options as words

if TYPE_CHECKING:
    from ..build.context import Context
    from ..build.showing import Offers
    from ..oci.descriptor import Platform
    from ..oci.image import Image
    from ..oci.runtime import Rlimit, RuntimeSpec
    from ..store.store import Store

_IMAGE = "docker-image://"
_LAYOUT = "oci-layout://"
_LIMITS = "as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack"
_ENTITLEMENTS = ("security.insecure", "network.host")
Where = str | Path | IO[bytes]


class BuildOptions(TypedDict, total=False):
    """What ``Engine.build`` takes beside the Dockerfile, its context and what nearly every build has; docker's words.

    ``contexts`` are more contexts by name: a folder, an address, ``docker-image://NAME`` or ``oci-layout://FOLDER:TAG``. ``secrets``
    are ``id=NAME,src=FILE`` or ``id=NAME,env=VARIABLE`` words, or contents by name; ``ssh`` is ``default`` or
    ``NAME=SOCKET_OR_KEY[,KEY]``. ``add_host`` is ``NAME:ADDRESS``, ``ulimits`` are ``nofile=SOFT[:HARD]``. ``outputs`` say where the
    result goes: ``type=image``, ``local``, ``tar``, ``oci``, ``docker`` or ``cacheonly`` with ``dest=`` and so on, a folder, or
    ``-``, which is ``stream``; ``iidfile`` and ``metadata_file`` are written at the end. ``no_cache_filter`` names stages that are
    made anew. ``cache_from`` and ``cache_to`` are ``type=registry,ref=NAME``, ``type=local,src=FOLDER`` (``dest=`` to),
    ``type=inline`` and an image's name alone; with ``mode=max`` all steps go there. ``allow`` lends ``security.insecure`` to RUN
    --security=insecure (``network.host`` needs no such word here).
    """

    contexts: Mapping[str, str | Path]
    secrets: Sequence[str] | Mapping[str, bytes]
    ssh: Sequence[str]
    labels: Sequence[str] | Mapping[str, str]
    add_host: Sequence[str]
    network: str
    platform: str
    shm_size: int | str
    ulimits: Sequence[str]
    outputs: Sequence[str]
    stream: IO[bytes]
    iidfile: str | Path
    metadata_file: str | Path
    no_cache_filter: Sequence[str]
    cache_from: Sequence[str]
    cache_to: Sequence[str]
    allow: Sequence[str]


def check(given: Mapping[str, Any]) -> None:
    """Refuse a word that is none of BuildOptions: NBContainersError with "did you mean"."""
    import difflib

    for word in given:
        if word not in BuildOptions.__annotations__:
            near = difflib.get_close_matches(word, BuildOptions.__annotations__, n=1)
            hint = (
                f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(BuildOptions.__annotations__))}"
            )
            raise NBContainersError(f"unknown option {word!r}", hint=hint)


@dataclass
class Prepared:
    """A Dockerfile's text and the contexts of its build: folders by name ("" is its own), and images by name.

    ``file`` is the Dockerfile's place, if it has one; ``images`` are those that no store names, by what stands for them in
    ``aliases``.
    """

    text: str
    file: str = ""
    contexts: dict[str, Context] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    images: dict[str, Image] = field(default_factory=dict)


@contextlib.contextmanager
def prepared(
    store: Store, dockerfile: str | Path, context: Where | None, named: Mapping[str, str | Path], on_event: Observer
) -> Iterator[Prepared]:
    """Read a Dockerfile and open its contexts; what was fetched or unpacked for it is gone at the end.

    Args:
        store: keeps digests of files, and what is fetched for a while.
        dockerfile: its text, or its file: beside the caller, or in a context that is an archive or address.
        context: a folder, a tar archive (a file, or open), a repository's address or that of an archive; None for none. What is
            no archive, but was to be one, is the Dockerfile itself.
        named: more contexts.
        on_event: hears of what is fetched.

    Raises:
        NotFound: a Dockerfile, folder or address that is not there.
    """
    from ..build.context import Context
    from ..build.stages import context_name

    digests = store.root / "cache" / "digests"
    with contextlib.ExitStack() as stack:
        found = stack.enter_context(_opened(store, context, on_event)) if context is not None else None
        file = dockerfile if isinstance(dockerfile, Path) else None
        if isinstance(found, str):
            text, root = found, None
        else:
            root = found
            if file is not None and root is not None and not _is_folder(context):
                file = root / Context(root).resolve(str(file)) if _exists(root, str(file)) else _missing(file)
            text = _read(file) if file is not None else str(dockerfile)
        made = Prepared(text, str(file.absolute()) if file else "")
        if root is not None:
            made.contexts[""] = Context.open(root, dockerfile=file.absolute() if file else None, digests=digests)
        for name, where in named.items():
            if str(where).startswith(_IMAGE):
                made.aliases[context_name(name)] = str(where).removeprefix(_IMAGE)
                continue
            if is_layout(where):
                made.aliases[context_name(name)] = str(where)
                made.images[str(where)] = _of_layout(store, str(where).removeprefix(_LAYOUT))
                continue
            folder = stack.enter_context(_opened(store, where, on_event))
            if isinstance(folder, str):
                raise NBContainersError(
                    f"the context {name!r} is no folder: {where}", hint="name a folder or a repository"
                )
            made.contexts[context_name(name)] = Context.open(folder, digests=digests)
        yield made


@contextlib.contextmanager
def _opened(store: Store, where: Where, on_event: Observer) -> Iterator[Path | str]:
    """A context's folder; the text where it turns out to be a Dockerfile."""
    from ..build import fetching, remotes
    from ..store import unarchive
    from ..store.attributes import Owners

    if isinstance(where, str) and not _is_folder(where):
        where = remotes.of_context(where)
    if _is_folder(where) or (
        isinstance(where, str | Path) and not Path(where).is_file() and not remotes.is_remote(str(where))
    ):
        yield Path(cast("str", where))
        return
    folder = store.root / "snapshots" / f"context-{secrets.token_hex(8)}"
    store.leases.protect(folder.name)
    folder.mkdir(mode=0o700)
    try:
        if isinstance(where, str | Path) and Path(where).is_file():
            file = Path(where)
        elif isinstance(where, str | Path):
            remote = remotes.parse(str(where))
            if remote.kind == "git":
                yield fetching.repository(remote, fetching.commit_of(remote), folder).path
                return
            file = fetching.file(remote, folder, on_event).path
        else:
            file = folder / "standard-input"
            with file.open("wb") as target:
                shutil.copyfileobj(where, target)
        if not unarchive.is_archive(os.fsencode(file)):
            yield _read(file)
            return
        (folder / "tree").mkdir()
        descriptor = os.open(folder / "tree", os.O_RDONLY | os.O_DIRECTORY)
        try:
            unarchive.unpack(os.fsencode(file), descriptor, Owners())
        finally:
            os.close(descriptor)
        yield folder / "tree"
    finally:
        store.worker.remove(folder)


def _of_layout(store: Store, words: str) -> Image:
    """The image of ``FOLDER[:TAG][@DIGEST]`` in an OCI layout."""
    from ..store.layouts import Layout

    place, _, digest = words.partition("@")
    folder, colon, tag = place.rpartition(":")
    if not colon or "/" in tag:
        folder, tag = place, ""
    return Layout(Path(folder).expanduser()).image(store, digest or tag)


def is_layout(where: str | Path) -> bool:
    """Whether the word for a context is an image in an OCI layout."""
    return str(where).startswith(_LAYOUT)


def is_address(context: str) -> bool:
    """Whether the word for a context is an address, and no path of this host."""
    from ..build import remotes

    return not Path(context).exists() and remotes.is_remote(remotes.of_context(context))


def _is_folder(where: Where | None) -> bool:
    return isinstance(where, str | Path) and Path(where).is_dir()


def _exists(root: Path, name: str) -> bool:
    from ..build.context import Context

    try:
        return (root / Context(root).resolve(name)).is_file()
    except OSError:
        return False


def _missing(file: Path) -> Path:
    raise NotFound(
        f"no Dockerfile {str(file)!r} in the context", hint="name it with -f, as it is called in the context"
    )


def _read(file: Path) -> str:
    """A Dockerfile's text; a line end is what it is, and so is what is no UTF-8."""
    try:
        return file.read_bytes().decode("utf-8", "surrogateescape")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise NotFound(f"no Dockerfile at {file}", hint="name it with -f, or the folder that holds it") from None


def findings(
    prepared: Prepared, find: Callable[[str], Image], args: Mapping[str, str], target: str
) -> tuple[LintFinding, ...]:
    """What is dubious in a Dockerfile: of every stage, or of those that a target needs. Images that are not here are not needed."""
    from ..build.plan import plan
    from ..build.stages import UNKNOWN

    def resolve(name: str) -> Image:
        try:
            return find(name)
        except NotFound:
            return UNKNOWN

    made = plan(
        prepared.text,
        resolve=resolve,
        arguments=args,
        target=target,
        folders=frozenset(prepared.contexts) - {""},
        aliases=prepared.aliases,
        ignore=prepared.contexts[""].ignore if "" in prepared.contexts else None,
        everything=True,
        insecure=True,
    )
    return tuple(
        LintFinding(
            rule=one.rule,
            message=one.message,
            hint=one.hint,
            line=one.range.line,
            column=one.range.column,
            end_line=one.range.end_line,
            end_column=one.range.end_column,
        )
        for one in made.findings
    )


def offers(given: Sequence[str] | Mapping[str, bytes], ssh: Sequence[str]) -> Offers:
    """What is lent to commands. NBContainersError for a word that says nothing, NotFound for a file that is not there."""
    from ..build.showing import Offers

    contents = dict(given) if isinstance(given, Mapping) else dict(_secret(word) for word in given)
    agents: dict[str, Path] = {}
    keys: dict[str, list[Path]] = {}
    for word in filter(None, ssh):  # an empty one lends nothing, as in buildx
        name, _, places = word.partition("=")
        name = name or "default"
        paths = [Path(place).expanduser() for place in places.split(",") if place]
        if not paths and os.environ.get("SSH_AUTH_SOCK"):
            paths = [Path(os.environ["SSH_AUTH_SOCK"])]
        if not paths:
            raise NBContainersError(
                f"no ssh agent for {word!r}", hint="start one (SSH_AUTH_SOCK), or name a key: default=KEY"
            )
        for path in paths:
            if not path.exists():
                raise NotFound(f"no ssh agent or key at {path}")
        if name in agents or name in keys:
            raise NBContainersError(f"two ssh agents are called {name!r}", hint="each has an id: default, or another")
        if any(path.is_socket() for path in paths):
            if len(paths) > 1:
                raise NBContainersError(f"several agents in {word!r}", hint="an id stands for one socket, or for keys")
            agents[name] = paths[0]
        else:
            keys[name] = paths
    return Offers(secrets=contents, agents=agents, keys=keys)


def _secret(word: str) -> tuple[str, bytes]:
    fields = dict(part.partition("=")[::2] for part in word.split(","))
    name, kind = fields.pop("id", ""), fields.pop("type", "")
    source = fields.pop("src", fields.pop("source", ""))
    variable = fields.pop("env", "")
    if not name or fields or kind not in ("", "file", "env") or (source and variable):
        raise NBContainersError(f"not a secret: {word!r}", hint="it reads id=NAME,src=FILE or id=NAME,env=VARIABLE")
    if kind == "env" and not variable:
        variable, source = source or name, ""
    if not source and not variable:
        variable = name if name in os.environ else ""
        source = "" if variable else name
    if variable:
        if variable not in os.environ:
            raise NotFound(f"the secret {name!r} is to be the variable {variable}, which is not set")
        return name, os.fsencode(os.environ[variable])
    try:
        return name, Path(source).expanduser().read_bytes()
    except OSError as error:
        raise NotFound(f"the secret {name!r} cannot be read from {source}: {error.strerror}") from error


def hosts(given: Sequence[str]) -> tuple[str, ...]:
    """Lines of /etc/hosts for ``NAME:ADDRESS`` words."""
    lines = []
    for word in given:
        name, sign, address = word.partition("=") if "=" in word else word.partition(":")
        with contextlib.suppress(ValueError):
            if sign and name and not re.search(r"\s", name):
                lines.append(f"{ipaddress.ip_address(address.strip('[]'))}\t{name}")
                continue
        raise NBContainersError(f"not a host: {word!r}", hint="it reads NAME:ADDRESS, as in db:10.0.0.5")
    return tuple(lines)


def limits(given: Sequence[str]) -> tuple[Rlimit, ...]:
    """Limits of resources for ``NAME=SOFT[:HARD]`` words; -1 is none."""
    from ..oci.runtime import Rlimit

    found = []
    for word in given:
        name, _, numbers = word.partition("=")
        soft, colon, hard = numbers.partition(":")
        try:
            pair = [int(soft), int(hard if colon else soft)]
        except ValueError:
            pair = []
        if name not in _LIMITS.split() or not pair or min(pair) < -1:
            raise NBContainersError(f"not a limit: {word!r}", hint="it reads NAME=SOFT:HARD, as in nofile=1024:2048")
        values = [(1 << 64) - 1 if value < 0 else value for value in pair]
        found.append(Rlimit(type=f"RLIMIT_{name.upper()}", soft=values[0], hard=values[1]))
    return tuple(found)


def insecure(words: Sequence[str]) -> Callable[[RuntimeSpec], RuntimeSpec] | None:
    """What ``--allow`` lets commands have that want it: all that ``--privileged`` gives, or nothing."""
    from . import security

    for word in words:
        if word not in _ENTITLEMENTS:
            raise NBContainersError(f"nothing to allow: {word!r}", hint=f"known are {' and '.join(_ENTITLEMENTS)}")
    if "security.insecure" not in words:
        return None
    return lambda spec: security.apply(spec, security.Security(), {"privileged": True})


def network(word: str) -> Literal["default", "host", "none"]:
    """What ``--network`` means for commands of a build."""
    if word not in ("", "default", "host", "none"):
        raise NBContainersError(f"unknown network {word!r} for a build", hint="known are default, host and none")
    return cast("Literal['default', 'host', 'none']", word or "default")


def platform(word: str) -> Platform | None:
    """What ``--platform`` means; None for this host's."""
    from ..build.stages import read_platform
    from ..oci import platforms
    from ..oci.descriptor import Platform

    if not word:
        return None
    try:
        return read_platform(word, Platform.host())
    except ValueError:
        raise platforms.unreadable(word) from None


def shm_size(value: int | str) -> int:
    """Bytes of /dev/shm; 0 for the usual."""
    return words.size(value) if value else 0

"""The verbs that speak to registries."""

from __future__ import annotations

import getpass
import sys
from argparse import Namespace
from typing import NoReturn

from ..engine import Engine
from ..errors import NBContainersError, NotFound, RegistryError
from ..events import Event, Observer, Warned
from ..oci.reference import Reference
from . import format as form
from . import text
from .archives import compression
from .console import Console
from .flags import FORMAT, PLATFORM, Command, Flag, Operand

INSECURE = Flag(
    names=("--insecure",),
    help="take a certificate that is not valid, and http where there is no https, of this registry",
)
QUIET = Flag(names=("-q", "--quiet"), help="tell no progress")
_TRUST = (
    "there is no content trust (Notary v1) here to disable; a digest (NAME@sha256:…) says exactly which image is meant"
)
TRUST = Flag(names=("--disable-content-trust",), help=f"refused: {_TRUST}", refusal=_TRUST)


REFERRER_COLUMNS = (
    ("DIGEST", "Digest"),
    ("ARTIFACT TYPE", "ArtifactType"),
    ("SIZE", "Size"),
    ("CREATED AT", "CreatedAt"),
)
_DOCKER_HUB = "https://index.docker.io/v1/"  # as its credentials are named where they are kept
_CREATED = "org.opencontainers.image.created"


def pull(engine: Engine, values: Namespace, console: Console) -> int:
    """Bring an image, or all tags of a repository, from a registry."""
    name, progress = values.name, console.transfers(quiet=values.quiet)
    if values.all_tags:
        for image in engine.pull_all(name, platform=values.platform, insecure=values.insecure, on_event=progress):
            if values.quiet:
                console.print(str(image.reference))
        return 0
    reference = Reference.parse(name)
    if not reference.digest and ":" not in name.rpartition("/")[2] and not values.quiet:
        console.print("Using default tag: latest")
    image = engine.pull(name, platform=values.platform, insecure=values.insecure, on_event=progress)
    console.print(str(image.reference or reference))
    return 0


def push(engine: Engine, values: Namespace, console: Console) -> int:
    """Bring an image, or all tags of a repository, to a registry."""
    name = values.name
    if not values.all_tags and not values.quiet and ":" not in name.rpartition("/")[2] and "@" not in name:
        console.print("Using default tag: latest")
    progress = console.transfers(quiet=values.quiet)
    engine.push(
        name,
        all_tags=values.all_tags,
        platform=values.platform,
        compression=values.compression_format,
        insecure=values.insecure,
        on_event=progress,
    )
    if values.quiet:
        console.print(str(Reference.parse(name)))
    return 0


def referrers(engine: Engine, values: Namespace, console: Console) -> int:
    """List what belongs to an image at its registry."""
    found = engine.referrers(
        values.image,
        artifact_type=values.artifact_type,
        insecure=values.insecure,
        on_event=console.transfers(errors=True),
    )
    items = [
        {
            "Digest": str(entry.digest),
            "ArtifactType": text.printable(entry.artifact_type) or "<none>",
            "MediaType": text.printable(entry.media_type),
            "Size": entry.size if values.format == "json" else form.size(entry.size),
            "CreatedAt": text.printable(entry.annotations.get(_CREATED, "")),
            "Annotations": dict(entry.annotations),
        }
        for entry in found
    ]
    content = form.rows(items, values.format, REFERRER_COLUMNS)
    if content:
        console.print(content)
    return 0


def login(engine: Engine, values: Namespace, console: Console) -> int:
    """Keep a user name and a password for a registry."""

    def told(event: Event) -> None:
        if isinstance(event, Warned):
            console.note(f"warning: {event.message}" + (f" ({event.hint})" if event.hint else ""), style="yellow")

    if not (values.username or values.password or values.password_stdin) and _is_logged_in(
        engine, values, console, told
    ):
        console.print("Login Succeeded")
        return 0
    username, password = _who(values, console)
    kept = engine.login(
        values.server or "", username=username, password=password, insecure=values.insecure, on_event=told
    )
    if not kept.startswith("docker-credential-"):
        console.note(
            f"warning: the password is kept in {kept} as it is; a credential helper (credsStore) would protect it",
            style="yellow",
        )
    console.print("Login Succeeded")
    return 0


def _is_logged_in(engine: Engine, values: Namespace, console: Console, told: Observer) -> bool:
    """Whether the registry takes what is kept for it already, so that nothing need be asked."""
    try:
        username = engine.logged_in(values.server or "", insecure=values.insecure, on_event=told)
    except RegistryError as error:
        if error.status not in (401, 403):
            raise
        console.note(f"{error.message}: they were kept from an earlier login", style="yellow")
        return False
    if username:
        console.print(f"Authenticating with existing credentials... [Username: {username}]")
        console.print("To login with a different account, run 'nbcontainers logout' followed by 'nbcontainers login'\n")
    return bool(username)


def _who(values: Namespace, console: Console) -> tuple[str, str]:
    """User name and password: from flags, from standard input, or asked for at a terminal."""
    if values.password is not None and values.password_stdin:
        raise NBContainersError("--password and --password-stdin are mutually exclusive", hint="use --password-stdin")
    username, password = values.username or "", values.password or ""
    if values.password_stdin:
        if not username:
            raise NBContainersError("--password-stdin without --username", hint="give -u NAME too")
        password = sys.stdin.read().rstrip("\r\n")
        if not password:
            _no_password()
        return username, password
    if values.password is not None:
        console.note("warning: other users see a password on the command line; use --password-stdin", style="yellow")
    if username and password:
        return username, password
    if not sys.stdin.isatty():
        _no_password()
    console.err.write("Username: " if not username else "")
    console.err.flush()
    username = username or sys.stdin.readline().strip()
    return username, password or getpass.getpass("Password: ", console.err)


def _no_password() -> NoReturn:
    raise NBContainersError(
        "no password: there is no terminal to ask for one",
        hint="give -u NAME and --password-stdin, and send it by a pipe",
    )


def logout(engine: Engine, values: Namespace, console: Console) -> int:
    """Forget what is kept for a registry; nothing is no error, and Docker says the same then."""
    server = values.server or ""
    try:
        engine.logout(server)
    except NotFound as error:
        console.note(error.message)
    console.print(f"Removing login credentials for {server.rpartition('://')[2].partition('/')[0] or _DOCKER_HUB}")
    return 0


SERVER = Operand(name="SERVER", help="HOST or HOST:PORT of a registry (else Docker Hub)", count="?")
VERBS = (
    Command(
        name="pull",
        act=pull,
        summary="bring an image from a registry",
        flags=(
            Flag(names=("-a", "--all-tags"), help="every tag of the repository"),
            PLATFORM,
            QUIET,
            INSECURE,
            TRUST,
        ),
        operands=(Operand(name="NAME", help="NAME[:TAG|@DIGEST]; without a registry it is Docker Hub's"),),
    ),
    Command(
        name="push",
        act=push,
        summary="bring an image to a registry",
        flags=(
            Flag(names=("-a", "--all-tags"), help="every tag of the repository"),
            Flag(
                names=("--platform",),
                metavar="OS/ARCH[/VARIANT]",
                help="the image for it alone, of a name that stands for several",
            ),
            Flag(
                names=("--compression-format",),
                metavar="gzip|zstd|none",
                convert=compression,
                help="compress all layers so on their way, as an OCI image (as they are)",
            ),
            QUIET,
            INSECURE,
            TRUST,
        ),
        operands=(Operand(name="NAME", help="NAME[:TAG] that the image has here"),),
    ),
    Command(
        name="referrers",
        act=referrers,
        summary="what a registry keeps for an image there: signatures, bills of material, attestations",
        flags=(
            Flag(names=("--artifact-type",), metavar="TYPE", default="", help="only those of this media type"),
            FORMAT,
            INSECURE,
        ),
        operands=(Operand(name="IMAGE", help="NAME[:TAG|@DIGEST] at a registry; it need not be here"),),
    ),
    Command(
        name="login",
        act=login,
        summary="keep a user name and a password for a registry, where Docker does",
        flags=(
            Flag(names=("-u", "--username"), metavar="NAME", help="the user name"),
            Flag(
                names=("-p", "--password"), metavar="PASSWORD", help="the password, for all who list processes to see"
            ),
            Flag(names=("--password-stdin",), help="read the password from standard input"),
            INSECURE,
        ),
        operands=(SERVER,),
    ),
    Command(name="logout", act=logout, summary="forget what is kept for a registry", operands=(SERVER,)),
)

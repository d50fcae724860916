"""Who may what: passwords, tokens, certificates, mirrors, and where credentials are kept."""

from __future__ import annotations

import base64
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbcontainers.engine import registries
from nbcontainers.errors import NBContainersError, NotFound, RegistryError
from nbcontainers.events import Event, Warned, ignore
from nbcontainers.oci.reference import Reference
from nbcontainers.store.registry import credentials as keeping
from nbcontainers.store.registry.access import registry_name
from nbcontainers.store.registry.credentials import DOCKER_HUB_KEY, Credential, Credentials
from nbcontainers.store.store import Store
from tests.store.registry.authorities import Authority
from tests.store.registry.conftest import PASSWORD, Registry, Start
from tests.store.registry.servers import Parts, Request, Server, TokenServer, serving
from tests.store.registry.test_registry import pull, push, tagged


def login(host: str, password: str = PASSWORD, *, insecure: bool = False) -> str:
    return registries.login(host, "reader", password, insecure=insecure, on_event=ignore)


# Basic -----------------------------------------------------------------------------------------------------------------


def test_who_has_not_logged_in_is_told_to(store: Store, private: Registry) -> None:
    """The registry's no becomes the command that helps."""
    with pytest.raises(RegistryError, match="denies access") as caught:
        pull(store, f"{private.host}/secret:1")
    assert f"nbcontainers login {private.host}" in caught.value.hint
    assert caught.value.status == 401


def test_a_login_serves_pulls_and_pushes_until_the_logout(store: Store, private: Registry, home: Path) -> None:
    """The password is tried first, and kept as Docker keeps it, for nobody else to read."""
    config = home / ".docker" / "config.json"
    config.parent.mkdir()
    config.write_text('{"detachKeys": "ctrl-e,e", "auths": {"other": {"auth": "eDp5"}}}')
    with pytest.raises(RegistryError, match="refuses this user name and password"):
        login(private.host, "wrong")
    assert private.host not in config.read_text()
    assert login(private.host) == str(config)
    data = json.loads(config.read_text())
    assert base64.b64decode(data["auths"][private.host]["auth"]).decode() == f"reader:{PASSWORD}"
    assert data["detachKeys"] == "ctrl-e,e"
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    name = f"{private.host}/secret:1"
    image = tagged(store, 1, name)
    push(store, name)
    assert pull(store, name).id == image.id
    assert registries.logout(private.host, ignore) == private.host
    assert json.loads(config.read_text())["auths"] == {"other": {"auth": "eDp5"}}
    with pytest.raises(RegistryError, match="denies access"):
        pull(store, name)
    with pytest.raises(NotFound, match="not logged in"):
        registries.logout(private.host, ignore)


# Tokens ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenServer]:
    server = TokenServer(tmp_path_factory.mktemp("tokens"), PASSWORD)
    with serving(server):
        yield server


@pytest.fixture(scope="module")
def guarded(start: Start, tokens: TokenServer) -> Registry:
    """A registry that wants tokens."""
    return start(sections=tokens.section)


def test_tokens_are_got_for_what_is_done(store: Store, guarded: Registry, tokens: TokenServer, home: Path) -> None:
    """One for each scope: to push, to mount from another repository, to pull; nobody in particular may pull what is open."""
    login(guarded.host)
    kept = json.loads((home / ".docker" / "config.json").read_text())["auths"][guarded.host]
    assert kept["identitytoken"] == TokenServer.IDENTITY
    assert base64.b64decode(kept["auth"]).decode() == "reader:"
    first, second = f"{guarded.host}/open/one:1", f"{guarded.host}/open/two:1"
    tagged(store, 2, first, second)
    tokens.seen.clear()
    push(store, first)
    assert tokens.count("GET", "/token") == 0
    assert tokens.count("POST", "/token") == 1
    push(store, second)
    assert tokens.count("POST", "/token") == 3  # pushing, and that with leave to read the other
    registries.logout(guarded.host, ignore)
    tokens.seen.clear()
    pull(store, first)
    (asked,) = [path for _, path, headers in tokens.seen]
    assert "scope=repository%3Aopen%2Fone%3Apull" in asked
    with pytest.raises(RegistryError, match="denies the upload of the manifest of open/one:1"):
        push(store, f"{guarded.host}/open/one:1")
    with pytest.raises(RegistryError, match="denies access"):
        pull(store, f"{guarded.host}/closed:1")


def test_a_wrong_password_is_the_token_servers_to_refuse(store: Store, guarded: Registry, home: Path) -> None:
    """And the error names the registry that it was kept for."""
    with pytest.raises(RegistryError, match="refuses this user name and password"):
        login(guarded.host, "wrong")
    Credentials(os.environ).keep(guarded.host, Credential("reader", "wrong"))
    with pytest.raises(RegistryError, match=f"kept for {guarded.host}"):
        pull(store, f"{guarded.host}/open/one:1")


def test_a_token_that_has_run_out_is_replaced(store: Store, tokens: TokenServer) -> None:
    """A 401 to a token gets a new one, once."""
    parts, path = Parts.make(3), "/v2/open/x/manifests/latest"
    with serving(Server()) as server:
        name = parts.serve(server, "open/x")
        honest = server.routes[path]
        challenge = f'Bearer realm="http://{tokens.host}/token",service="x"'

        def picky(request: Request) -> None:
            if server.count("GET", path) < 3:
                request.answer(401, WWW_Authenticate=challenge)
            else:
                honest(request)

        server.routes[path] = picky
        tokens.seen.clear()
        pull(store, name)
        assert tokens.count("GET", "/token") == 2
        shown = [headers.get("Authorization", "")[:7] for _, asked, headers in server.seen if asked == path]
        assert shown == ["", "Bearer ", "Bearer "]
        server.seen.clear()
        server.routes[path] = lambda request: request.answer(401, WWW_Authenticate=challenge)
        with pytest.raises(RegistryError, match="denies access"):
            pull(store, name)
        assert server.count("GET", path) == 3


# Certificates ----------------------------------------------------------------------------------------------------------


def test_a_certificate_of_nobody_known_is_refused(store: Store, protected: Registry) -> None:
    """On this machine too: the error says what would make it trusted."""
    with pytest.raises(RegistryError, match="not to be trusted") as caught:
        pull(store, f"{protected.host}/x:1")
    assert f"certs.d/{protected.host}/ca.crt" in caught.value.hint


@pytest.mark.parametrize(
    "way", ["nbcontainers", "containers", "docker", "SSL_CERT_FILE", "--insecure", "registries.toml"]
)
def test_a_certificate_is_trusted_in_each_way_that_docker_and_podman_know(
    store: Store, protected: Registry, authority: Authority, home: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """A folder for the registry, the host's own authorities, or the word of the user."""
    if way == "SSL_CERT_FILE":
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
    elif way == "registries.toml":
        (home / "registries.toml").write_text(f'[registry."{protected.host}"]\ninsecure = true\n')
    elif way != "--insecure":
        folder = home / ".config" / way / "certs.d" / protected.host
        folder.mkdir(parents=True)
        (folder / "ca.crt").write_bytes(authority.path.read_bytes())
    name = f"{protected.host}/tls/{way.lower().strip('-')}:1"
    image = tagged(store, 4, name)
    insecure = way == "--insecure"
    registries.push(store, (Reference.parse(name),), insecure=insecure, on_event=ignore)
    assert registries.pull(store, name, platform=None, insecure=insecure, on_event=ignore).id == image.id


def test_a_file_that_is_no_certificate_is_an_error(store: Store, protected: Registry, home: Path) -> None:
    """It names the folder."""
    folder = home / ".config" / "docker" / "certs.d" / protected.host
    folder.mkdir(parents=True)
    (folder / "ca.crt").write_text("nothing")
    with pytest.raises(NBContainersError, match="cannot use the certificates"):
        pull(store, f"{protected.host}/x:1")


# Mirrors and rules -----------------------------------------------------------------------------------------------------


def rules(home: Path, text: str) -> None:
    (home / "registries.toml").write_text(text)


def test_a_mirror_is_asked_first_and_the_registry_where_it_has_nothing(
    store: Store, registry: Registry, home: Path
) -> None:
    """Names stay those of the registry; what the mirror lacks or spoils comes from the registry."""
    parts = Parts.make(5)
    with serving(Server()) as origin, serving(Server()) as mirror:
        name = parts.serve(origin, "library/x")
        parts.serve(mirror, "cache/library/x")
        rules(home, f'[registry."{origin.host}"]\nmirrors = ["127.0.0.1:1", "{mirror.host}/cache"]\n')
        pull(store, name)
        assert origin.count("GET", "/manifests/") == 0
        assert origin.count("GET", "/blobs/") == 0
        other = Parts.make(6)
        name = other.serve(origin, "library/y")
        other.serve(mirror, "cache/library/y")
        mirror.give(other.blob(0, "cache/library/y"), b"spoilt")
        image = pull(store, name)
        assert image.reference == Reference.parse(name)
        assert [path for _, path, _ in origin.seen if "/blobs/" in path] == [other.blob(0, "library/y")]


def test_where_nothing_answers_the_mirrors_have_their_say(store: Store, home: Path) -> None:
    """Who can reach no registry but a mirror hears what that said, and no numbers of the kernel's."""
    with serving(Server()) as mirror:
        rules(home, f'[registry."127.0.0.1:1"]\nmirrors = ["{mirror.host}"]\n')
        with pytest.raises(RegistryError) as caught:
            pull(store, "127.0.0.1:1/x:1")
    assert caught.value.message == (
        f"cannot reach 127.0.0.1:1: Connection refused; of its mirrors, {mirror.host} has no manifest of x:1 (HTTP 404)"
    )


def test_docker_hub_comes_from_a_mirror(store: Store, home: Path) -> None:
    """A name without a registry is Docker Hub's, wherever it comes from."""
    parts = Parts.make(7)
    with serving(Server()) as mirror:
        parts.serve(mirror, "library/alpine", "3")
        rules(home, f'[registry."docker.io"]\nmirrors = ["http://{mirror.host}"]\n')
        image = pull(store, "alpine:3")
        assert image.name == "alpine:3"
        assert mirror.count("GET", "/v2/library/alpine/manifests/3") == 1


def test_a_blocked_registry_is_not_asked(store: Store, registry: Registry, home: Path) -> None:
    """Neither by name nor as one of all others; the error says who says so."""
    for key in (registry.host, "*"):
        rules(home, f'[registry."{key}"]\nblocked = true\n')
        before = registry.log()
        with pytest.raises(RegistryError, match="is blocked") as caught:
            pull(store, f"{registry.host}/x:1")
        assert str(home / "registries.toml") in caught.value.hint
        assert registry.log() == before


@pytest.mark.parametrize(
    "text",
    [
        "[",
        "x = 1",
        '[registry]\n"a" = 1',
        '[registry."a"]\nmirrors = [1]',
        '[registry."a"]\ninsecure = "yes"',
        '[registry."a"]\nhttp = true',
    ],
)
def test_rules_that_cannot_be_read_are_an_error(store: Store, home: Path, text: str) -> None:
    """None is passed over."""
    rules(home, text)
    with pytest.raises(NBContainersError) as caught:
        pull(store, "127.0.0.1:1/x")
    assert str(home / "registries.toml") in caught.value.message


# Where credentials are kept --------------------------------------------------------------------------------------------


def test_credentials_are_found_under_every_key_that_programs_write(home: Path) -> None:
    """Docker's addresses, Podman's names and folders of names."""
    auths = {
        DOCKER_HUB_KEY: "hub",
        "https://old.example/v1/": "old",
        "plain.example:5000": "plain",
        "quay.example/team": "team",
        "quay.example": "all",
    }
    write(home / ".docker" / "config.json", {key: entry(user) for key, user in auths.items()})
    credentials = Credentials(os.environ)
    found = {
        (registry, repository): credentials.find(registry, repository)
        for registry, repository in (
            ("docker.io", "library/x"),
            ("old.example", "x"),
            ("plain.example:5000", "x"),
            ("quay.example", "team/app"),
            ("quay.example", "other/app"),
        )
    }
    assert [one.username if one else None for one in found.values()] == ["hub", "old", "plain", "team", "all"]
    assert credentials.find("unknown.example") is None


def entry(user: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:secret".encode()).decode()}


def write(path: Path, auths: dict[str, dict[str, str]], **keys: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"auths": auths, **keys}))


def test_podmans_files_are_read_too(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """$REGISTRY_AUTH_FILE, the runtime folder and the configuration folder, behind Docker's own."""
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(home / "auth.json"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home / "run"))
    write(home / "auth.json", {"a.example": entry("a")})
    write(home / "run" / "containers" / "auth.json", {"b.example": entry("b"), "a.example": entry("x")})
    write(home / ".config" / "containers" / "auth.json", {"c.example": entry("c")})
    credentials = Credentials(os.environ)
    names = [credentials.find(f"{name}.example") for name in "abc"]
    assert [one.username if one else None for one in names] == ["a", "b", "c"]


HELPER = """#!/bin/sh
read -r asked || true
echo "$1 $asked" >> "$HOME/asked"
case "$1 $asked" in
  "get known.example") echo '{"ServerURL": "known.example", "Username": "helped", "Secret": "s3cret"}' ;;
  "get token.example") echo '{"ServerURL": "token.example", "Username": "<token>", "Secret": "identity"}' ;;
  get*) echo "credentials not found in native keychain"; exit 1 ;;
esac
"""


@pytest.fixture
def helper(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A credential helper named ``test``; every call is a line in the file that is returned."""
    program = home / "bin" / "docker-credential-test"
    program.parent.mkdir()
    program.write_text(HELPER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return home / "asked"


def test_credential_helpers_are_asked(home: Path, helper: Path) -> None:
    """One for a registry, or one for all; an identity token comes as the user ``<token>``."""
    write(home / ".docker" / "config.json", {"file.example": entry("file")}, credsStore="test")
    credentials = Credentials(os.environ)
    assert credentials.find("known.example") == Credential("helped", "s3cret")
    assert credentials.find("token.example") == Credential("<token>", identity_token="identity")
    assert credentials.find("file.example") == Credential("file", "secret")
    assert credentials.find("unknown.example") is None
    write(home / ".docker" / "config.json", {}, credHelpers={"known.example": "test"})
    assert Credentials(os.environ).find("known.example") == Credential("helped", "s3cret")


def test_a_login_goes_to_the_helper(home: Path, helper: Path) -> None:
    """The secret is in no file."""
    config = home / ".docker" / "config.json"
    write(config, {}, credsStore="test")
    credentials = Credentials(os.environ)
    assert credentials.keep("r.example", Credential("me", "s3cret")) == "docker-credential-test"
    assert json.loads(config.read_text()) == {"auths": {"r.example": {}}, "credsStore": "test"}
    said = json.loads(helper.read_text().removeprefix("store "))
    assert said == {"ServerURL": "r.example", "Username": "me", "Secret": "s3cret"}
    assert credentials.forget("r.example")
    assert helper.read_text().splitlines()[-1] == "erase r.example"
    assert json.loads(config.read_text())["auths"] == {}


@pytest.mark.parametrize("key", ["docker.io", "index.docker.io", "https://index.docker.io/v1/"])
def test_docker_hubs_helper_goes_by_all_its_names(home: Path, helper: Path, key: str) -> None:
    """Docker's own address, and the name that people write."""
    write(home / ".docker" / "config.json", {}, credHelpers={key: "test"})
    assert Credentials(os.environ).find("docker.io") is None
    assert "get https://index.docker.io/v1/" in helper.read_text().splitlines()


def test_a_registry_can_be_taken_from_the_helper_of_all(home: Path, helper: Path) -> None:
    """An empty word in credHelpers means the file."""
    write(
        home / ".docker" / "config.json",
        {"known.example": entry("file")},
        credsStore="test",
        credHelpers={"known.example": ""},
    )
    assert Credentials(os.environ).find("known.example") == Credential("file", "secret")
    assert not helper.exists()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("echo the keychain is locked >&2; exit 2", "says: the keychain is locked"),
        ('printf "\\377\\376"; exit 1', "says: \ufffd\ufffd"),
        ("kill -9 $$", "exit code -9"),
    ],
)
def test_a_helper_that_keeps_what_it_is_to_forget_is_an_error(home: Path, helper: Path, body: str, said: str) -> None:
    """No logout that leaves the secret there; a pull is told, and goes on without."""
    config = home / ".docker" / "config.json"
    write(config, {"r.example": {}}, credsStore="test")
    (home / "bin" / "docker-credential-test").write_text(f"#!/bin/sh\n{body}\n")
    told: list[str] = []
    credentials = Credentials(os.environ, warn=lambda message, hint: told.append(message))
    with pytest.raises(NBContainersError, match=said):
        credentials.forget("r.example")
    assert "r.example" in json.loads(config.read_text())["auths"]
    assert credentials.find("r.example") is None
    assert said in told[0]


def test_a_helper_that_never_had_it_forgets_it_in_any_words(home: Path, helper: Path) -> None:
    """Helpers agree on what get says of nothing, and not on what erase does."""
    write(home / ".docker" / "config.json", {}, credsStore="test")
    program = home / "bin" / "docker-credential-test"
    program.write_text(HELPER.replace("  get*)", '  erase*) echo "no such item"; exit 1 ;;\n  get*)'))
    assert not Credentials(os.environ).forget("r.example")


def test_a_helper_that_does_not_answer_is_given_up(home: Path, helper: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told of, and so is that nobody else is asked."""
    monkeypatch.setattr(keeping, "patience", 0.5)
    write(home / ".docker" / "config.json", {}, credsStore="test")
    (home / "bin" / "docker-credential-test").write_text("#!/bin/sh\nexec sleep 1000\n")
    told: list[str] = []
    assert Credentials(os.environ, warn=lambda message, hint: told.append(message)).find("r.example") is None
    assert told == ["the credential helper docker-credential-test does not answer"]


def test_a_helper_that_is_not_there_is_a_warning(home: Path, store: Store) -> None:
    """It is told, and nobody is asked in its place."""
    parts = Parts.make(8)
    write(home / ".docker" / "config.json", {}, credsStore="is-not-there")
    events: list[Event] = []
    with serving(Server()) as server:
        name = parts.serve(server)
        server.routes["/v2/liar/manifests/latest"] = lambda request: request.answer(
            401, WWW_Authenticate='Basic realm="x"'
        )
        with pytest.raises(RegistryError, match="denies access"):
            pull(store, name, events)
    warned = [event for event in events if isinstance(event, Warned)]
    assert warned
    assert "docker-credential-is-not-there" in warned[0].message


@pytest.mark.parametrize("text", ["{", "[]", '{"auths": {"r.example": {"auth": "%%%"}}}'])
def test_a_file_of_credentials_that_cannot_be_read_is_an_error(home: Path, text: str) -> None:
    """It is named, and is not written over by a login."""
    config = home / ".docker" / "config.json"
    config.parent.mkdir()
    config.write_text(text)
    with pytest.raises(NBContainersError) as caught:
        Credentials(os.environ).find("r.example")
    assert str(config) in caught.value.message
    if not text.startswith('{"'):
        with pytest.raises(NBContainersError):
            Credentials(os.environ).keep("r.example", Credential("me", "x"))
        assert config.read_text() == text


def test_a_configuration_that_is_a_link_stays_one(home: Path) -> None:
    """Folders of dotfiles are full of them."""
    real = home / "dotfiles" / "docker.json"
    write(real, {})
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").symlink_to(real)
    Credentials(os.environ).keep("r.example", Credential("me", "x"))
    assert (home / ".docker" / "config.json").is_symlink()
    assert "r.example" in real.read_text()


def test_secrets_are_not_shown(home: Path) -> None:
    """Not by repr, which ends up in tracebacks and logs."""
    assert "x1y2" not in repr(Credential("me", "x1y2", "x1y2"))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", "docker.io"),
        ("docker.io", "docker.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("registry.example:5000", "registry.example:5000"),
        ("https://registry.example/v2/", "registry.example"),
        ("[::1]:5000", "[::1]:5000"),
    ],
)
def test_a_registry_is_known_by_one_name(text: str, name: str) -> None:
    """Whatever address a user writes."""
    assert registry_name(text) == name


@pytest.mark.parametrize("text", ["registry example", "r.example:port", "r.example;rm"])
def test_what_is_no_registry_is_an_error(text: str) -> None:
    """Before anything is asked."""
    with pytest.raises(NBContainersError, match="not a registry"):
        registry_name(text)

"""A registry that lies, in each way that SANDBOX's class 7 names: nothing of it is kept, and the error says what it did."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx
import pytest

from nbcontainers.engine import registries
from nbcontainers.errors import IntegrityError, NBContainersError, NotFound, RegistryError
from nbcontainers.events import Event, Observer, Transfer, Warned, ignore
from nbcontainers.oci.descriptor import DOCKER_MANIFEST, INDEX, MANIFEST, Digest, Platform
from nbcontainers.oci.image import Image
from nbcontainers.oci.reference import Reference
from nbcontainers.store import check
from nbcontainers.store.registry import refusals
from nbcontainers.store.registry.credentials import Credential, Credentials
from nbcontainers.store.store import Store
from tests.machine import free_port
from tests.store.random_images import random_image
from tests.store.registry.servers import Parts, Request, Server, described, encoded, index_of, serving
from tests.waiting import PATIENCE_S, clock


@pytest.fixture
def liar() -> Iterator[Server]:
    with serving(Server()) as server:
        yield server


@pytest.fixture
def elsewhere() -> Iterator[Server]:
    """Another host: another port is another origin."""
    with serving(Server()) as server:
        yield server


def pull(store: Store, name: str, on_event: Observer = ignore, platform: str | None = None) -> Image:
    return registries.pull(store, name, platform=platform, insecure=False, on_event=on_event)


def nothing_is_kept(store: Store) -> bool:
    store.images.collect()
    return not list(store.content) and not list(store.images.tags) and not list((store.root / "layers").iterdir())


def other_bytes(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


def test_an_honest_image_comes(store: Store, liar: Server) -> None:
    """What the other tests break is whole to begin with."""
    image = pull(store, Parts.make(1).serve(liar))
    assert len(image.layers) == 2


@pytest.mark.parametrize("which", [0, 1])
def test_a_layer_with_other_bytes_is_refused(store: Store, liar: Server, which: int) -> None:
    """Of the announced size, but not of the announced digest."""
    parts = Parts.make(1)
    name = parts.serve(liar)
    liar.give(parts.blob(which), other_bytes(parts.layers[which]))
    with pytest.raises(IntegrityError, match="has other bytes"):
        pull(store, name)
    assert nothing_is_kept(store)


def test_a_configuration_with_other_bytes_is_refused(store: Store, liar: Server) -> None:
    """The configuration is a blob like all."""
    parts = Parts.make(1)
    name = parts.serve(liar)
    data = encoded(parts.config)
    liar.give(f"/v2/liar/blobs/{Digest.of(data)}", other_bytes(data))
    with pytest.raises(IntegrityError, match="has other bytes"):
        pull(store, name)
    assert nothing_is_kept(store)


@pytest.mark.parametrize("change", [1, -1])
def test_a_layer_of_another_size_is_refused(store: Store, liar: Server, change: int) -> None:
    """The digest is right, and the manifest lies about the size."""
    parts = Parts.make(1)
    parts.manifest["layers"][0]["size"] += change
    with pytest.raises(IntegrityError, match=r"should have \d+ bytes"):
        pull(store, parts.serve(liar))
    assert nothing_is_kept(store)


def test_a_body_without_end_is_left_at_the_announced_size(store: Store, liar: Server) -> None:
    """No more is read than was announced, however much comes."""
    parts = Parts.make(1)
    name = parts.serve(liar)
    sent = 0

    def endless(request: Request) -> None:
        nonlocal sent
        request.send_response(200)
        request.send_header("Connection", "close")
        request.end_headers()
        while sent < 1 << 30:
            sent += request.wfile.write(bytes(1 << 16))

    liar.routes[parts.blob(0)] = endless
    with pytest.raises(IntegrityError, match="more than its"):
        pull(store, name)
    assert sent < 100 << 20  # what sockets hold
    assert nothing_is_kept(store)


def test_a_manifest_without_end_is_left_at_4_mib(store: Store, liar: Server) -> None:
    """A manifest is small, whatever its server says."""
    liar.give("/v2/liar/manifests/latest", b" " * ((4 << 20) + 1), MANIFEST)
    with pytest.raises(RegistryError, match="more than 4194304 bytes"):
        pull(store, f"{liar.host}/liar")
    assert nothing_is_kept(store)


def test_a_manifest_is_checked_against_its_digest(store: Store, liar: Server) -> None:
    """Asked for by digest, announced by a header or named by an index: other bytes are refused."""
    honest, other = Parts.make(1), Parts.make(2)
    honest.serve(liar)
    other.serve(liar)
    wanted = Digest.of(encoded(honest.manifest))
    liar.give(f"/v2/liar/manifests/{wanted}", encoded(other.manifest), MANIFEST)
    with pytest.raises(IntegrityError, match="was announced"):
        pull(store, f"{liar.host}/liar@{wanted}")
    liar.give("/v2/liar/manifests/latest", encoded(other.manifest), MANIFEST, Docker_Content_Digest=wanted)
    with pytest.raises(IntegrityError, match="was announced"):
        pull(store, f"{liar.host}/liar")
    liar.give("/v2/liar/manifests/latest", index_of((honest, honest_platform(honest))), INDEX)
    with pytest.raises(IntegrityError, match="was announced"):
        pull(store, f"{liar.host}/liar")
    assert nothing_is_kept(store)


def honest_platform(parts: Parts) -> dict[str, str]:
    return {"os": parts.config["os"], "architecture": parts.config["architecture"]}


def test_two_documents_in_one_are_refused(store: Store, liar: Server) -> None:
    """An image to one reader and another to the next: CVE-2021-41190, and its relatives."""
    parts = Parts.make(1)
    entry = described(encoded(parts.manifest), MANIFEST)
    both = parts.manifest | {"manifests": [entry]}
    text = encoded(parts.manifest).decode()
    documents = [
        (both, MANIFEST),
        (both, INDEX),
        (both | {"mediaType": INDEX}, INDEX),
        (parts.manifest, INDEX),
        (parts.manifest, DOCKER_MANIFEST),
        (parts.manifest | {"fsLayers": []}, MANIFEST),
        (parts.manifest | {"Layers": []}, MANIFEST),
        (text[:-1] + ', "layers": []}', MANIFEST),
    ]
    parts.serve(liar)
    for document, kind in documents:
        data = document.encode() if isinstance(document, str) else encoded(document)
        liar.give("/v2/liar/manifests/latest", data, kind)
        with pytest.raises(IntegrityError):
            pull(store, f"{liar.host}/liar")
    assert nothing_is_kept(store)


def test_the_first_schema_is_refused_by_name(store: Store, liar: Server) -> None:
    """It has no digest that could be checked, and the error says what to do."""
    for kind in ("application/vnd.docker.distribution.manifest.v1+prettyjws", "application/json"):
        liar.give("/v2/liar/manifests/latest", encoded({"schemaVersion": 1, "fsLayers": []}), kind)
        with pytest.raises(IntegrityError, match="schema 1") as caught:
            pull(store, f"{liar.host}/liar")
        assert "push it again" in caught.value.hint


def test_a_size_that_no_image_has_is_refused_before_anything_comes(store: Store, liar: Server) -> None:
    """A manifest may announce what no disk holds."""
    parts = Parts.make(1)
    parts.manifest["layers"][0]["size"] = 1 << 50
    with pytest.raises(IntegrityError, match="an image of 2 layers with"):
        pull(store, parts.serve(liar))
    assert liar.count("GET", "/blobs/") == 0


def test_an_artifact_is_no_image(store: Store, liar: Server) -> None:
    """A chart or a model has a manifest too, and cannot run."""
    parts = Parts.make(1)
    parts.manifest["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json"
    with pytest.raises(RegistryError, match="an artifact of the type application/vnd.cncf.helm"):
        pull(store, parts.serve(liar))
    parts.manifest["artifactType"] = "application/vnd.acme.rocket"
    with pytest.raises(RegistryError, match="an artifact of the type application/vnd.acme.rocket"):
        pull(store, parts.serve(liar))


def test_an_attestation_is_no_image_and_no_fault(store: Store, liar: Server) -> None:
    """It has an image's configuration and statements for layers. Pulled by itself it is named, and hurts no image beside it."""
    image, statement = Parts.make(1), Parts.make(2, os="unknown", architecture="unknown")
    statement.manifest["layers"][0]["mediaType"] = "application/vnd.in-toto+json"
    statement.serve(liar)
    image.serve(liar)
    machine, nowhere = Platform.host().to_json(), {"os": "unknown", "architecture": "unknown"}
    liar.give("/v2/liar/manifests/latest", index_of((statement, nowhere), (image, machine)), INDEX)
    pull(store, f"{liar.host}/liar")
    with pytest.raises(RegistryError, match="an artifact of the type application/vnd.in-toto"):
        pull(store, f"{liar.host}/liar@{Digest.of(encoded(statement.manifest))}")
    assert not check.check(store).faults


def test_an_image_for_another_machine_that_did_not_come_is_no_fault(store: Store, liar: Server) -> None:
    """Its documents stay for the next try; the name that is here already is whole."""
    here, there = Parts.make(1), Parts.make(2, os="linux", architecture="s390x")
    for parts in (here, there):
        parts.serve(liar)
    index = index_of((here, Platform.host().to_json()), (there, {"os": "linux", "architecture": "s390x"}))
    liar.give("/v2/liar/manifests/latest", index, INDEX)
    pull(store, f"{liar.host}/liar")
    del liar.routes[there.blob(1)]
    with pytest.raises(RegistryError):
        pull(store, f"{liar.host}/liar", platform="linux/s390x")
    assert not check.check(store).faults


def test_an_index_of_indexes_is_told_by_what_could_be_pulled(store: Store, liar: Server) -> None:
    """No client of Docker's takes one; the hint names the first that is inside."""
    parts = Parts.make(1)
    parts.serve(liar)
    inner = index_of((parts, {"os": "linux", "architecture": parts.config["architecture"]}))
    liar.give(f"/v2/liar/manifests/{Digest.of(inner)}", inner, INDEX)
    outer = encoded({"schemaVersion": 2, "mediaType": INDEX, "manifests": [described(inner, INDEX)]})
    liar.give("/v2/liar/manifests/latest", outer, INDEX)
    with pytest.raises(NotFound, match="is an index of indexes") as caught:
        pull(store, f"{liar.host}/liar")
    name = caught.value.hint.removeprefix("name one of them: ")
    assert pull(store, name).descriptor.digest == Digest.of(encoded(parts.manifest))


def test_layers_are_taken_from_the_registry_only(store: Store, liar: Server, elsewhere: Server) -> None:
    """Addresses in a manifest are never asked (CVE-2020-15157)."""
    parts = Parts.make(1)
    layer = parts.manifest["layers"][0]
    layer["mediaType"] = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    layer["urls"] = [f"http://{elsewhere.host}/layer"]
    name = parts.serve(liar)
    del liar.routes[parts.blob(0)]
    with pytest.raises(RegistryError, match="kept elsewhere"):
        pull(store, name)
    assert elsewhere.seen == []


def test_a_host_that_is_redirected_to_sees_no_credential(store: Store, liar: Server, elsewhere: Server) -> None:
    """The blob comes, the password stays; where the other host asks for one it gets none."""
    Credentials({"HOME": str(store.root.parent / "home")}).keep(liar.host, Credential("me", "secret"))
    parts = Parts.make(1, layers=1)
    name = parts.serve(liar)
    manifest = liar.routes["/v2/liar/manifests/latest"]

    def private(request: Request) -> None:
        if "Authorization" in request.headers:
            manifest(request)
        else:
            request.answer(401, WWW_Authenticate='Basic realm="liar"')

    liar.routes["/v2/liar/manifests/latest"] = private
    liar.routes[parts.blob(0)] = lambda request: request.answer(307, Location=f"http://{elsewhere.host}/blob")
    elsewhere.routes["/blob"] = lambda request: request.answer(401, WWW_Authenticate='Basic realm="liar"')
    with pytest.raises(RegistryError, match="wants a password"):
        pull(store, name)
    elsewhere.give("/blob", parts.layers[0])
    pull(store, name)
    asked = [headers for _, path, headers in liar.seen if path == parts.blob(0)]
    assert all("Authorization" in headers for headers in asked)
    assert elsewhere.seen
    assert not any("Authorization" in headers for _, _, headers in elsewhere.seen)


def test_redirects_come_to_an_end(store: Store, liar: Server) -> None:
    """A circle is left."""
    path = "/v2/liar/manifests/latest"
    liar.routes[path] = lambda request: request.answer(302, Location=path)
    with pytest.raises(RegistryError, match="on and on"):
        pull(store, f"{liar.host}/liar")
    assert liar.count("GET", path) < 10


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1:1/"])
def test_redirects_lead_to_http_only(store: Store, liar: Server, location: str) -> None:
    """No other kind of address is opened."""
    liar.routes["/v2/liar/manifests/latest"] = lambda request: request.answer(302, Location=location)
    with pytest.raises(RegistryError, match="not protected"):
        pull(store, f"{liar.host}/liar")


def test_a_blob_that_breaks_off_goes_on_where_it_was(store: Store, liar: Server) -> None:
    """No byte comes twice: the rest is asked for by a range."""
    parts = Parts.make(1, layers=1, size=1 << 20)
    name, data = parts.serve(liar), parts.layers[0]
    whole = liar.routes[parts.blob(0)]

    def cut(request: Request) -> None:
        if "Range" in request.headers:
            whole(request)
            return
        request.send_response(200)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data[: len(data) // 2])
        request.wfile.flush()
        request.connection.shutdown(socket.SHUT_RDWR)
        request.close_connection = True

    liar.routes[parts.blob(0)] = cut
    events: list[Event] = []
    pull(store, name, events.append)
    ranges = [headers["Range"] for _, path, headers in liar.seen if path == parts.blob(0) and "Range" in headers]
    assert len(ranges) == 1
    assert 0 < int(ranges[0].removeprefix("bytes=").rstrip("-")) <= len(data) // 2
    assert any(isinstance(event, Transfer) and event.phase == "retrying" for event in events)


def test_a_server_without_ranges_is_read_from_the_beginning(store: Store, liar: Server) -> None:
    """It answers 200 to a range, and what is here gives way."""
    parts = Parts.make(1, layers=1, size=300_000)
    name, data = parts.serve(liar), parts.layers[0]
    answers = iter([len(data) // 3, len(data) // 2, len(data)])

    def cut(request: Request) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        end = next(answers)
        request.wfile.write(data[:end])
        request.wfile.flush()
        if end < len(data):
            request.connection.shutdown(socket.SHUT_RDWR)
            request.close_connection = True

    liar.routes[parts.blob(0)] = cut
    pull(store, name)
    assert liar.count("GET", parts.blob(0)) == 3


def test_a_range_that_was_not_asked_for_is_refused(store: Store, liar: Server) -> None:
    """Half of a blob in front of another half is not that blob."""
    parts = Parts.make(1, layers=1)
    name = parts.serve(liar)
    liar.routes[parts.blob(0)] = lambda request: request.answer(206, parts.layers[0], Content_Range="bytes 7-9/9")
    with pytest.raises(RegistryError, match="another part"):
        pull(store, name)
    assert nothing_is_kept(store)


def test_a_blob_that_never_comes_whole_is_given_up(store: Store, liar: Server) -> None:
    """Dropped connections are tried again a few times only."""
    parts = Parts.make(1, layers=1)
    name = parts.serve(liar)

    def drop(request: Request) -> None:
        request.connection.shutdown(socket.SHUT_RDWR)
        request.close_connection = True

    liar.routes[parts.blob(0)] = drop
    with pytest.raises(RegistryError, match="cannot reach"):
        pull(store, name)
    assert liar.count("GET", parts.blob(0)) == 5
    assert nothing_is_kept(store)


def test_what_is_cut_short_without_a_word_is_no_blob(store: Store, liar: Server) -> None:
    """A body that ends early, in an answer that announces no length, is broken off and not done."""
    parts = Parts.make(1, layers=1)
    name = parts.serve(liar)

    def short(request: Request) -> None:
        request.send_response(200)
        request.send_header("Connection", "close")
        request.end_headers()
        request.wfile.write(parts.layers[0][:-1])
        request.close_connection = True

    liar.routes[parts.blob(0)] = short
    with pytest.raises(RegistryError, match="again and again"):
        pull(store, name)
    assert nothing_is_kept(store)


@pytest.mark.parametrize("way", ["seconds", "date"])
def test_too_many_requests_are_waited_for_as_long_as_is_asked(store: Store, liar: Server, way: str) -> None:
    """Retry-After is honoured, as a number and as a date, and who waits is told."""
    parts = Parts.make(1)
    name = parts.serve(liar)
    path = "/v2/liar/manifests/latest"
    honest, times = liar.routes[path], []

    def busy(request: Request) -> None:
        times.append(time.monotonic())
        if len(times) > 1:
            honest(request)
            return
        later = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
        request.answer(429, Retry_After="1" if way == "seconds" else later)

    liar.routes[path] = busy
    told: list[Event] = []
    pull(store, name, told.append)
    assert len(times) == 2
    assert times[1] - times[0] >= 0.9
    if way == "seconds":
        (warned,) = [event for event in told if isinstance(event, Warned)]
        assert warned.message == f"{liar.host} cannot answer now: trying again in 1 second"


def test_a_registry_that_wants_hours_is_not_waited_for(store: Store, liar: Server) -> None:
    """The error says when to come again."""
    liar.routes["/v2/liar/manifests/latest"] = lambda request: request.answer(429, Retry_After="7200")
    with pytest.raises(RegistryError, match="too many requests") as caught:
        pull(store, f"{liar.host}/liar")
    assert caught.value.status == 429
    assert "in 2 hours" in caught.value.hint


@pytest.mark.parametrize(
    ("method", "status", "what", "message", "hint"),
    [
        ("GET", 401, "manifest of a:1", "denies access to the manifest of a:1 (HTTP 401)", "nbcontainers login host"),
        ("POST", 403, "upload to a", "denies the upload to a (HTTP 403)", "nbcontainers login host"),
        ("GET", 404, "manifest of a:1", "has no manifest of a:1 (HTTP 404)", "the name and the tag"),
        ("PUT", 405, "upload to a", "does not take the upload to a (HTTP 405)", "that this is a registry"),
        ("GET", 500, "manifest of a:1", "does not give the manifest of a:1 (HTTP 500)", "later"),
        ("HEAD", 500, "blob b of a", "does not tell of the blob b of a (HTTP 500)", "later"),
    ],
)
def test_a_refusal_says_what_was_wanted_what_came_and_what_to_do(
    method: str, status: int, what: str, message: str, hint: str
) -> None:
    """Whatever the status; of a push, too, what was asked of the registry and not what it might give."""
    response = httpx.Response(status, request=httpx.Request(method, "http://host/v2/"))
    error = refusals.refusal(response, "host", what)
    assert error.message == f"host {message}"
    assert hint in error.hint


def test_the_limit_of_docker_hub_is_told_in_plain_words() -> None:
    """How many, in how long, and what to do."""
    response = httpx.Response(429, headers={"ratelimit-limit": "100;w=21600"}, content=b"{}")
    error = refusals.refusal(response, "registry-1.docker.io", "manifest of library/alpine:latest")
    assert str(error).startswith("Docker Hub allows 100 pulls in 6 hours")
    assert "nbcontainers login" in error.hint
    assert not refusals.passes(response, "registry-1.docker.io")


def test_requests_that_come_too_fast_are_not_taken_for_pulls() -> None:
    """Docker Hub's other limit has no code and no number of pulls: no account helps, a little time does."""
    response = httpx.Response(429, headers={"retry-after": "37"}, content=b"Too Many Requests (HAP429)")
    error = refusals.refusal(response, "registry-1.docker.io", "manifest of library/alpine:latest")
    assert error.message == "registry-1.docker.io has had too many requests (HTTP 429)"
    assert (error.hint, error.wait) == ("try again in 37 seconds", 37.0)
    assert refusals.passes(response, "registry-1.docker.io")


def test_who_waits_for_a_configuration_or_a_token_is_told(store: Store, liar: Server) -> None:
    """They are not shown among the layers, and a registry may let one wait for minutes."""
    parts = Parts.make(1)
    name = parts.serve(liar)
    path = f"/v2/liar/blobs/{Digest.of(encoded(parts.config))}"
    guarded = {path: liar.routes[path], "/v2/liar/manifests/latest": liar.routes["/v2/liar/manifests/latest"]}
    busy: list[str] = []

    def once(place: str, honest: Callable[[Request], object]) -> Callable[[Request], object]:
        def route(request: Request) -> None:
            if place not in busy:
                busy.append(place)
                request.answer(429, Retry_After="1")
            else:
                honest(request)

        return route

    def want_token(request: Request) -> None:
        if request.headers.get("Authorization") == "Bearer abc":
            guarded["/v2/liar/manifests/latest"](request)
        else:
            request.answer(401, WWW_Authenticate=f'Bearer realm="http://{liar.host}/token"')

    liar.routes[path] = once(path, guarded[path])
    liar.routes["/v2/liar/manifests/latest"] = want_token
    liar.routes["/token"] = once("/token", lambda request: request.answer(200, b'{"token": "abc"}'))
    told: list[Event] = []
    pull(store, name, told.append)
    waits = [event.message for event in told if isinstance(event, Warned)]
    assert waits == [f"{liar.host} cannot answer now: trying again in 1 second"] * 2
    assert busy == ["/token", path]


def test_an_upload_waits_as_long_as_it_is_asked_to(store: Store, liar: Server) -> None:
    """Retry-After of any answer to a push; hours are no wait, but an error at once."""
    image = random_image(store, 3, layers=1)
    reference = Reference.parse(f"{liar.host}/liar:new")
    store.images.tag(image, reference)
    taken: list[float] = []
    numbers = itertools.count()

    def take(request: Request) -> None:
        request.body()
        first = next(numbers) == 0
        taken.append(time.monotonic())
        request.answer(429 if first else 201, Retry_After="1")

    liar.routes["/v2/liar/blobs/uploads/"] = lambda request: request.answer(202, Location="/upload")
    liar.routes["/upload"] = take
    liar.routes["/v2/liar/manifests/new"] = lambda request: (request.body(), request.answer(201))
    registries.push(store, (reference,), insecure=False, on_event=ignore)
    assert len(taken) == 3
    assert taken[-1] - taken[0] >= 0.9
    liar.routes["/upload"] = lambda request: (request.body(), request.answer(429, Retry_After="7200"))
    with pytest.raises(RegistryError) as caught:
        registries.push(store, (reference,), insecure=False, on_event=ignore)
    assert "in 2 hours" in caught.value.hint


def test_a_server_in_trouble_is_tried_again(store: Store, liar: Server) -> None:
    """502 and its like pass."""
    parts = Parts.make(1)
    name = parts.serve(liar)
    honest, times = liar.routes[parts.blob(0)], []

    def trouble(request: Request) -> None:
        times.append(0)
        honest(request) if len(times) > 2 else request.answer(502)

    liar.routes[parts.blob(0)] = trouble
    pull(store, name)
    assert len(times) == 3


def test_words_of_a_registry_are_one_line_of_text(store: Store, liar: Server) -> None:
    """Its message may say what it likes: no line feed, no escape, and not too long."""
    said = {"errors": [{"code": "DENIED", "message": "\x1b[2J no\nentry " + "x" * 5000}]}
    liar.routes["/v2/liar/manifests/latest"] = lambda request: request.answer(403, encoded(said))
    with pytest.raises(RegistryError) as caught:
        pull(store, f"{liar.host}/liar")
    assert "\x1b" not in caught.value.message
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 600


def test_a_layer_that_is_not_what_the_configuration_says_is_refused(store: Store, liar: Server) -> None:
    """Blob and manifest agree, and the diff ID is another: the unpacked tree is not what was promised."""
    parts = Parts.make(1)
    parts.config["rootfs"]["diff_ids"][1] = str(Digest.of(b"something else"))
    parts.describe()
    with pytest.raises(IntegrityError):
        pull(store, parts.serve(liar))
    assert nothing_is_kept(store)


def test_an_image_of_another_platform_says_so(store: Store, liar: Server) -> None:
    """A warning where nobody asked for one, an error where somebody did."""
    parts = Parts.make(1, architecture="s390x")
    name = parts.serve(liar)
    events: list[Event] = []
    pull(store, name, events.append)
    assert any(isinstance(event, Warned) and "s390x" in event.message for event in events)
    with pytest.raises(NotFound, match="linux/s390x"):
        registries.pull(store, name, platform="linux/arm64", insecure=False, on_event=ignore)


def test_of_an_index_the_right_variant_comes(store: Store, liar: Server) -> None:
    """The order is containerd's: the same variant, then older ones."""
    made = {variant: Parts.make(number, architecture="arm") for number, variant in enumerate(("v5", "v6", "v7"), 1)}
    for parts in made.values():
        parts.serve(liar)
    platforms = [(parts, {"os": "linux", "architecture": "arm", "variant": v}) for v, parts in made.items()]
    unknown = (Parts.make(9), {"os": "unknown", "architecture": "unknown"})
    liar.give("/v2/liar/manifests/latest", index_of(unknown, *platforms), INDEX)
    for asked, taken in (("linux/arm/v6", "v6"), ("arm", "v7"), ("linux/arm/v8", "v7"), ("linux/arm64", "v7")):
        image = registries.pull(store, f"{liar.host}/liar", platform=asked, insecure=False, on_event=ignore)
        assert image.descriptor.digest == Digest.of(encoded(made[taken].manifest)), asked
    with pytest.raises(NotFound, match=r"no image for linux/s390x") as caught:
        registries.pull(store, f"{liar.host}/liar", platform="linux/s390x", insecure=False, on_event=ignore)
    assert caught.value.hint == "it has images for: linux/arm/v5, linux/arm/v6, linux/arm/v7"


def test_tokens_and_blobs_never_go_where_there_is_no_protection(store: Store, liar: Server) -> None:
    """A token server is asked by http or https only."""
    liar.routes["/v2/liar/manifests/latest"] = lambda request: request.answer(
        401, WWW_Authenticate='Bearer realm="file:///etc/passwd",service="x"'
    )
    with pytest.raises(RegistryError, match="not protected"):
        pull(store, f"{liar.host}/liar")


@pytest.mark.parametrize("challenge", ["", "Negotiate", 'Digest realm="x"', "Bearer", '"', 'Basic realm="'])
def test_questions_that_cannot_be_answered_are_an_error(store: Store, liar: Server, challenge: str) -> None:
    """Whatever is in the header, there is one answer and no loop."""
    liar.routes["/v2/liar/manifests/latest"] = lambda request: request.answer(401, WWW_Authenticate=challenge)
    with pytest.raises(NBContainersError) as caught:
        pull(store, f"{liar.host}/liar")
    assert isinstance(caught.value, RegistryError)
    assert liar.count("GET", "/manifests/") <= 3


def test_an_interrupt_does_not_wait_for_a_server_that_says_nothing(store: Store, liar: Server) -> None:
    """Threads that wait on the network are cut loose at once, not when their time is up."""
    parts = Parts.make(1, layers=3)
    name = parts.serve(liar)
    asked, over = threading.Event(), threading.Event()

    def silent(request: Request) -> None:
        asked.set()
        over.wait(PATIENCE_S)

    for number in (1, 2):
        liar.routes[parts.blob(number)] = silent

    def press(event: Event) -> None:
        if isinstance(event, Transfer) and event.phase == "pulled":
            assert asked.wait(PATIENCE_S)
            raise KeyboardInterrupt

    began = clock()
    try:
        with pytest.raises(KeyboardInterrupt):
            pull(store, name, press)
        assert clock() - began < 25  # the patience with a silent server is 30 seconds
    finally:
        over.set()
    assert not any(thread.name.startswith("transfer-") for thread in threading.enumerate())
    assert not list(store.images.tags)
    store.images.collect()


def test_proxies_of_the_environment_are_used_but_not_for_this_machine(
    store: Store, liar: Server, elsewhere: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registry elsewhere is asked through the proxy, one on loopback is not, and NO_PROXY holds."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://{elsewhere.host}")
    pull(store, Parts.make(1).serve(liar))
    assert elsewhere.seen == []
    parts = Parts.make(2)
    parts.serve(elsewhere)
    image = registries.pull(store, "registry.invalid/liar", platform=None, insecure=True, on_event=ignore)
    assert str(image.reference) == "registry.invalid/liar:latest"
    assert all(path.startswith("http://registry.invalid/v2/") for method, path, _ in elsewhere.seen if method == "GET")
    monkeypatch.setenv("NO_PROXY", "registry.invalid")
    asked = len(elsewhere.seen)
    with pytest.raises(RegistryError, match="cannot reach registry.invalid"):
        registries.pull(store, "registry.invalid/liar", platform=None, insecure=True, on_event=ignore)
    assert len(elsewhere.seen) == asked


def test_a_proxy_that_is_at_fault_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who cannot reach a registry through a proxy is told of the proxy, without its password."""
    place = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("HTTPS_PROXY", f"http://tom:secret@{place}")
    with pytest.raises(RegistryError, match=f"cannot reach registry.invalid through the proxy {place}: ") as caught:
        registries.pull(store, "registry.invalid/x", platform=None, insecure=False, on_event=ignore)
    assert "NO_PROXY" in caught.value.hint
    monkeypatch.setenv("NO_PROXY", ".invalid")
    with pytest.raises(RegistryError, match="cannot reach registry.invalid: "):
        registries.pull(store, "registry.invalid/x", platform=None, insecure=False, on_event=ignore)


def test_on_a_full_disk_nothing_stays(tmp_path: Path) -> None:
    """ENOSPC at any point of a pull is a HostError: no name, and the room is free again."""
    code = textwrap.dedent("""
        import os, pathlib, sys
        from nbcontainers.engine import registries
        from nbcontainers.errors import HostError
        from nbcontainers.events import ignore
        from nbcontainers.linux.idmap import of_host
        from nbcontainers.store.store import Store
        from tests.store.registry.servers import Parts, Server, serving
        from tests.store.validate import validate_store
        root = pathlib.Path(sys.argv[1])
        options = {"platform": None, "insecure": False, "on_event": ignore}
        failures = 0
        with serving(Server()) as server, Store(root / "store", identity=of_host()) as store:
            registries.pull(store, Parts.make(2).serve(server, tag="first"), **options)
            kept = set(store.content)
            name = Parts.make(1).serve(server)
            ballast = root / "ballast"
            for room in range(0, 300_000, 8192):
                with ballast.open("wb", buffering=0) as file:
                    try:
                        while file.write(b"x" * 4096): pass
                    except OSError:
                        pass
                    file.truncate(max(file.tell() - room, 0))
                try:
                    registries.pull(store, name, **options)
                except HostError as error:
                    assert error.hint
                    failures += 1
                else:
                    break
                finally:
                    ballast.unlink()
                assert len(list(store.images.tags)) == 1
                assert set(store.content) == kept
                store.images.collect()
                validate_store(store)
            assert failures > 3, failures
            store.images.collect()
            validate_store(store)
        print("whole")
    """)
    disk = tmp_path / "disk"
    disk.mkdir()
    script = f'mount -t tmpfs -o size=1m none {disk} && exec "$@"'
    mounted = ["unshare", "--map-root-user", "--user", "--mount", "--fork", "sh", "-c", script, "sh"]
    if subprocess.run([*mounted, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a tmpfs of 1 MiB (mount in a user namespace)")
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [*mounted, sys.executable, "-c", code, str(disk)], capture_output=True, text=True, check=False, env=environ
    )
    assert done.stdout == "whole\n", done.stderr

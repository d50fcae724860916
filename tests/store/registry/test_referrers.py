"""What belongs to an image at its registry: by the call for it where there is one, else from the tag that stands in for it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from nbcontainers import Engine
from nbcontainers.cli import main
from nbcontainers.cli.console import Console
from nbcontainers.oci.descriptor import INDEX, MANIFEST, Digest
from nbcontainers.oci.reference import Reference
from tests.store.random_images import random_image
from tests.store.registry.conftest import Registry
from tests.store.registry.servers import Parts, Request, Server, described, encoded, serving
from tests.store.registry.test_registry import upload_raw

SIGNATURE, BILL = "application/vnd.test.signature", "application/vnd.test.sbom"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine(tmp_path / "store") as made:
        yield made


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as made:
        yield made


def run(engine: Engine, *words: str) -> tuple[int, list[str], str]:
    """Exit code, lines of standard output, and standard error."""
    out, err = io.StringIO(), io.StringIO()
    code = main.run(words, engine=engine, console=Console(out, err))
    return code, out.getvalue().splitlines(), err.getvalue()


def entries(count: int) -> list[dict[str, Any]]:
    """Artifacts, of two types in turn."""
    found = []
    for number in range(count):
        about = {"org.opencontainers.image.created": f"2024-01-01T00:00:{number:02}Z"}
        kind = (SIGNATURE, BILL)[number % 2]
        found.append(described(b"%d" % number, MANIFEST) | {"artifactType": kind, "annotations": about})
    return found


def test_the_call_is_read_page_by_page(engine: Engine, server: Server) -> None:
    """Each page leads to the next one by its Link header; the registry may choose by type, and where it does not we do."""
    parts, listed = Parts.make(1), entries(5)
    name = parts.serve(server)
    path = f"/v2/liar/referrers/{Digest.of(encoded(parts.manifest))}"
    chooses = False

    def route(request: Request) -> None:
        query = {key: values[0] for key, values in parse_qs(urlsplit(request.path).query).items()}
        wanted = query.get("artifactType", "") if chooses else ""
        found = [entry for entry in listed if wanted in ("", entry["artifactType"])]
        start = int(query.get("last", 0))
        headers = {"Content_Type": INDEX} | ({"OCI_Filters_Applied": "artifactType"} if wanted else {})
        if start + 2 < len(found):
            more = f"&artifactType={query['artifactType']}" if "artifactType" in query else ""
            headers["Link"] = f'<{path}?last={start + 2}{more}>; rel="next"'
        body = {"schemaVersion": 2, "mediaType": INDEX, "manifests": found[start : start + 2]}
        request.answer(200, encoded(body), **headers)

    server.routes[path] = route
    code, lines, err = run(engine, "referrers", name)
    assert (code, lines[0].split()) == (0, ["DIGEST", "ARTIFACT", "TYPE", "SIZE", "CREATED", "AT"]), err
    assert [line.split()[:2] for line in lines[1:]] == [[entry["digest"], entry["artifactType"]] for entry in listed]
    assert server.count("GET", "/referrers/") == 3
    for chooses in (False, True):
        before = server.count("GET", "/referrers/")
        code, lines, err = run(engine, "referrers", "--artifact-type", BILL, "--format", "json", name)
        found = [json.loads(line) for line in lines]
        assert [(one["Digest"], one["Size"]) for one in found] == [(listed[at]["digest"], 1) for at in (1, 3)], err
        assert found[0]["Annotations"] == listed[1]["annotations"]
        assert server.count("GET", "/referrers/") - before == (1 if chooses else 3)
    digest = name.rpartition(":")[0] + "@" + Digest.of(encoded(parts.manifest))
    assert len(engine.referrers(digest)) == 5
    assert not list(engine.store.content)  # nothing of it comes here


def test_a_list_that_breaks_off_is_an_error(engine: Engine, server: Server) -> None:
    """Pages that lead to another host, or to nothing, are no end of the list, and no reason to look for a tag."""
    parts = Parts.make(1)
    name, digest = parts.serve(server), Digest.of(encoded(parts.manifest))
    body = encoded({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries(1)})
    for link, told in (("http://127.0.0.1:1/x", "elsewhere"), ("/v2/liar/nothing", "has no list of what refers")):
        server.give(f"/v2/liar/referrers/{digest}", body, INDEX, Link=f'<{link}>; rel="next"')
        code, lines, err = run(engine, "referrers", name)
        assert (code, lines) == (1, [])
        assert told in err
    assert not server.count("GET", f"/manifests/sha256-{digest.hex}")
    broken = encoded({"schemaVersion": 2, "mediaType": INDEX, "manifests": [{"digest": "x"}]})
    server.give(f"/v2/liar/referrers/{digest}", broken, INDEX)
    assert "not a descriptor" in run(engine, "referrers", name)[2]


def test_without_the_call_the_tag_is_read(engine: Engine, registry: Registry) -> None:
    """Where the registry knows no such call, clients keep the list under a tag of the digest; without one there is nothing."""
    name = f"{registry.host}/signed/by:1"
    with engine.store.lease():
        image = engine.store.images.tag(random_image(engine.store, 30), Reference.parse(name))
    engine.push(name)
    assert run(engine, "referrers", name, "--format", "{{.Digest}}")[:2] == (0, [])
    config = described(b"{}", "application/vnd.oci.empty.v1+json")
    documents: dict[str, tuple[bytes, str]] = {}
    listed = []
    for kind in (SIGNATURE, BILL):
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": kind,
            "config": config,
            "layers": [config],
        }
        data = encoded(manifest | {"subject": image.descriptor.to_json()})
        documents[str(Digest.of(data))] = (data, MANIFEST)
        listed.append(described(data, MANIFEST) | {"artifactType": kind})
    index = encoded({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed})
    documents[str(image.descriptor.digest).replace(":", "-")] = (index, INDEX)
    upload_raw(registry, "signed/by", documents, b"{}")
    assert [entry.artifact_type for entry in engine.referrers(name)] == [SIGNATURE, BILL]
    template = "{{.Digest}} {{.Size}}"
    _, lines, _ = run(engine, "referrers", name, "--artifact-type", BILL, "--format", template)
    assert lines == [f"{listed[1]['digest']} {listed[1]['size']}B"]
    assert run(engine, "referrers", f"{registry.host}/signed/by:2")[0] == 1

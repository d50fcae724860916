"""Servers of the tests' own: a registry that says what it is told to say, and one that gives tokens."""

from __future__ import annotations

import base64
import gzip
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from nbcontainers.oci.descriptor import CONFIG, INDEX, LAYER_GZIP, MANIFEST, Digest, Platform
from tests.store.random_images import random_layer


class Request(BaseHTTPRequestHandler):
    """One request, with what is needed to answer it in any way."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *words: Any) -> None:
        """Say nothing."""

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        for name, value in ({"Content-Length": str(len(body))} | given).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def __getattr__(self, name: str) -> Any:
        """``do_GET`` and its like: what the standard library calls is one method here."""
        if name.startswith("do_"):
            return self._any
        raise AttributeError(name)

    def _any(self) -> None:
        path = urlsplit(self.path).path
        self.server.seen.append((self.command, self.path, dict(self.headers)))
        try:
            route = self.server.routes.get(path)
            if self.command == "CONNECT":
                self.answer(405)
            elif route is None:
                self.answer(200 if path == "/v2/" else 404, b"{}")
            else:
                route(self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True


class Server(ThreadingHTTPServer):
    """``routes`` are answers by path; ``seen`` has every request: method, path with its query, headers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.routes: dict[str, Callable[[Request], object]] = {}
        self.seen: list[tuple[str, str, dict[str, str]]] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is what some tests are about."""

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def give(self, path: str, data: bytes, kind: str = "application/octet-stream", **headers: str) -> None:
        """Answer a path with some bytes, or a part of them where a range is asked for."""

        def route(request: Request) -> None:
            asked = request.headers.get("Range", "")
            if not asked:
                request.answer(200, data, Content_Type=kind, **headers)
                return
            first = int(asked.removeprefix("bytes=").rstrip("-"))
            span = f"bytes {first}-{len(data) - 1}/{len(data)}"
            request.answer(206, data[first:], Content_Type=kind, Content_Range=span, **headers)

        self.routes[path] = route

    def count(self, method: str, part: str) -> int:
        return sum(1 for seen in self.seen if seen[0] == method and part in seen[1])


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(30)


@dataclass
class Parts:
    """An honest image in pieces, for a liar to change: documents as JSON values, layers as their bytes."""

    layers: list[bytes]
    config: dict[str, Any]
    manifest: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, bytes] = field(default_factory=dict)

    @classmethod
    def make(cls, seed: int, layers: int = 2, *, size: int = 0, **platform: str) -> Parts:
        plain = [random_layer(seed * 100 + number) for number in range(layers)]
        if size:
            plain[0] += bytes(size - size % 512)  # zeros behind the end of an archive say nothing
        compressed = [gzip.compress(one, compresslevel=0 if size else 6, mtime=0) for one in plain]
        host = Platform.host().to_json()
        config = {
            **(host | platform),
            "created": "2024-01-01T00:00:00Z",
            "config": {"Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(one)) for one in plain]},
        }
        made = cls(compressed, config)
        made.describe()
        return made

    def describe(self) -> None:
        """Write the manifest that tells the truth."""
        data = encoded(self.config)
        self.manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": described(data, CONFIG),
            "layers": [described(layer, LAYER_GZIP) for layer in self.layers],
        }

    def serve(self, server: Server, name: str = "liar", tag: str = "latest") -> str:
        """Let a server have it; the name to pull is returned."""
        data = encoded(self.manifest)
        for reference in (tag, Digest.of(data)):
            server.give(f"/v2/{name}/manifests/{reference}", data, MANIFEST)
        for blob in (encoded(self.config), *self.layers):
            server.give(f"/v2/{name}/blobs/{Digest.of(blob)}", blob)
        return f"{server.host}/{name}:{tag}"

    def blob(self, number: int, name: str = "liar") -> str:
        """The path of a layer."""
        return f"/v2/{name}/blobs/{Digest.of(self.layers[number])}"


def encoded(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode()


def described(data: bytes, kind: str) -> dict[str, Any]:
    return {"mediaType": kind, "digest": str(Digest.of(data)), "size": len(data)}


def index_of(*images: tuple[Parts, dict[str, str]]) -> bytes:
    """An index of images with their platforms."""
    entries = [described(encoded(parts.manifest), MANIFEST) | {"platform": platform} for parts, platform in images]
    return encoded({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})


class TokenServer(Server):
    """Gives tokens that docker-registry believes, signed with RS256. ``reader`` may do everything, nobody reads ``open/*``."""

    IDENTITY = "an identity token"

    def __init__(self, folder: Path, password: str) -> None:
        super().__init__()
        self.folder = folder
        self.password = password
        self.service = "registry.test"
        subprocess.run(
            "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=tokens -keyout token.key -out token.crt".split(),
            cwd=folder,
            check=True,
            capture_output=True,
        )
        self.routes["/token"] = self._token

    @property
    def section(self) -> str:
        """The section of docker-registry's configuration."""
        return (
            f"auth:\n  token:\n    realm: http://{self.host}/token\n    service: {self.service}\n"
            f"    issuer: tests\n    rootcertbundle: {self.folder}/token.crt\n"
        )

    def _token(self, request: Request) -> None:
        user = ""
        if request.command == "POST":
            given = {name: values[0] for name, values in parse_qs(request.body().decode()).items()}
            if given.get("grant_type") != "refresh_token" or given.get("refresh_token") != self.IDENTITY:
                request.answer(401, b"{}")
                return
            user, scopes = "reader", given.get("scope", "").split()
        else:
            query = parse_qs(urlsplit(request.path).query)
            scopes = [scope for text in query.get("scope", []) for scope in text.split()]
            if basic := request.headers.get("Authorization", ""):
                pair = base64.b64decode(basic.removeprefix("Basic ")).decode()
                if pair != f"reader:{self.password}":
                    request.answer(401, b"{}")
                    return
                user = "reader"
        answer = {"token": self.sign(user, scopes), "expires_in": 300}
        if user and "offline_token=true" in request.path:
            answer["refresh_token"] = self.IDENTITY
        request.answer(200, encoded(answer), Content_Type="application/json")

    def sign(self, user: str, scopes: list[str]) -> str:
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            allowed = actions.split(",") if user else ["pull"] if name.startswith("open/") else []
            access.append({"type": kind, "name": name, "actions": allowed})
        der = subprocess.run(
            ["openssl", "x509", "-in", "token.crt", "-outform", "DER"], cwd=self.folder, check=True, capture_output=True
        ).stdout
        now = int(time.time())
        head = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(der).decode()]}
        said = {
            "iss": "tests",
            "sub": user,
            "aud": self.service,
            "exp": now + 300,
            "nbf": now - 60,
            "iat": now,
            "jti": str(now),
            "access": access,
        }
        signed = b".".join(_url64(encoded(part)) for part in (head, said))
        signature = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", "token.key"],
            input=signed,
            cwd=self.folder,
            check=True,
            capture_output=True,
        ).stdout
        return (signed + b"." + _url64(signature)).decode()


def _url64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")

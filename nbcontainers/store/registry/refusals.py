"""What registries answer when they do not do what was asked, in words that say what to do.

Source: OCI distribution spec, "Error Codes"; "Docker Hub pull usage and limits".
"""

from __future__ import annotations

import datetime
import email.utils
import json
import re
from collections.abc import Collection
from typing import TYPE_CHECKING

from ...errors import RegistryError

if TYPE_CHECKING:
    import httpx

LONGEST_WAIT = 120.0  # seconds that somebody at a screen is kept waiting because a registry asks for it
_LARGEST_BODY = 64 << 10
_RETRIED = frozenset({408, 429, 500, 502, 503, 504})
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


def wait(response: httpx.Response) -> float | None:
    """The seconds that Retry-After asks for, as a number or as a date; None if it does not."""
    said = response.headers.get("retry-after", "").strip()
    if not said:
        return None
    if said.isascii() and said.isdigit():
        return float(said[:9])
    try:
        instant = email.utils.parsedate_to_datetime(said)
    except ValueError:
        return None
    now = datetime.datetime.now(datetime.UTC)
    return max(0.0, (instant.replace(tzinfo=instant.tzinfo or datetime.UTC) - now).total_seconds())


def passes(response: httpx.Response, host: str) -> bool:
    """True if the same request may be answered soon. Docker Hub counts pulls by hours: there it is no use to wait for seconds."""
    if response.status_code not in _RETRIED:
        return False
    asked = wait(response)
    if response.status_code == 429 and asked is None and host.endswith("docker.io"):
        return False
    return asked is None or asked <= LONGEST_WAIT


def refusal(response: httpx.Response, host: str, what: str) -> RegistryError:
    """The error that an answer is; ``what`` is what was asked for, a noun without its article: an upload, or something to read."""
    codes, said = _said(response)
    status = response.status_code
    told = f": {said}" if said else f" (HTTP {status})"
    if status == 429 or "TOOMANYREQUESTS" in codes:
        return _limited(response, host, told, codes)
    if status == 404 or {"MANIFEST_UNKNOWN", "NAME_UNKNOWN", "BLOB_UNKNOWN"} & codes:
        return RegistryError(f"{host} has no {what}{told}", status=404, hint="see that the name and the tag are right")
    is_upload = what.startswith("upload")
    if status in (401, 403) or {"UNAUTHORIZED", "DENIED"} & codes:
        return RegistryError(
            f"{host} denies {'the' if is_upload else 'access to the'} {what}{told}",
            status=status,
            hint=f"see that the name is right, and log in with '{_login(host)}' if it is private",
        )
    hint = "try again later" if status >= 500 else "see that this is a registry, and that it allows this"
    verb = "take" if is_upload else "tell of" if response.request.method == "HEAD" else "give"
    return RegistryError(f"{host} does not {verb} the {what}{told}", status=status, hint=hint, wait=wait(response))


def _login(host: str) -> str:
    return "nbcontainers login" if host.endswith("docker.io") else f"nbcontainers login {host}"


def _limited(response: httpx.Response, host: str, told: str, codes: Collection[str]) -> RegistryError:
    """Too many requests. Docker Hub says in ``ratelimit-limit: 100;w=21600`` how many pulls in how many seconds.

    Without that and without a code it means requests of any kind that came too fast, which no account helps against.
    """
    allowed = re.match(r"(\d+)(?:;w=(\d+))?", response.headers.get("ratelimit-limit", ""))
    asked = wait(response)
    when = f"in {duration(asked)}" if asked else "later"
    if host.endswith("docker.io") and (allowed or "TOOMANYREQUESTS" in codes):
        share = "the number of pulls that Docker Hub allows is used up"
        if allowed:
            hours = f" in {duration(float(allowed[2]))}" if allowed[2] else ""
            share = f"Docker Hub allows {allowed[1]} pulls{hours} to an address or account, and they are used up"
        return RegistryError(
            share,
            status=429,
            hint=f"log in with 'nbcontainers login' (accounts get more), use a mirror, or try again {when}",
            wait=asked,
        )
    return RegistryError(f"{host} has had too many requests{told}", status=429, hint=f"try again {when}", wait=asked)


def busy(host: str, seconds: float) -> str:
    """Why nothing comes: a registry that is busy may ask for minutes."""
    return f"{host} cannot answer now: trying again in {duration(seconds)}"


def duration(seconds: float) -> str:
    """A time in words: seconds, minutes or hours."""
    for size, name in ((3600, "hour"), (60, "minute")):
        if seconds >= size:
            number = round(seconds / size)
            return f"{number} {name}{'s' * (number != 1)}"
    return f"{seconds:.0f} second{'s' * (round(seconds) != 1)}"


def _said(response: httpx.Response) -> tuple[frozenset[str], str]:
    """The codes and the words of an answer's body. It is somebody else's text: one line of it, and not too much."""
    data = b""
    try:
        for piece in response.iter_raw():
            data += piece
            if len(data) > _LARGEST_BODY:
                return frozenset(), ""
        errors = json.loads(data)["errors"]
        codes = frozenset(str(error["code"]) for error in errors)
        words = "; ".join(str(error.get("message") or error["code"]) for error in errors)
    except Exception:  # whatever the body is, the status says enough
        return frozenset(), ""
    return codes, _CONTROL.sub(" ", words)[:300].strip()

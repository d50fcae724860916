"""Names of images: registry/repository:tag@digest, as Docker reads them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import InvalidReference, NBContainersError

DEFAULT_REGISTRY = "docker.io"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_REGISTRY = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_IDENTIFIER = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Reference:
    """A full name; at least one of ``tag`` and ``digest`` is set. ``str`` is the canonical form, ``familiar`` Docker's short one."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a name as Docker does: no registry means docker.io, no tag and no digest means ``latest``.

        Raises:
            InvalidReference: which part is not well formed, and what it may hold.
            NBContainersError: it is no text at all.

        Source: the grammar in github.com/distribution/reference.

        """
        if not isinstance(text, str):
            raise NBContainersError(f"a name is wanted, as text, and not {type(text).__name__}")
        if _IDENTIFIER.fullmatch(text):
            raise InvalidReference(
                f"invalid image name {text!r}: 64 hexadecimal digits are an image ID", hint="no name may look like one"
            )
        rest, at, digest = text.partition("@")
        if at and not _DIGEST.fullmatch(digest):
            raise InvalidReference(
                f"invalid digest {digest!r} in the name {text!r}",
                hint="a digest reads sha256: and 64 hexadecimal digits",
            )
        head, slash, tail = rest.partition("/")
        if slash and (head == "localhost" or head != head.lower() or any(sign in head for sign in ".:[")):
            registry, rest = head, tail
        else:
            registry = DEFAULT_REGISTRY
        if not _REGISTRY.fullmatch(registry):
            raise InvalidReference(
                f"invalid registry {registry!r} in the name {text!r}", hint="a registry reads HOST or HOST:PORT"
            )
        repository, colon, tag = rest.partition(":")
        if colon and not _TAG.fullmatch(tag):
            raise InvalidReference(
                f"invalid tag {tag!r} in the name {text!r}",
                hint="a tag has letters, digits, '_', '.' and '-', 128 at most",
            )
        if registry in ("docker.io", "index.docker.io"):
            registry = DEFAULT_REGISTRY
            if "/" not in repository:
                repository = f"library/{repository}"
        if not _REPOSITORY.fullmatch(repository) or len(repository) > 255:
            hint = "a repository is in lower case: letters, digits, and single '.', '_' or '-' between them"
            if repository.lower() != repository and _REPOSITORY.fullmatch(repository.lower()):
                hint = f"a repository is in lower case: {text.lower()!r}"
            elif len(repository) > 255:
                hint = f"a repository has 255 characters at most, and this has {len(repository)}"
            raise InvalidReference(f"invalid image name {text!r}", hint=hint)
        return cls(registry, repository, tag or ("" if digest else "latest"), digest)

    @property
    def name(self) -> str:
        """Registry and repository."""
        return f"{self.registry}/{self.repository}"

    @property
    def familiar_name(self) -> str:
        """Registry and repository as Docker shows them: without docker.io and library."""
        if self.registry != DEFAULT_REGISTRY:
            return self.name
        return self.repository.removeprefix("library/")

    @property
    def familiar(self) -> str:
        """The whole name as Docker shows it."""
        return self.familiar_name + self._suffix

    @property
    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        return self.name + self._suffix

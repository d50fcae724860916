"""What may stand at a place in a Dockerfile: instructions, flags and their values, stages and images, files, variables.

It reads what is above the cursor only, and as much of the syntax as that needs: a text that is being written is rarely whole.

Source: docs.docker.com/reference/dockerfile.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

INSTRUCTIONS = tuple(
    "FROM RUN COPY ADD WORKDIR ENV ARG CMD ENTRYPOINT EXPOSE VOLUME USER LABEL HEALTHCHECK SHELL STOPSIGNAL ONBUILD".split()
)
FLAGS = {
    "FROM": ("--platform=",),
    "COPY": ("--from=", "--chown=", "--chmod=", "--link", "--parents", "--exclude="),
    "ADD": ("--chown=", "--chmod=", "--link", "--checksum=", "--keep-git-dir", "--exclude="),
    "RUN": ("--mount=", "--network=", "--security="),
    "HEALTHCHECK": ("--interval=", "--timeout=", "--start-period=", "--start-interval=", "--retries="),
}
_VALUES = {
    "--platform=": ("linux/amd64", "linux/arm64", "$BUILDPLATFORM", "$TARGETPLATFORM"),
    "--mount=": ("type=cache,target=", "type=bind,target=", "type=tmpfs,target=", "type=secret,id=", "type=ssh"),
    "--network=": ("default", "none", "host"),
    "--security=": ("sandbox", "insecure"),
}
_VARIABLES = (
    "PATH",
    "HOME",
    "TARGETPLATFORM",
    "TARGETARCH",
    "BUILDPLATFORM",
)  # those that there are in every build, or nearly
_HEREDOC = re.compile(r"<<-?\s*([\"']?)([A-Za-z0-9_.]+)\1")
_MOST = 200  # files that are told of one folder


@dataclass(frozen=True, slots=True)
class Completion:
    """What may take the place of ``fragment``, the end of the text before the cursor."""

    fragment: str
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Above:
    """What the lines above say: stages by name and number, variables that are set, and the instruction that goes on here."""

    stages: tuple[str, ...]
    variables: tuple[str, ...]
    begun: str
    in_document: bool


def complete(text: str, images: Callable[[], Iterable[str]], folder: str = ".") -> Completion:
    """The words for the end of a Dockerfile's text.

    Args:
        text: all that stands before the cursor.
        images: gives the names of images, and is called only where one may stand.
        folder: the build's context: its files are told behind COPY and ADD.

    """
    lines = text.split("\n")
    above = _read(lines[:-1])
    if above.in_document or lines[-1].lstrip().startswith("#"):
        return Completion("")
    line = f"{above.begun} {lines[-1]}" if above.begun else lines[-1]
    fragment = re.split(r"\s", line)[-1]
    words = line.split()
    before = words if not fragment else words[:-1]
    variable = re.search(r"\$\{?\w*\Z", fragment)
    if variable and before:
        opening = "${" if "{" in variable[0] else "$"
        closing = "}" if opening == "${" else ""
        return _beginning(variable[0], (f"{opening}{name}{closing}" for name in above.variables))
    while before and before[0].upper() == "ONBUILD":
        before = before[1:]
    if not before:
        return Completion(fragment, tuple(name for name in INSTRUCTIONS if name.startswith(fragment.upper())))
    return _arguments(before[0].upper(), before[1:], fragment, above, images, folder)


def _arguments(
    keyword: str,
    before: Sequence[str],
    fragment: str,
    above: _Above,
    images: Callable[[], Iterable[str]],
    folder: str,
) -> Completion:
    given = [word for word in before if word.startswith("--")]
    operands = len(before) - len(given)
    if fragment.startswith("-") and not operands:
        name, sign, _ = fragment.partition("=")
        if not sign:
            used = {word.partition("=")[0] for word in given} - {"--mount", "--exclude"}
            return _beginning(fragment, (flag for flag in FLAGS.get(keyword, ()) if flag.rstrip("=") not in used))
        if name == "--from":
            return _beginning(fragment, (f"--from={place}" for place in (*above.stages, *images())))
        return _beginning(fragment, (f"{name}={value}" for value in _VALUES.get(f"{name}=", ())))
    if keyword == "FROM" and operands == 0:
        named = (stage for stage in above.stages if not stage.isdecimal())
        return _beginning(fragment, dict.fromkeys((*named, *images(), "toolbox", "scratch")))
    if keyword == "FROM" and operands == 1:
        return Completion(fragment, ("AS",)) if "AS".startswith(fragment.upper()) else Completion(fragment)
    if keyword in ("COPY", "ADD") and not any(flag.startswith("--from=") for flag in given):
        return _beginning(fragment, _files(folder, fragment))
    if keyword == "HEALTHCHECK" and operands == 0:
        return _beginning(fragment, ("CMD", "NONE"))
    if keyword == "STOPSIGNAL" and operands == 0:
        return _beginning(fragment, ("SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGKILL"))
    return Completion(fragment)


def _beginning(fragment: str, words: Iterable[str]) -> Completion:
    return Completion(fragment, tuple(word for word in words if word.startswith(fragment)))


def _files(folder: str, fragment: str) -> list[str]:
    """The files of the context whose paths begin so, folders with a slash; those with a dot where one is written."""
    inside, _, beginning = fragment.rpartition("/")
    place = os.path.join(folder, *[part for part in inside.split("/") if part not in ("", ".", "..")])
    found = []
    try:
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.name.startswith(beginning) and entry.name.startswith(".") <= beginning.startswith("."):
                    found.append(f"{inside}/" * bool(inside) + entry.name + "/" * entry.is_dir())
                if len(found) == _MOST:
                    break
    except OSError:
        return []
    return sorted(found)


def _read(lines: Sequence[str]) -> _Above:
    stages: list[str] = []
    variables = dict.fromkeys(_VARIABLES)
    begun, documents = "", list[str]()
    escape = "`" if any(re.match(r"#\s*escape\s*=\s*`", line) for line in lines[:5]) else "\\"
    for line in lines:
        if documents:
            if line.strip("\t") == documents[0]:
                documents.pop(0)
            continue
        if line.lstrip().startswith("#"):
            continue
        whole = f"{begun} {line}" if begun else line
        if line.rstrip().endswith(escape):
            begun = whole.rstrip().removesuffix(escape)
            continue
        begun = ""
        words = whole.split()
        keyword = words[0].upper() if words else ""
        if keyword in ("RUN", "COPY", "ADD"):
            documents = [match[2] for match in _HEREDOC.finditer(whole)]
        elif keyword == "FROM":
            stages.append(words[-1] if len(words) > 3 and words[-2].upper() == "AS" else str(len(stages)))
        elif keyword in ("ARG", "ENV"):
            names = [word.partition("=")[0] for word in words[1:] if keyword == "ARG" or "=" in word] or words[1:2]
            variables.update(dict.fromkeys(name for name in names if name.isidentifier()))
    return _Above(tuple(stages), tuple(variables), begun, bool(documents))

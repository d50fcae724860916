"""Every flag of docker's verbs of containers, images, networks and volumes: it works and is tested, or is refused by name.

``docker_flags.json`` has the flags of Docker's command line by its version, and for each that works the test that shows it: by
its name, or where verbs mean different things by it, by the verb and the name.
``python -m tests.cli.test_docker_flags`` writes docs/flags.md, which these tests hold to what the program is.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from nbcontainers.cli import main
from nbcontainers.cli.console import Console
from nbcontainers.cli.flags import Flag
from nbcontainers.cli.verbs import VERBS

HERE = Path(__file__).parent
DATA = json.loads((HERE / "docker_flags.json").read_text())
DOCUMENT = HERE.parents[1] / "docs/flags.md"
WORDS = {name: [word.split() for word in words] for name, words in DATA["flags"].items()}
CASES = [(verb, words[-1]) for verb in WORDS for words in WORDS[verb]]
_REFUSED = "refused: "


def ours(verb: str, name: str) -> Flag:
    """Our flag for one of docker's."""
    found = next((flag for flag in VERBS[verb].flags if name in flag.names), None)
    assert found is not None, f"docker {verb} knows {name}, and nbcontainers {verb} does not even refuse it by name"
    return found


def reason(flag: Flag) -> str:
    """Why a flag is refused whatever its value, empty where it works."""
    return flag.help.removeprefix(_REFUSED) if flag.help.startswith(_REFUSED) else ""


def verbs_that_are_there() -> list[str]:
    return [verb for verb in WORDS if verb in VERBS]


@pytest.mark.parametrize(("verb", "name"), CASES)
def test_no_flag_of_dockers_is_ignored(verb: str, name: str) -> None:
    """One that works has docker's short name too and a test that shows it; another one is refused with the reason."""
    if verb not in VERBS:
        pytest.fail(f"there is no verb {verb}")
    flag, words = ours(verb, name), next(words for words in WORDS[verb] if words[-1] == name)
    assert set(words) <= set(flag.names)
    if why := reason(flag):
        out = io.StringIO()
        console = Console(out, out)
        given = [name] if flag.refusal or not flag.metavar else [name, "value"]
        assert main.run([*verb.split(), *given, "image", "true"], console=console) == 125
        assert f"{name} cannot be had: {why}" in re.sub(r"\s+", " ", out.getvalue())
        return
    shown = DATA["shown_by"].get(f"{verb} {name}") or DATA["shown_by"].get(name, "")
    path, _, test = shown.partition("::")
    assert test, f"{name} works, and docker_flags.json names no test that shows it"
    text = (HERE.parents[1] / path).read_text()
    assert f"def {test}(" in text, f"{path} has no {test}"


@pytest.mark.peer(name="docker")
@pytest.mark.parametrize("verb", WORDS)
def test_the_list_is_dockers(verb: str) -> None:
    """What docker itself prints, where it is installed in the same version."""
    if shutil.which("docker") is None:
        pytest.skip("docker is not installed")
    version = subprocess.run(["docker", "--version"], capture_output=True, text=True, check=True).stdout
    if f" {DATA['version']}." not in version:
        pytest.skip(f"docker is not of version {DATA['version']}: {version.strip()}")
    text = subprocess.run(["docker", *verb.split(), "--help"], capture_output=True, text=True, check=True).stdout
    printed = re.findall(r"^\s+(?:(-\w), )?(--[\w-]+)", text, re.MULTILINE)
    assert {" ".join(filter(None, words)) for words in printed} - {"--help"} == set(DATA["flags"][verb])


def test_the_document_is_made_of_what_is() -> None:
    """docs/flags.md is what this module writes."""
    assert DOCUMENT.read_text() == document(), "write it anew: python -m tests.cli.test_docker_flags"


def document() -> str:
    """The table of all flags, in the order of their names."""
    verbs = verbs_that_are_there()
    names = sorted({words[-1] for verb in verbs for words in WORDS[verb]})
    lines = [
        "# docker's flags",
        "",
        f"Each flag of Docker {DATA['version']}'s {', '.join(f'`{verb}`' for verb in verbs)}: what it does here, or why it cannot be had.",
        "Those that are refused say so when they are used. The tests write this page and hold it to be true.",
        "",
        "| flag | of | |",
        "|---|---|---|",
    ]
    for name in names:
        meant: dict[tuple[str, str], list[str]] = {}
        for verb in verbs:
            for words in WORDS[verb]:
                if words[-1] == name:
                    meant.setdefault(("`, `".join(words), ours(verb, name).help), []).append(verb)
        for (shown, what), of in meant.items():
            text = what.replace("|", "\\|")
            lines.append(f"| `{shown}` | {', '.join(of)} | {f'*{text}*' if what.startswith(_REFUSED) else text} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(document())

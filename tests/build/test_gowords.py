"""Go's way of printing: history lines read as Docker's do."""

from __future__ import annotations

from nbcontainers.build import gowords
from nbcontainers.oci.image import Healthcheck


def test_strings_are_quoted_as_go_does() -> None:
    """Quotes, backslashes and what cannot be printed are escaped; other letters are not."""
    assert gowords.quote('a"b\\c\n\t\x00\x7fé\u200b') == '"a\\"b\\\\c\\n\\t\\x00\\x7fé\\u200b"'
    assert gowords.quoted(["a b", ""]) == '["a b" ""]'
    assert gowords.listed(["a b", "c"]) == "[a b c]"


def test_durations_are_shortest() -> None:
    """As time.Duration's String."""
    cases = {
        0: "0s",
        1: "1ns",
        1500: "1.5µs",
        20_000_000: "20ms",
        1_500_000_000: "1.5s",
        90 * 10**9: "1m30s",
        3600 * 10**9: "1h0m0s",
    }
    assert {number: gowords.duration(number) for number in cases} == cases


def test_a_health_check_reads_as_in_docker_history() -> None:
    """The struct with its strings quoted, and the retries as a character."""
    settings = Healthcheck(test=("CMD-SHELL", "x"), interval=30 * 10**9, retries=3)
    assert gowords.health(settings) == '&{["CMD-SHELL" "x"] "30s" "0s" "0s" "0s" \'\\x03\'}'

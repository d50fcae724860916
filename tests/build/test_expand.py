"""Words and expansions: a table of cases; what BuildKit's lexer gives for each was learnt from its tests and source."""

from __future__ import annotations

import pytest

from nbcontainers.build.expand import BadExpansion, expand

VALUES = {
    "PWD": "/home",
    "SHELL": "bash",
    "KOREAN": "한국어",
    "NULL": "",
    "F": "xxyy",
    "P": "/foo*/*/*.txt",
    "REGEX": "()[]{}^$.*?|\\x",
}

WORDS = [
    ("hello", "hello"),
    ("he'll'o", "hello"),
    ("he\\'llo", "he'llo"),
    ("abc\\tdef", "abctdef"),
    ('"abc\\tdef"', "abc\\tdef"),
    ('"abc\\\\tdef"', "abc\\tdef"),
    ("'abc\\tdef'", "abc\\tdef"),
    ("hello\\", "hello"),
    ("hello\\\\", "hello\\"),
    ('"hel\'lo"', "hel'lo"),
    ("'hello\\'", "hello\\"),
    ("'hello\\there'", "hello\\there"),
    ('"$"', "$"),
    ("$", "$"),
    ("he$1x", "hex"),
    ("he$.x", "he$.x"),
    ("he$pwd.", "he."),
    ("he$PWD", "he/home"),
    ("he\\$PWD", "he$PWD"),
    ("he\\\\$PWD", "he\\/home"),
    ('"he\\$PWD"', "he$PWD"),
    ('"he\\\\$PWD"', "he\\/home"),
    ("'he\\$PWD'", "he\\$PWD"),
    ("${PWD", BadExpansion),
    ("${}", BadExpansion),
    ("${:}", BadExpansion),
    ("${{x}", BadExpansion),
    ("he${PWD}", "he/home"),
    ("he${hi}xx", "hexx"),
    ("he${hi:=bar}", BadExpansion),
    ("he${PWD=b}", BadExpansion),
    ("he${hi:-bar}xx", "hebarxx"),
    ("he${PWD:-bar}xx", "he/homexx"),
    ("he${NULL:-bar}", "hebar"),
    ("he${NULL-bar}", "he"),
    ("he${hi-bar}", "hebar"),
    ("he${hi:-$PWD}", "he/home"),
    ("he${hi:-${SHELL}x}", "hebashx"),
    ("he${hi:+bar}", "he"),
    ("he${PWD:+bar}", "hebar"),
    ("he${NULL:+bar}", "he"),
    ("he${NULL+bar}", "hebar"),
    ("${hi:?say $SHELL}", BadExpansion),
    ("${NULL:?x}", BadExpansion),
    ("${NULL?x}", ""),
    ("${PWD:?x}", "/home"),
    ("안녕하세요$KOREAN", "안녕하세요한국어"),
    ("'한글'${KOREAN}\"x\"", "한글한국어x"),
    ("${F#x}", "xyy"),
    ("${F#*x*y}", "y"),
    ("${F#*}", "xxyy"),
    ("${F##*x}", "yy"),
    ("${F##}", "xxyy"),
    ("${F%y}", "xxy"),
    ("${F%%y*}", "xx"),
    ("${F%}", "xxyy"),
    ("${F%%$NULL}", "xxyy"),
    ("${F/x/.}", ".xyy"),
    ("${F//x/.}", "..yy"),
    ("${F//*/.}", "."),
    ("${F/$NULL/ww}", "wwxxyy"),
    ("${F//ww}", BadExpansion),
    ("${F//}", BadExpansion),
    ("${F///}", "xxyy"),
    ("${PWD//\\//\\/}", "\\/home"),
    ("${REGEX#()[]{\\}^$.\\*\\?|\\\\}", "x"),
    ("${F#\\q}", BadExpansion),
    ("${hi#x}", ""),
    ("'unfinished", BadExpansion),
    ('"unfinished', BadExpansion),
    ('"unfinished\\"', BadExpansion),
    ("${hi:-'}'}", "}"),
    ('"${hi:-a b}"', "a b"),
]


@pytest.mark.parametrize(("word", "expected"), WORDS, ids=[word for word, _ in WORDS])
def test_a_word_expands(word: str, expected: str | type[BadExpansion]) -> None:
    """Each word gives its text, or an error with a hint."""
    if isinstance(expected, str):
        assert expand(word, VALUES).text == expected
        return
    with pytest.raises(BadExpansion) as caught:
        expand(word, VALUES)
    assert caught.value.hint


SPLIT = [
    ("hello", ["hello"]),
    ("hello there", ["hello", "there"]),
    ("  a\tb ", ["a", "b"]),
    ('"hello there"', ["hello there"]),
    ("a\\ b", ["a b"]),
    ("$V", ["two", "words"]),
    ('"$V"', ["two words"]),
    ("x${V}y", ["xtwo", "wordsy"]),
    ("'' \"\"", []),
    ("80 ${NONE} 443", ["80", "443"]),
]


@pytest.mark.parametrize(("text", "expected"), SPLIT, ids=[text for text, _ in SPLIT])
def test_words_part_at_spaces_after_expansion(text: str, expected: list[str]) -> None:
    """Spaces of a value part words unless it stands in quotes; an empty word is none."""
    assert list(expand(text, {"V": "two words"}).words) == expected


def test_the_backtick_can_be_the_escape() -> None:
    """With ``# escape=`` the backslash is an ordinary character."""
    assert expand('C:\\x`$A `` "`""', {"A": "1"}, escape="`").text == 'C:\\x$A ` "'


def test_quotes_and_unset_variables_can_be_kept() -> None:
    """Looking for heredocs the words stay as they are written."""
    text = "cat <<'E' \\x \"$A ${B:-c}\""
    assert expand(text, {}, keep_quotes=True, keep_escapes=True, keep_unset=True).text == text


def test_heredocs_have_no_quotes() -> None:
    """In a document quotes are text, variables count, and an escape takes away a dollar's meaning."""
    assert expand("'$A' \"\\$A\" \\\\", {"A": "1"}, quotes=False).text == "'1' \"$A\" \\"


def test_variables_without_a_value_are_told() -> None:
    """Also those with a default, as BuildKit's check has it."""
    assert expand("$A ${B} ${C:-x} $D $$ ${E:+x} ${F-x} ${G#x} ${H/x/y}", {"D": ""}).unset == {*"ABCEFGH"}


def test_required_variables_tell_what_is_wanted() -> None:
    """``${NAME:?message}`` says the name, its state and the message."""
    with pytest.raises(BadExpansion, match=r"^A is not set: give x$"):
        expand("${A:?give $B}", {"B": "x"})
    with pytest.raises(BadExpansion, match=r"^A is empty$"):
        expand("${A:?}", {"A": ""})

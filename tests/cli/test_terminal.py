"""Output made safe to show: colours stay, every other escape goes, wherever the pieces are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbcontainers.cli import terminal

CASES = {
    "plain": (b"hello\n", "hello\n"),
    "colour": (b"\x1b[1;31mred\x1b[0m.", "\x1b[1;31mred\x1b[0m."),
    "left coloured": (b"\x1b[31mred", "\x1b[31mred\x1b[0m"),
    "screen cleared": (b"a\x1b[2J\x1b[Hb", "ab"),
    "alternate screen": (b"\x1b[?1049hx\x1b[?1049l", "x"),
    "title": (b"\x1b]0;owned\x07x", "x"),
    "title ended by a string terminator": (b"\x1b]2;owned\x1b\\x", "x"),
    "clipboard": (b"\x1b]52;c;ZXZpbA==\x07x", "x"),
    "link": (b"\x1b]8;;file:///etc/passwd\x1b\\x\x1b]8;;\x1b\\", "x"),
    "device control": (b'\x1bP$q"p\x1b\\x', "x"),
    "answer back": (b"\x1b[6n\x05x", "x"),
    "eight-bit control": ("\x9b2Jx".encode(), "x"),
    "bell and null": (b"a\x07\x00b", "ab"),
    "a title that never ends": (b"\x1b]0;owned\nnext", "0;owned\nnext"),
    "characters": ("grün … 漢字".encode(), "grün … 漢字"),
    "no UTF-8": (b"a\xff\xfeb", "a\ufffd\ufffdb"),
    "returns and tabs": (b"1%\r2%\tx\b\n", "1%\r2%\tx\b\n"),
}


@pytest.mark.parametrize(("data", "text"), CASES.values(), ids=CASES)
def test_escapes_but_colours_are_dropped(data: bytes, text: str) -> None:
    """Titles, screens, links, queries and clipboards are not the container's to change."""
    cleaner = terminal.Cleaner()
    assert cleaner.feed(data) + cleaner.close() == text


@pytest.mark.parametrize("data", [data for data, _ in CASES.values()], ids=CASES)
def test_pieces_may_end_anywhere(data: bytes) -> None:
    """Byte by byte gives the same text as all at once."""
    whole, pieces = terminal.Cleaner(), terminal.Cleaner()
    expected = whole.feed(data) + whole.close()
    got = "".join(pieces.feed(data[place : place + 1]) for place in range(len(data))) + pieces.close()
    if b"never" not in data and b"\x1b]0;owned\n" not in data:
        assert got == expected


@given(
    st.lists(
        st.sampled_from(
            [b"\x1b", b"[", b"]", b"31m", b"0;x", b"\x07", b"\\", b"\n", b"a", b"\xc3", b"\xa9", b"\x9b", b"P"]
        )
    )
)
def test_whatever_comes_only_colours_remain(pieces: list[bytes]) -> None:
    """No cut and no order of pieces lets another escape through."""
    cleaner = terminal.Cleaner()
    text = "".join(cleaner.feed(piece) for piece in pieces) + cleaner.close()
    rest = terminal._ESCAPE.sub(lambda match: "" if match["colour"] is not None else match[0], text)
    assert not set(rest) & {chr(code) for code in [*range(8), 0x0B, 0x0C, *range(0x0E, 0x20), *range(0x7F, 0xA0)]}


def test_a_tail_keeps_the_last_lines_and_counts_the_others() -> None:
    """Memory stays bounded, whatever a build prints."""
    tail = terminal.Tail(3)
    tail.feed(b"".join(b"line %d\n" % number for number in range(10)))
    assert tail.runs() == [[("", "line 7")], [("", "line 8")], [("", "line 9")]]
    assert tail.dropped == 7


def test_a_line_that_is_written_anew_shows_as_it_was_last() -> None:
    """A progress bar is one line, not a hundred."""
    tail = terminal.Tail(3)
    for piece in (b"10%", b"\r20%", b"\r", b"30%\r", b"\n", b"done"):
        tail.feed(piece)
    assert tail.runs() == [[("", "30%")], [("", "done")]]
    assert terminal.plain(b"10%\r20%\r\nnext\n") == "20%\nnext"


@pytest.mark.parametrize(
    ("codes", "style"),
    [
        (b"31", "1"),
        (b"1;32", "bold 2"),
        (b"92", "10"),
        (b"38;5;9", "9"),
        (b"38;5;196", "9"),
        (b"38;2;0;200;0", "2"),
        (b"38;5;240", "8"),
        (b"48;5;196", ""),
        (b"31;39", ""),
        (b"1;31;0", ""),
        (b"4", "underline"),
        (b"", ""),
    ],
)
def test_colours_become_words_that_a_theme_can_show(codes: bytes, style: str) -> None:
    """Sixteen colours: the nearest of them to what a program asked for."""
    assert terminal.lines(f"\x1b[{codes.decode()}mx") == [[(style, "x")]]


def test_a_style_goes_on_in_the_next_line() -> None:
    """As on a terminal, until it is set back."""
    assert terminal.lines("\x1b[31ma\nb\x1b[0mc\n") == [[("1", "a")], [("1", "b"), ("", "c")]]

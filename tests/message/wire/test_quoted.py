"""Quoted-printable pieces: any text, in any order, comes back; no line is one that a server or a reader would trip over."""

import quopri
import re

from hypothesis import example, given, settings
from hypothesis import strategies as st

from postroom.message.wire import quoted

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=200) | st.text(" \t.=-\r\naé\x00", max_size=300)


def lines_are_sound(octets: bytes) -> bool:
    lines = octets.split(b"\r\n")
    return (
        re.fullmatch(rb"[\t\r\n -~]*", octets) is not None
        and not re.search(rb"[\r\n]", octets.replace(b"\r\n", b""))
        and all(len(line) <= 76 and not line.startswith(b".") and line[-1:] not in (b" ", b"\t") for line in lines)
    )


def decoded(octets: bytes) -> str:
    return quopri.decodestring(octets.replace(b"\r\n", b"\n")).decode("utf-8")


def normalised(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


@given(st.lists(texts, max_size=6))
@example([".", "..", ".\r\n.\r\n"])
@example(["a" * 75 + " \n", "a" * 76, "=" * 100, "é" * 100])
@example(["x" * 74 + "\t\n", ("y" * 75 + ".") * 3])
@example(["a" * 73 + " " * 10 + "\n" + "." * 200])
@settings(max_examples=2_000)
def test_pieces_in_a_row_decode_to_their_texts_in_a_row(pieces: list[str]) -> None:
    octets = b"".join(quoted.piece(text) for text in pieces)
    assert lines_are_sound(octets)
    assert decoded(octets) == "".join(normalised(text) for text in pieces)


def test_readable_text_stays_readable() -> None:
    assert quoted.piece("Dear Anna,\nall is well.\n") == b"Dear Anna,\r\nall is well.\r\n"
    assert quoted.piece("Anna") == b"Anna=\r\n"
    assert quoted.piece("") == b""

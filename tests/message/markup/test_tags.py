"""HTML is read as browsers read it, whatever it holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.message.markup import tags


def read(source: str, *, mjml: bool = False) -> list[str]:
    """Each tag as it stands, the text between in brackets."""
    seen = []
    position = 0
    for tag in tags.read(source, mjml=mjml):
        seen += [f"[{source[position : tag.start]}]"] if tag.start > position else []
        seen.append(source[tag.start : tag.end])
        position = tag.end
    return seen + ([f"[{source[position:]}]"] if position < len(source) else [])


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("a<b>c</b>d", ["[a]", "<b>", "[c]", "</b>", "[d]"]),
        ("<a href='>' b=\">\" c = x>y</a >", ["<a href='>' b=\">\" c = x>", "[y]", "</a >"]),
        ("<a b=c\"d'>e", ["<a b=c\"d'>", "[e]"]),
        ("1 < 2 <3 <> &", ["[1 < 2 <3 <> &]"]),
        ("<!-- <b> --><!--><b><!---><i></3><?x><!y>", ["<!-- <b> -->", "<!-->", "<b>", "<!--->", "<i>", "</3>", "<?x>", "<!y>"]),
        ("<!-- a --!><b>", ["<!-- a --!>", "<b>"]),
        ("<style>a<b></style ><Title></b></TITLE>", ["<style>", "[a<b>]", "</style >", "<Title>", "[</b>]", "</TITLE>"]),
        ("a<b c='d>e", ["[a]", "<b c='d>e"]),
        ("a<!-- b", ["[a]", "<!-- b"]),
        ("<script><b>", ["<script>", "[<b>]"]),
        ("a<plaintext><b>", ["[a]", "<plaintext>", "[<b>]"]),
    ],
)
def test_tags_and_texts_are_told_apart(source: str, seen: list[str]) -> None:
    assert read(source) == seen


def test_mjml_has_other_elements_of_text_and_other_names() -> None:
    assert read("<mj-title>a<b></mj-title><title><é/>", mjml=True) == ["<mj-title>", "[a<b>]", "</mj-title>", "<title>", "<é/>"]


def test_attributes_are_given_with_their_places() -> None:
    source = "<a B='1\"' c=2 d e=\"\"f = 3/>"
    (tag,) = tags.read(source)
    found = list(tags.attributes(source, tag))
    assert [(one.name, one.value) for one in found] == [("b", '1"'), ("c", "2"), ("d", ""), ("e", ""), ("f", "3/")]
    assert [one.quote for one in found] == ["'", "", "", '"', ""]
    assert [source[one.start : one.end] for one in found] == ["B='1\"'", "c=2", "d", 'e=""', "f = 3/"]
    assert tags.spaced(source, tag) == source.replace('""f', '"" f')


@given(st.text("<>/!-?='\" abstyle", max_size=60))
def test_every_source_is_read_once_from_the_first_to_the_last_character(source: str) -> None:
    assert "".join(part.removeprefix("[").removesuffix("]") for part in read(source)) == source

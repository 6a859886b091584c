"""Liquid is taken out of a source and comes back as it was, or not at all."""

from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from liquid import BoundTemplate
from liquid.lex import compile_liquid_rules

from message import bounded
from postroom.errors import InvalidInput
from postroom.message.liquid import merge
from postroom.message.markup.masked import Masked

sources = st.lists(
    st.sampled_from(["{{", "}}", "{%", "%}", "{{ a }}", "{% if a %}", "{% raw %}", "{% endraw %}", "{%- comment -%}",
                     "{% endcomment %}", "{", "}", " ", "zq", "x", "0q", "Z", "raw", "<!--", "-->"]),
    max_size=20,
).map("".join)


def pieces(source: str) -> list[str]:
    return [piece.text for piece in Masked(source).pieces]


@given(sources)
@example("zqzq0q{{ a }}ZQX1Q")
def test_what_is_masked_comes_back(source: str) -> None:
    masked = Masked(source)
    assert masked.restored(masked.text) == source
    assert masked.restored(masked.as_comments(masked.text)) == source


def test_no_source_makes_the_search_for_a_word_that_it_does_not_hold_long() -> None:
    script = """
from postroom.message.markup.masked import Masked
source = "{{ a }}zq" + "x" * 1_048_576
masked = Masked(source)
print(len(masked.prefix), masked.restored(masked.text) == source)
"""
    assert bounded.printed(script) == "10 True\n"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("a {{ b }} {% c %}", ["{{ b }}", "{% c %}"]),
        ('{{ "%}" }}{% "}}" %}', ['{{ "%}" }}', '{% "}}" %}']),
        ("{% raw %}{{ a }} {{ {% endraw %}{{ b }}", ["{% raw %}", "{{ a }}", "{% endraw %}", "{{ b }}"]),
        ("{%- comment -%} <b> {{ a }} {%- endcomment -%}x", ["{%- comment -%} <b> {{ a }} {%- endcomment -%}"]),
        ("{{ a", []),
        ("{% raw %} {{ a }}", ["{% raw %}", "{{ a }}"]),
    ],
)
def test_markup_is_found_as_liquid_finds_it(source: str, found: list[str]) -> None:
    assert pieces(source) == found


LIQUID = merge.environment(datetime(2026, 1, 1, tzinfo=UTC), html=False)
LEXER = compile_liquid_rules()
texts = st.sampled_from(["x", " ", "{", "}", "%}", "}}", "\n", "{{ a }}", "{{- a -}}", '{{ "%}" }}', "{{ '{% endcomment %}' }}",
                         "{% # x %}", "{%- assign a = '}}' %}"])
pairs = st.sampled_from([("{% if a %}", "{%- endif -%}"), ("{%raw-%}", "{%- endraw\n%}"), ("{% doc %}", "{%enddoc -%}"),
                         ("{% comment -%}", "{% endcomment %}"), ("{%- comment x %}", "{% endcomment x %}")])
in_verbatim = st.sampled_from(["{{", "{%", "{% if", "{% endif %}", "{% comment %}", "{% endraw x %}", "{% raw x %}"])
blocks = st.recursive(
    st.lists(texts, max_size=4).map("".join),
    lambda inner: st.builds(lambda pair, before, within, after: before + pair[0] + within + pair[1] + after,
                            pairs, inner, inner | in_verbatim, inner),
    max_leaves=6,
)


def as_liquid_reads(source: str) -> tuple[set[int], set[int], set[int]]:
    """By Liquid's own rules: where text stands, where text stands in a raw block, and what is inside a comment."""
    text, raw, hidden = set[int](), set[int](), set[int]()
    depth = 0
    for found in LEXER.finditer(source):
        name = found["name"] if found.lastgroup == "TAG" else None
        depth += (name == "comment") - (name == "endcomment" and depth > 0)
        if depth and not (name == "comment" and depth == 1):
            hidden.update(range(*found.span()))
        elif found.lastgroup == "RAW":
            raw.update(range(*found.span("raw")))
        elif found.lastgroup == "content":
            text.update(range(*found.span()))
    return text, raw, hidden


@given(blocks)
@example("{% raw %}{{%- endraw -%}")
@example("{% comment %}{% endcomment x %}{{ '{% endcomment %}' }}")
@example("{% comment %}{% comment %}x{% endcomment %}y{% endcomment %}z")
@settings(max_examples=1_000)
def test_in_what_can_be_parsed_all_that_is_live_is_masked_and_no_text_is(source: str) -> None:
    if not isinstance(merge.parse(source, LIQUID, "text"), BoundTemplate):
        return
    text, raw, hidden = as_liquid_reads(source)
    found = Masked(source).pieces
    masked = {index for piece in found for index in range(piece.start, piece.start + len(piece.text))}
    assert not masked & text
    assert masked | text | raw | hidden == set(range(len(source)))
    assert not any(piece.is_output for piece in found if piece.start in raw)


def words(masked: Masked) -> list[str]:
    return masked.word.findall(masked.text)


def test_an_output_may_be_repeated_behind_the_tags_it_stood_behind() -> None:
    masked = Masked("{% assign a = 1 %}{{ a }}{% if b %}{% endif %}")
    assign, output, condition, end = words(masked)
    assert masked.restored(assign + output + condition + output + end) == "{% assign a = 1 %}{{ a }}{% if b %}{{ a }}{% endif %}"


def test_a_lost_a_repeated_and_a_moved_piece_are_refused_by_name_and_place() -> None:
    masked = Masked("{% if a %}\n {{ b }}{% endif %}", "mjml")
    condition, output, end = words(masked)
    for text in (condition + end, output + condition + end, condition + output + condition + end, end + output + condition):
        with pytest.raises(InvalidInput, match=r"In the mjml, line \d, column \d+: \".*\" is lost or moved"):
            masked.restored(text)
    with pytest.raises(InvalidInput, match=r'line 2, column 2: "\{\{ b \}\}"'):
        masked.restored(condition + end)
    assert masked.restored(output + condition + end, outputs_may_move=True) == "{{ b }}{% if a %}{% endif %}"


def test_what_is_raw_is_held_like_a_tag_because_elsewhere_it_would_be_live() -> None:
    masked = Masked("{% raw %}{{ a }}{% endraw %}")
    begin, inner, end = words(masked)
    with pytest.raises(InvalidInput, match="lost or moved"):
        masked.restored(begin + inner + end + inner)

"""Conditions and loops that are taken apart print what Liquid prints, whatever was remembered before."""

import quopri
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from postroom.message.liquid import merge
from postroom.message.render.blocks import Blocks
from postroom.message.render.memo import MEMO_MAX
from postroom.message.render.parts import Budget, Part, take_apart
from postroom.message.wire import quoted
from postroom.message.wire.headers import Unrenderable

NOW = datetime(2026, 6, 5, tzinfo=UTC)
ACCOUNT = {"name": "Harbour"}
OWN = {"email": "a@b.example", "unsubscribe_url": "https://x.example/u"}
Fields = dict[str, object]


def part(source: str, *, html: bool = True) -> Part:
    template = merge.parse(source, merge.environment(NOW, html=html), "html")
    assert not isinstance(template, list), template
    return take_apart(template, ACCOUNT, Budget(merge.Steps()))


class Both:
    """A template as Liquid renders its nodes, and as blocks do."""

    def __init__(self, source: str, *, html: bool = True) -> None:
        self._part = part(source, html=html)
        self._found: set[str] = set()
        self._blocks = Blocks(self._part, self._found)

    def by_liquid(self, fields: Fields) -> tuple[list[str], set[str]] | None:
        blanks: set[str] = set()
        try:
            return self._part.rendered(OWN, fields, blanks), blanks
        except Unrenderable:
            return None

    def by_blocks(self, fields: Fields) -> tuple[list[str], set[str]] | None:
        self._found.clear()
        try:
            pieces = self._blocks.pieces(OWN, fields)
        except Unrenderable:
            return None
        return [decoded(piece) for piece in pieces], set(self._found)


def decoded(piece: bytes) -> str:


    return quopri.decodestring(piece.replace(b"\r\n", b"\n")).decode("utf-8")


names = st.sampled_from(
    ["a", "b", 'fields["a"]', "w", "item", "email", "account.name", "forloop.index", "forloop.last", "now.year"]
)
literals = st.sampled_from(['"x"', '""', "1", "true", "nil", "blank", "1.0"])
signs = st.sampled_from(["==", "!=", "contains", "<"])
outputs = st.builds(
    lambda name, filters: "{{ " + name + filters + " }}",
    names,
    st.sampled_from(
        ["", " | upcase", ' | default: "d"', " | append: a", " | append: account.name", ' | split: "" | first', " | size"]
    ),
)
tests = st.recursive(
    names | st.builds(lambda one, sign, two: f"{one} {sign} {two}", names, signs, literals | names),
    lambda inner: st.builds(lambda one, word, two: f"{one} {word} {two}", inner, st.sampled_from(["and", "or"]), inner),
    max_leaves=3,
)
plain = st.sampled_from(["text", " ", "\n", ".é=\n", "a\n.b"])
state = st.sampled_from(
    ["{% assign w = a %}", '{% assign a = "mine" %}', "{% increment b %}", "{% capture w %}{{ b }}{% endcapture %}",
     "{% cycle 'x', 'y' %}", "{% assign item = b %}", "{% break %}", "{% comment %}x{% endcomment %}"]
)  # fmt: skip
loops = st.sampled_from(["(1..3)", "w", "a", "list", "(1..2) reversed", "list limit: 1 offset: 1"])


def blocks(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    several = st.lists(inner, max_size=3).map("".join)
    return (
        st.builds(lambda test, one, two: f"{{% if {test} %}}{one}{{% else %}}{two}{{% endif %}}", tests, several, several)
        | st.builds(lambda test, other, one, two: f"{{% unless {test} %}}{one}{{% elsif {other} %}}{two}{{% endunless %}}",
                    tests, tests, several, several)
        | st.builds(lambda name, when, one: f"{{% case {name} %}}{{% when {when} %}}{one}{{% else %}}-{{% endcase %}}",
                    names, literals, several)
        | st.builds(lambda over, one, two: f"{{% for item in {over} %}}{one}{{% else %}}{two}{{% endfor %}}",
                    loops, several, several)
    )  # fmt: skip


# Loops whose turns their items and counters decide.
turns = st.lists(
    plain
    | st.sampled_from(
        ["{{ item }}", "{{ item | upcase }}", "{{ item.size }}", "{{ forloop.index }}", "{{ forloop.rindex0 | plus: 1 }}",
         "{% unless forloop.last %}, {% endunless %}", "{% if forloop.first and item %}first {{ item }}{% endif %}",
         "{% case item %}{% when 'x' %}an x{% else %}{{ forloop.index0 }}{% endcase %}", "{{ item | append: account.name }}"]
    ),
    min_size=1,
    max_size=4,
).map("".join)  # fmt: skip
walks = st.builds(lambda over, turn: f"{{% for item in {over} %}}{turn}{{% endfor %}}", loops, turns)
templates = st.lists(walks | st.recursive(outputs | plain | state, blocks, max_leaves=8), min_size=1, max_size=5).map("".join)
values = st.sampled_from([None, "", " ", "x", "1", 1, 1.0, True, False, 0, "<b>", "é.\n.", "x;y;x", "long" * 60])
people = st.fixed_dictionaries({}, optional={"a": values, "b": values, "w": values, "item": values})
LIST = '{% assign list = a | append: ";x;<y>;x;é" | split: ";" %}'


@example(source="{% unless a %}{{ a }}{% elsif a %} {% assign w = 1 %}{% endunless %}{{ w }}", recipients=[{"a": ""}], html=False)
@given(source=templates, recipients=st.lists(people, min_size=1, max_size=4), html=st.booleans())
@settings(max_examples=500)
def test_blocks_print_what_liquid_prints_and_find_the_same_blanks(source: str, recipients: list[Fields], html: bool) -> None:
    both = Both(LIST + source, html=html)
    for fields in recipients * 2:
        assert both.by_blocks(fields) == both.by_liquid(fields)


def test_what_is_remembered_is_told_apart_by_type_and_place() -> None:
    both = Both('{% if a == 1 %}one{% elsif a %}{{ b }}{% else %}none{% endif %}{% if fields["b"] == a %}same{% endif %}')
    several = (1, True, "1", 1.0, False, None)
    recipients: list[Fields] = [{"a": a, "b": b} for a in several for b in several]
    for fields in recipients * 2:
        assert both.by_blocks(fields) == both.by_liquid(fields)


def test_a_branch_tells_of_the_blank_fields_that_it_prints_and_of_no_others() -> None:
    both = Both("{% if a %}{{ b }}{% else %}{{ c }}{% endif %}")
    for _ in range(2):
        assert both.by_blocks({"a": "x", "b": " "}) == ([""], {"b"})
        assert both.by_blocks({"b": "x"}) == ([""], {"c"})
        assert both.by_blocks({"a": "x", "b": "y"}) == (["y"], set())


def test_a_list_is_refused_by_name_within_a_branch_too() -> None:
    blocks = Blocks(part("{% if a %}{{ b }}{% endif %}"), set())
    with pytest.raises(Unrenderable, match='"b" is a list'):
        blocks.pieces(OWN, {"a": "x", "b": ["y"]})


def test_a_loop_takes_as_many_steps_when_its_turns_are_remembered() -> None:
    source = "{% assign list = a | split: ';' %}" + "{% for item in list %}{{ item | upcase | downcase }}{% endfor %}" * 28
    many: Fields = {"a": "x;" * 400}
    few: Fields = {"a": "x;y"}
    fresh, used = (Blocks(part(source), set()) for _ in range(2))
    used.pieces(OWN, few)
    for blocks in (fresh, used):
        with pytest.raises(Unrenderable, match="too many steps"):
            blocks.pieces(OWN, many)


def test_what_a_loop_makes_is_bounded() -> None:
    source = "{% for item in (1..10000) %}" + "x" * 1_000 + "{% endfor %}"
    with pytest.raises(Unrenderable, match="larger than 2 MiB"):
        Blocks(part(source), set()).pieces(OWN, {})


def test_more_values_than_are_remembered_come_out_right() -> None:
    loop = "{% assign w = a | split: ';' %}{% for item in w %}{{ item }}{% endfor %}"
    both = Both("{% if a == b %}{{ a | upcase }}{% endif %}" + loop)
    for number in [*range(MEMO_MAX + 5), 3, MEMO_MAX + 3]:
        fields: Fields = {"a": f"x{number};y", "b": f"x{number};y"}
        assert both.by_blocks(fields) == ([f"X{number};Y", "", f"x{number}y"], set())


def test_static_text_within_is_encoded_as_one_piece() -> None:
    blocks = Blocks(part("{% if a %}Dear {{ account.name }},{% comment %} {% endcomment %} hello{% endif %}"), set())
    assert blocks.pieces(OWN, {"a": "x"}) == [quoted.piece("Dear Harbour, hello")]

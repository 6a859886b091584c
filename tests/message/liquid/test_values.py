"""A value is read as what it is, or its recipient gets no message and is told why: nothing is printed that nobody wrote."""

from __future__ import annotations

import quopri
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from postroom.errors import InvalidInput
from postroom.message.content import Bodies, Content
from postroom.message.liquid.template import check
from postroom.message.liquid.values import Unusable
from postroom.message.render.compile import BlankFields, Compiled, Outfit, Stamp, compile  # noqa: A004
from postroom.message.wire.headers import Unrenderable

STAMP = Stamp("7-abc", datetime(2026, 6, 5, 7, 8, 9, tzinfo=UTC))
NUMERIC = ("abs", "at_least: 0", "at_most: 9999", "ceil", "divided_by: 1", "floor", "minus: 0", "modulo: 9999", "plus: 0",
           "round",
           "times: 1")


@pytest.fixture(params=["html", "text"])
def part(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def job(source: str, part: str = "text", *, fails_blanks: bool = True) -> Compiled:
    content = Content("News", source if part == "html" else None, source if part == "text" else None, "news@club.example")
    check(content)
    return compile(content, Bodies(content.html, content.text), STAMP, {"name": "Harbour"}, Outfit(fails_blanks=fails_blanks))


def made(source: str, part: str = "text", **fields: object) -> str:
    return body(job(source, part).render("ann@list.example", 1, fields))


def body(octets: bytes) -> str:
    return quopri.decodestring(octets.partition(b"\r\n\r\n")[2]).decode().rstrip("\r\n")


def refusal(source: str, part: str = "text", **fields: object) -> str:
    with pytest.raises(Unrenderable) as refused:
        made(source, part, **fields)
    return refused.value.reason


# -- numbers -----------------------------------------------------------------------------------------------------------

IN_DOUBT = ("17,50", "2.345,67", "2,345.67", "1,234", "1.234", "-9.875", "1 234,56", "1'234.50", "€12", "12 EUR", "12%",
            "(12)", "12-",
            "n/a", "nan", "inf", "-Infinity", "1e5", "1_000", "0x10", "12.", "½", "１２", "twelve", "1.2.3", "--1", "+")


@pytest.mark.parametrize("value", IN_DOUBT)
@pytest.mark.parametrize("filters", NUMERIC)
def test_no_filter_of_numbers_reckons_with_what_may_be_another_number_or_none(value: str, filters: str) -> None:
    reason = refusal(f"{{{{ price | {filters} }}}}", price=value)
    assert reason.startswith("The template cannot be filled in for this recipient: in \"price | ")
    assert f'"{value}"' in reason


@pytest.mark.parametrize("value", IN_DOUBT)
@pytest.mark.parametrize("filters", ["plus", "minus", "times", "divided_by", "modulo", "at_least", "at_most", "round"])
def test_nor_does_it_take_one_for_its_argument(value: str, filters: str) -> None:
    assert f'"{value}"' in refusal(f"{{{{ 100 | {filters}: price }}}}", price=value)


@pytest.mark.parametrize(("value", "printed"), [
    ("7", "21"), (" 7 ", "21"), ("+7", "21"), ("-7", "-21"), ("007", "21"), ("7.25", "21.75"), (".5", "1.5"), ("0.125", "0.375"),
    ("1234.5", "3703.5"), ("1.2340", "3.702"), ("1234567", "3703701"), (7, "21"), (7.25, "21.75"), ("\xa07\xa0", "21"),
])  # fmt: skip
def test_digits_with_a_point_are_a_number(part: str, value: object, printed: str) -> None:
    assert made("{{ price | times: 3 }}", part, price=value) == printed


@pytest.mark.parametrize("source", [
    "{{ price | plus: 1 | append: ' euros' }}", "{% assign x = price | plus: 1 %}{{ x }}", "{{ name | slice: 0, price }}",
    "{% capture x %}{{ price | plus: 1 }}{% endcapture %}x", "{% for p in (1..2) %}{{ price | plus: p }}{% endfor %}",
    "{{ list | split: ';' | sum }}", "{% for p in parts limit: price %}{% endfor %}", "{{ name | truncate: price }}",
    "{{ name | truncatewords: price }}", "{% if price > 5 %}x{% endif %}", "{% if 5 <= price %}x{% endif %}",
    "{% if price == 9.5 %}x{% endif %}",
    "{% unless price != 9.5 %}x{% endunless %}", "{% case price %}{% when 9.5 %}x{% endcase %}",
    "{% if name and price < 5 %}x{% endif %}",
    "{% assign five = 5 %}{% if price >= five %}x{% endif %}", "{% if price < other %}x{% endif %}", "{% echo price | plus: 1 %}",
    "{% assign n = list | split: ';' %}{% if n contains 9.5 %}x{% endif %}",
])  # fmt: skip
def test_wherever_a_number_is_needed_a_value_in_doubt_is_none(part: str, source: str) -> None:
    assert '"9,50"' in refusal(source, part, name="Ann", price="9,50", other="9.60", list="9,50;1")


@pytest.mark.parametrize(("value", "reason"), [
    ("12345678901234567.25", "too large a number to have decimals"), (1e22, "too large a number to have decimals"),
    ("9" * 1_300, "more than 1,233 digits"), (True, '"true" is not read as a number'),
])  # fmt: skip
def test_what_would_not_come_out_exactly_is_no_number_either(value: object, reason: str) -> None:
    assert reason in refusal("{{ n | times: 1 }}", n=value)
    assert "too large" in refusal("{{ n | times: 1.5 }}", n=2**60)


@pytest.mark.parametrize("source", [
    *(f"{{{{ price | {filters} }}}}" for filters in NUMERIC), "{{ 100 | minus: price }}", "{{ price | plus: price }}",
    "{{ price | times: 2 | append: ' euros' }}", "{% assign x = price | times: 2 %}{{ x }}", "{{ price | split: ';' | sum }}",
    "{% assign x = price | times: 2 %}{% assign y = x | plus: 1 | prepend: 'EUR ' %}{{ y }}", "{{ 'abc' | slice: price }}",
    "{% capture x %}{{ price | round }}{% endcapture %}{{ x }}",
])  # fmt: skip
@pytest.mark.parametrize("value", ["", " ", None])
def test_what_is_reckoned_from_a_blank_is_a_blank_field_and_not_0(source: str, value: object, part: str) -> None:
    with pytest.raises(BlankFields, match='The field "price" is blank'):
        made(source, part, price=value)
    blanks: set[str] = set()
    assert body(job(source, part).render("ann@list.example", 1, {"price": value}, blanks)).strip() == ""
    assert blanks == {"price"}


def test_a_column_of_a_name_that_is_taken_may_be_blank_as_any_other() -> None:
    assert refusal('{% assign x = fields["now"] | plus: 1 %}{{ x }}', now="") == 'The field "now" is blank.'


def test_a_default_stands_for_what_is_reckoned_from_a_blank() -> None:
    assert made("{{ price | times: 2 | default: 'free' | upcase }}", price="") == "FREE"
    assert made("{{ price | default: 3 | times: 2 }}", price="") == "6"


def test_the_blank_of_two_fields_is_named() -> None:
    assert refusal("{{ price | minus: rebate }}", price="5", rebate="") == 'The field "rebate" is blank.'


def test_a_name_that_was_assigned_a_blank_field_prints_a_blank_field() -> None:
    source = "{% assign who = name %}{{ who }}{% assign who = 'x' %}{{ who }}"
    assert refusal(source, name="") == 'The field "name" is blank.'
    assert made(source, name="Ann") == "Annx"
    assert made("{% assign who = name | default: 'you' %}{{ who }}", name="") == "you"
    assert made("{% assign list = '' %}{{ list }}.", name="") == "."


@pytest.mark.parametrize(("source", "printed"), [
    ("{{ 2.5 | round }} {{ 3.5 | round }} {{ -2.5 | round }} {{ 1.005 | round: 2 }}", "3 4 -3 1.01"),
    ("{{ 1250 | round: -2 }} {{ 49 | round: -2 }} {{ 7 | round: 2 }} {{ 0.5 | round: 9 }}", "1300 0 7 0.5"),
    ("{{ '1;2.5' | split: ';' | sum }} {{ '1;2' | split: ';' | sum }}", "3.5 3"),
    ("{{ 0.00002 }} {{ 0.00002 | times: 1 }} {{ 1 | divided_by: 100000.0 }}", "0.00002 0.00002 0.00001"),
])  # fmt: skip
def test_numbers_are_rounded_and_printed_as_people_do(source: str, printed: str) -> None:
    assert made(source) == printed


# -- blanks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("filters", [
    "replace: nick, 'x'", "replace_first: nick, 'x'", "replace_last: nick, 'x'", "remove: nick", "remove_first: nick",
    "remove_last: nick", "split: nick | join: '-'", "split: 'n' | join: nick", "replace: nick, 'x' | append: '!'",
    "date: nick | append: '!'",
])  # fmt: skip
@pytest.mark.parametrize("value", ["", " ", None])
def test_a_filter_that_needs_its_argument_does_nothing_by_a_blank_one(part: str, filters: str, value: object) -> None:
    for source in (f"{{{{ name | {filters} }}}}", f"{{% assign x = name | {filters} %}}{{{{ x }}}}",
                   "{% assign mine = nick %}{{ name | # }}".replace("#", filters.replace("nick", "mine"))):
        assert refusal(source, part, name="Anna", nick=value) == 'The field "nick" is blank.'
        assert made(source.replace("}}", "| default: 'none' }}", 1) if "{{ name" in source else "none", part, name="Anna",
                    nick=value) == "none"


def test_an_empty_argument_that_is_written_in_the_template_is_meant(part: str) -> None:
    assert made("{{ name | split: '' | join: '-' }}", part, name="Ann") == "A-n-n"
    assert made("{% assign by = ' ' %}{{ name | split: by | last }}", part, name="Ann Lee") == "Lee"
    assert made("{{ name | replace: 'n', nick }}", part, name="Ann", nick="") == "A"


def test_a_blank_that_a_cycle_prints_is_a_blank_field(part: str) -> None:
    source = "{% for i in (1..2) %}{% cycle 'x', nick %}{% endfor %}"
    assert refusal(source, part, nick="") == 'The field "nick" is blank.'
    assert made(source, part, nick="y") == "xy"
    assert made("{% cycle 'x', nick %}", part, nick="") == "x"
    assert made("{% for i in (1..2) %}{% cycle 'x', '' %}{% endfor %}", part) == "x"


@pytest.mark.parametrize(("source", "name"), [
    ("{{ account.nmae }}", "account.nmae"), ("{% echo account.phone | upcase %}", "account.phone"),
    ("{% assign x = account.phone %}{{ x }}", "account.phone"), ("{{ name | remove: account.phone }}", "account.phone"),
    ("{% for i in (1..2) %}{{ account.phone }}{% endfor %}", "account.phone"),
    ("{% if name %}{{ account.phone }}{% endif %}", "account.phone"), ("{{ account['my site'] }}", "account.my site"),
])
def test_what_the_account_has_not_is_a_blank_field_where_it_is_printed(part: str, source: str, name: str) -> None:
    assert refusal(source, part, name="Ann") == f'The field "{name}" is blank.'


@pytest.mark.parametrize(("source", "printed"), [
    ("{{ account.phone | default: 'none' }}", "none"), ("{% if account.phone %}{{ account.phone }}{% endif %}.", "."),
    ("{{ account.name }}", "Harbour"), ("{{ name | append: account.name }}", "AnnHarbour"),
    ("{% assign account = 'x' | split: ',' %}{{ account.first }}", "x"),
])
def test_what_the_account_may_lack_is_asked_for(part: str, source: str, printed: str) -> None:
    assert made(source, part, name="Ann") == printed


# -- parts of a value --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [
    "name.first", "name[0]", "name.last", "fields.name.town", "name[key]", "account.name.first", "email.domain", "now.year",
    "number.first",
])
def test_a_value_has_no_parts(part: str, path: str) -> None:
    for source in (f"{{{{ {path} }}}}", f"{{% if {path} == 'A' %}}x{{% endif %}}"):
        assert "a part is named of what has none" in refusal(source, part, name="Ann", key="x", number=7)


@pytest.mark.parametrize("filters", ["first", "last", "find: 'n'", "find_index: 'n'", "has: 'n'"])
def test_no_part_is_found_in_a_text(part: str, filters: str) -> None:
    assert '"Ann" is no list or object' in refusal(f"{{{{ name | {filters} }}}}", part, name="Ann")
    assert refusal(f"{{{{ name | {filters} }}}}", part, name="") == 'The field "name" is blank.'


@pytest.mark.parametrize(("source", "printed"), [
    ("{{ name.size }}{{ name | split: ' ' | first }}{{ name | slice: 0 }}", "7AnnA"),
    ("{% assign l = name | split: ' ' %}{{ l.first }}{{ l[1] }}{{ l.size }}{{ l | last }}", "AnnLee2Lee"),
    ("{% for pair in fields %}{{ pair[0] }}{{ pair.last }}{% endfor %}", "nameAnn Lee"),
])
def test_lists_and_objects_have_parts(part: str, source: str, printed: str) -> None:
    assert made(source, part, name="Ann Lee") == printed


# -- comparisons -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("condition", "holds"), [
    ("n > 9", True), ("n < 9", False), ("n >= 10", True), ("n <= 10.0", True), ("n == 10", True), ("n != 10", False),
    ("9 < n", True),
    ("n > nine", True), ("n <= nine", False), ("nothing > 0", False), ("nothing < 0", False), ("nothing <= 0", False),
    ("nothing == 0", False), ("nothing != 0", True), ("word == 1", False), ("word != 1", True), ("word > 'aaa'", True),
    ("day < '2026-10-01'", True), ("day >= '2026-09-30'", True), ("n == '10'", True), ("nine == '9.0'", False),
    ("list contains 10", True),
    ("list contains 2", False), ("word contains 'l'", True), ("missing > 0", False), ("zero == 0", True),
])  # fmt: skip
def test_a_text_that_is_a_number_is_compared_as_one(part: str, condition: str, holds: bool) -> None:
    fields = {"n": "10", "nine": "9", "nothing": "", "word": "gold", "day": "2026-09-30", "zero": "0.00"}
    source = f"{{% assign list = '9,10' | split: ',' %}}{{% if {condition} %}}yes{{% else %}}no{{% endif %}}"
    assert made(source, part, **fields) == ("yes" if holds else "no")
    branch = source.partition("%}")[2] if "list" not in condition else source
    assert made(branch, part, **fields) == ("yes" if holds else "no"), "remembered branches are no others"


@pytest.mark.parametrize(("left", "right"), [
    ("30.09.2026", "2026-10-01"), ("9:15", "10:30"), ("gold", "5"), ("5", "gold"), (True, 0), ("€5", "4"), ("1.234", "2"),
])  # fmt: skip
def test_what_has_no_order_is_not_put_in_one(left: object, right: object) -> None:
    for sign in ("<", ">", "<=", ">="):
        assert f'in "a {sign} b"' in refusal(f"{{% if a {sign} b %}}x{{% endif %}}", a=left, b=right)


TRUE_AND_FALSE = [(True, False), ("true", "false"), ("TRUE", "FALSE"), ("True", "False")]


@pytest.mark.parametrize("source", [
    "{% if paid %}yes{% else %}no{% endif %}", "{% unless paid %}no{% else %}yes{% endunless %}",
    "{% if paid == true %}yes{% else %}no{% endif %}", "{% if paid != false %}yes{% else %}no{% endif %}",
    "{% if paid == 'true' %}yes{% else %}no{% endif %}", "{% if false == paid %}no{% else %}yes{% endif %}",
    "{% case paid %}{% when true %}yes{% when false %}no{% endcase %}", "{% if paid and name %}yes{% else %}no{% endif %}",
    "{% case paid %}{% when 'TRUE' %}yes{% else %}no{% endcase %}", "{% if paid or gone %}yes{% else %}no{% endif %}",
    "{% if paid == yes %}yes{% else %}no{% endif %}", "{% assign p = paid %}{% if p %}yes{% else %}no{% endif %}",
    "{% assign l = 'TRUE,x' | split: ',' %}{% if l contains paid %}yes{% else %}no{% endif %}",
    "{% for i in (1..1) %}{% if paid %}yes{% else %}no{% endif %}{% endfor %}",
])  # fmt: skip
def test_true_and_false_are_the_same_through_each_door(part: str, source: str) -> None:
    message = job(source, part)
    for true, false in TRUE_AND_FALSE * 2:
        for paid, printed in ((true, "yes"), (false, "no")):
            fields = {"paid": paid, "name": "Ann", "yes": "True"}
            assert body(message.render("ann@list.example", 1, fields)) == printed, paid


@pytest.mark.parametrize("source", ["{{ paid }}", "{{ paid | default: 'x' }}", "{{ paid | append: '' }}"])
def test_true_and_false_are_printed_as_they_are_written(part: str, source: str) -> None:
    assert [made(source, part, paid=paid) for paid in (True, False, "true", "FALSE")] == ["true", "false", "true", "FALSE"]


@pytest.mark.parametrize("value", ["yes", "WAHR", "1", 1, "0", "x"])
def test_what_says_neither_true_nor_false_is_not_taken_for_either(part: str, value: object) -> None:
    for source in ("{% if paid == true %}x{% endif %}", "{% if paid != false %}x{% endif %}",
                   "{% case paid %}{% when true %}x{% endcase %}"):
        assert f'"{value}" is neither true nor false' in refusal(source, part, paid=value)


def test_a_blank_is_neither_true_nor_false() -> None:
    source = "{% if paid == true %}yes{% elsif paid == false %}no{% else %}blank{% endif %}"
    assert [made(source, paid=paid) for paid in ("", " ", None)] == ["blank"] * 3


@pytest.mark.parametrize("condition", ["today == day", "day == now", "day != today", "now > day", "day <= today"])
def test_the_moment_of_sending_is_compared_with_no_text(part: str, condition: str) -> None:
    reason = refusal(f"{{% if {condition} %}}x{{% endif %}}", part, day="2026-06-05")
    assert "{% assign day = today | date: '%Y-%m-%d' %}" in reason
    as_it_says = "{% assign d = today | date: '%Y-%m-%d' %}{% if d == day %}today{% endif %}"
    assert made(as_it_says, part, day="2026-06-05") == "today"


@pytest.mark.parametrize("blank", ["", None])
def test_nothing_contains_a_blank(part: str, blank: object) -> None:
    assert made("{% if name contains topic %}x{% else %}y{% endif %}", part, name="Ann", topic=blank) == "y"


def test_a_case_of_numbers_reads_texts() -> None:
    assert made("{% case n %}{% when 1, 2 %}few{% when 3 %}three{% else %}many{% endcase %}", n="2") == "few"


# -- texts -------------------------------------------------------------------------------------------------------------


def printing() -> Iterator[str]:
    for whole in ("list", "pair", "rest"):
        for use in ("{{ # }}", "{% echo # %}", "{{ # | upcase }}", "{{ 'x' | append: # }}", "{{ 'x' | replace: 'x', # }}",
                    "{{ # | truncate: 3 }}", "{{ 'x' | truncate: 0, # }}", "{% cycle #, 'x' %}", "{{ # | times: 2 }}",
                    "{{ # | date: '%d' }}",
                    "{% assign x = # | strip %}", "{% capture x %}{{ # }}{% endcapture %}"):
            yield use.replace("#", whole)
    yield from ("{{ (1..3) }}", "{% for i in (1..2) %}{{ forloop }}{% endfor %}", "{{ list | concat: list }}",
    "{{ name | reverse }}")


@pytest.mark.parametrize("use", list(printing()))
def test_a_whole_list_or_object_is_never_printed(part: str, use: str) -> None:
    lists = "{% assign list = name | split: 'n' %}{% for pair in fields %}{% assign rest = pair | reverse %}"
    source = f"{lists}{use}{{% endfor %}}"
    assert "list or object" in refusal(source, part, name="Anna") or "no text and no number" in refusal(source, part, name="Anna")


@pytest.mark.parametrize(("source", "printed"), [
    ("{{ name | append: nick }}", "Ann"), ("{{ name | prepend: nick }}", "Ann"), ("{{ name | replace: 'A', nick }}", "nn"),
    ("{{ flag | append: '!' }}{{ flag }}", "true!true"), ("{{ whole | size }}{{ text | size }}", "22"),
    ("{% for pair in fields %}{{ pair | join: '=' }};{% endfor %}", "name=Ann;nick=;flag=true;whole=12;text=12;"),
    ("{{ 'YWJj' | base64_decode }}{{ 'YT8_' | base64_url_safe_decode }}", "abca??"),
    ("{{ fields.size }}{{ fields['first'] }}", ""),
])  # fmt: skip
def test_a_filter_of_texts_is_given_what_would_be_printed(part: str, source: str, printed: str) -> None:
    fields = {"name": "Ann", "nick": None, "flag": True, "whole": 12, "text": "12"}
    assert body(job(source, part, fails_blanks=False).render("ann@list.example", 1, fields)) == printed


@pytest.mark.parametrize("decode", ["base64_decode", "base64_url_safe_decode", "url_decode"])
def test_what_is_not_encoded_is_not_decoded_to_something(decode: str) -> None:
    assert "is not read as" in refusal(f"{{{{ code | {decode} }}}}", code="YW%E4!")


# -- dates -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [
    "{{ until | date: '%d' }}", "{% assign d = until | date: '%d' %}{{ d }}", "{% if until %}{{ until | date: '%d' }}{% endif %}",
    "{{ until | date: '%d' | append: '' }}", "{{ until | date: name }}",
    "{% for i in (1..1) %}{{ until | date: '%d' }}{% endfor %}",
    "{% capture d %}{{ until | date: '%d' }}{% endcapture %}{{ d }}",
])  # fmt: skip
def test_a_date_in_doubt_is_noted_each_time_and_printed_as_it_stands(part: str, source: str) -> None:
    message = job(source, part)
    for until, unread in (("09/03/2026", {"until"}), ("2026-03-09", set()), ("09/03/2026", {"until"}), ("09/03/2026", {"until"})):
        written = body(message.render("ann@list.example", 1, {"until": until, "name": "%d"}))
        assert (written, set(message.unread)) == (until if unread else "09", unread)


def test_a_date_in_the_template_itself_is_noted_for_everybody() -> None:
    message = job("{{ '09/03/2026' | date: '%d' }}")
    for position in (1, 2):
        assert body(message.render("ann@list.example", position, {})) == "09/03/2026"
        assert message.unread == ["'09/03/2026'"]


@pytest.mark.parametrize(("layout", "instead"), [
    ("dd.MM.yyyy", "%d.%m.%Y"), ("d. MMMM yyyy HH:mm", "%d. %B %Y %H:%M"), ("mm/dd/yyyy", "%m/%d/%Y"), ("d.m.Y", "%d.%m.%Y"),
    ("F j, Y", "%B %-d, %Y"), ("DD/MM/YY", "%d/%m/%y"), ("short", "%d.%m.%Y"), ("", "%d.%m.%Y"), ("%q", "%d.%m.%Y"),
    ("%%d", "%d.%m.%Y"),
])
def test_a_date_s_format_that_names_no_part_of_it_says_what_to_write(layout: str, instead: str) -> None:
    for source in (f"{{{{ until | date: '{layout}' }}}}", f"{{% assign d = until | date: '{layout}' %}}"):
        with pytest.raises(InvalidInput) as refused:
            job(source)
        assert f"line 1, column {source.index(layout + chr(39)) + (not layout)}: " in str(refused.value)
        assert str(refused.value).endswith(f'write it as "{instead}".')
    assert "is no format of a date" in refusal("{{ until | date: how }}", until="2026-03-09", how=layout or "x")


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["now", "today", "unsubscribe_url"])
@pytest.mark.parametrize("source", ["{{ # }}", "{{ # | date: '%Y' }}", "{% if # %}x{% endif %}", "{% assign x = # %}"])
def test_a_column_of_a_name_that_is_taken_is_not_taken_for_it(name: str, source: str) -> None:
    assert f'Write {{{{ fields["{name}"] }}}} for the column' in refusal(source.replace("#", name), **{name: "mine"})
    assert made(f'{{{{ fields["{name}"] }}}}', **{name: "mine"}) == "mine"
    made(source.replace("#", "now"))


def test_the_address_may_stand_in_a_column_too() -> None:
    assert made("{{ email }}", email=" Ann@list.example") == made("{{ email }}", email="") == "ann@list.example"
    assert 'column "email"' in refusal("{{ email }}", email="bob@list.example")


@pytest.mark.parametrize("name", ["account", "fields", "blank", "empty", "nil", "null", "true", "false", "limit", "in"])
def test_a_word_of_the_language_says_how_a_column_of_that_name_is_written(name: str) -> None:
    with pytest.raises(InvalidInput, match=f'line 1, column 4: .*write {{{{ fields\\["{name}"\\] }}}}'):
        job(f"{{{{ {name} }}}}")
    assert made(f'{{{{ fields["{name}"] }}}}', **{name: "mine"}) == "mine"


@pytest.mark.parametrize("source", [
    "{% if account == 'x' %}{% endif %}", "{{ account | size }}", "{% assign x = fields %}", "{{ 'x' | append: account }}",
    "{% cycle fields, 'x' %}",
])  # fmt: skip
def test_the_account_and_the_fields_are_named_one_at_a_time(source: str) -> None:
    with pytest.raises(InvalidInput, match="name one, as in"):
        job(source)


def test_names_that_the_template_binds_itself_are_its_own() -> None:
    assert made("{% assign now = 'x' %}{{ now }}{% for account in (1..2) %}{{ account }}{% endfor %}", now="tomorrow") == "x12"


def test_a_reason_names_the_place_and_the_general_one_leaves_the_value_out() -> None:
    with pytest.raises(Unusable) as refused:
        made("{{ price | times: 2 }}", price="9,50" * 50)
    begins = 'The template cannot be filled in for this recipient: in "price | times: 2" '
    assert refused.value.general == begins + "a value is not read as a number: write it as 1234.56."
    assert refused.value.reason.startswith(f'{begins}"9,509,50')
    assert len(refused.value.reason) < 200

"""The text part says what the HTML shows, and is a template too."""

import re
from datetime import UTC, datetime
from html import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st
from liquid import BoundTemplate

from message import bounded
from postroom.message.liquid import merge
from postroom.message.prepare import plaintext

TEXT = merge.environment(datetime(2026, 1, 1, tzinfo=UTC), html=False)
words = st.text(st.sampled_from('ab{}%"\'<>&; é\n') | st.characters(exclude_categories=["Cs", "Cc", "Z"]), max_size=40)


def rendered(template: str, **fields: str) -> str:
    parsed = merge.parse(template, TEXT, "text")
    assert isinstance(parsed, BoundTemplate)
    return parsed.render(**fields)


def addresses_in(template: str, fields: dict[str, str]) -> set[str]:
    return set(re.findall(r"(?<!<)/(?:\{\{.*?\}\}|\w)", rendered(template, **fields)))


@given(words, words)
def test_visible_text_is_never_markup(text: str, label: str) -> None:
    shown = " ".join(text.split())
    alternative = label.strip("\n ")
    html = f'<p>{escape(text).replace("{", "&#123;")}</p><img alt="{escape(alternative).replace("{", "&lbrace;")}"><p>.'
    made = rendered(plaintext.from_html(html))
    assert made == "\n\n".join(filter(None, [shown, alternative, "."])) + "\n"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>Hi <b>{{ a }}</b>,<br>you</p><ul><li>x<li>y</ul>", "Hi {{ a }},\nyou\n\n- x\n- y\n"),
        ('<a href="{{ link | default: "x" }}">Go</a>', 'Go ({{ link | default: "x" }})\n'),
        ('<a href="https://a.example">https://a.example</a>', "https://a.example\n"),
        ('<a href="x">one <a href="y">two</a> three</a>', "one (x) two (y) three\n"),
        ('one <a href="x"></a>two', "one x two\n"),
        ('<a href="x">one <a href="y">two', "one (x) two (y)\n"),
        ('{% if a %}<a href="x">{% else %}<a href="y">{% endif %}b</a>', "{% if a %}(x) {% else %}(y) {% endif %}b\n"),
        ('{% if a %}<a href="x">b</a>{% else %}<a href="y">c</a>{% endif %}', "{% if a %}b (x){% else %}c (y){% endif %}\n"),
        ('<a href="x">{% if a %}b{% else %}c{% endif %}</a>', "{% if a %}b{% else %}c{% endif %} (x)\n"),
        ('{% if a %}<p>b</p><p> <a href="x">{% endif %}c</a>', "{% if a %}\n\nb\n\n(x) {% endif %}c\n"),
        ('<a {% if a %}class="b"{% endif %} href="x" href="y">c</a>', "c (x)\n"),
        ("<head><title>a</title><body>b", "b\n"),
        ("<style>p {</style><script>a < b</script><p>c", "c\n"),
        ('a<div style="Display : none">b<div>c</div>{{ d }}</div><span style="display:none">e</span>f', "af\n"),
        ('<div style="display:none">{% if a %}b</div>c{% endif %}', "{% if a %}c{% endif %}\n"),
        ("{% raw %}<p>{ {{ a }} {% b %}</p>{% endraw %}<p>{", '{% raw %}\n\n{ {{ a }} {% b %}\n\n{% endraw %}\n\n{{ "{" }}\n'),
        ("a{% raw %}<style>{{ b }}{% c %}</style>{% endraw %}", "a{% raw %}{% endraw %}\n"),
        ("<style>{% raw %}{{ b }}{% c %}{% endraw %}</style>{", '{% raw %}{% endraw %}{{ "{" }}\n'),
        ("<!--[if mso]>a<![endif]-->b", "b\n"),
        ("<!-- {% raw %}{{ a }}{% if b %}{% endraw %} -->c", "{% raw %}{% endraw %}c\n"),
        ("<!-- {% raw %} -->{{ a }}<!-- {% b %}{% endraw %} -->c", "{% raw %}{{ a }}{% endraw %}c\n"),
        ("<style><!-- {{ a }}{% assign b = 1 %}{% cycle 'c', 'd' %}{% echo e %} --></style>f", "{% assign b = 1 %}f\n"),
        ("a <b", "a\n"),
        ("<pre>a\n  b</pre>", "a\n  b\n"),
        ('<img src="x" alt="{{ a }}" ALT="b">', "{{ a }}\n"),
        ("<img {% if a %}alt='b'{% else %}alt='c'{% endif %} alt=d>", "{% if a %}b{% else %}c{% endif %}\n"),
        ("", ""),
    ],
)
def test_html_becomes_text(html: str, text: str) -> None:
    assert plaintext.from_html(html) == text


@pytest.mark.parametrize(
    ("html", "shown", "withheld"),
    [
        ("<p>Hello</p><!-- {% if a %} --><p>Secret</p><!-- {% endif %} -->", "Hello Secret", "Hello"),
        ("<!--{% if a %}-->1<!--{% else %}-->2<!--{% endif %}-->3", "13", "23"),
        ("<!--[if mso]>{% if a %}<td>{% endif %}<![endif]-->1", "1", "1"),
        ("<!-- {% assign b = a %} {{ b }} {% echo b %} {% cycle 'x', 'y' %} {% increment z %} -->[{{ b }}]", "[yes]", "[]"),
        ("<!-- {% for x in (1..2) %} {{ x }} --><i>{{ x }}{{ a }}</i><!-- {% endfor %} -->", "1yes2yes", "12"),
        ("<!-- <b {% if a %} -->1<!-- {% endif %} >", "1", ""),
        ("<head><!-- {% if a %} --></head>1<!-- {% endif %} -->", "1", ""),
    ],
)
def test_a_condition_in_a_comment_decides_in_the_text_too(html: str, shown: str, withheld: str) -> None:
    text = plaintext.from_html(html)
    assert " ".join(rendered(text, a="yes").split()) == shown
    assert " ".join(rendered(text).split()) == withheld


@pytest.mark.parametrize(
    "html",
    [
        '{% if a %}<a href="/x">{% else %}<a href="/y">{% endif %}Go on</a>',
        '{% if a %}<a href="/x">{% else %}<a href="/y">{% endif %}Go on{% if a %}</a>{% else %}</a>{% endif %}',
        '{% if a %}<a href="/x">{% endif %}Go on{% if a %}</a>{% endif %} and <a href="/z">on</a>',
        '{% if a %}<a href="/x">{% endif %}{% unless a %}<a href="/y">{% endunless %}Go on</a>',
        '{% case a %}{% when "yes" %}<a href="/x">{% else %}<a href="/y">{% endcase %}Go on',
        '<!-- {% if a %} --><a href="/x"><!-- {% else %} --><a href="/y"><!-- {% endif %} -->Go on</a>',
        '{% if a %}<a href="/x">Go</a>{% else %}<a href="/y">On</a>{% endif %}',
        '{% if a %}{% for x in (1..2) %}<a href="/{{ x }}">{% endfor %}Go on</a>{% endif %}',
        '{% capture b %}<a href="/x">{% endcapture %}{% if a %}{{ b }}{% endif %}Go on</a>',
        '<a href="/z">Go{% if a %}</a> <a href="/x">{% endif %} on</a>',
        '<a href="/z">{% if a %}Go</a>{% else %}On</a>{% endif %}',
        '<a {% if a %}href="/x"{% else %}href="/y"{% endif %} class="b">Go on</a>',
        '<a {% if a %} id="c" href="/x" {% else %} href="/y" {% endif %}>Go on</a>',
        '<a {% if a %}href=/x{% endif %}>Go on</a>',
        '<a href="{% if a %}/x{% else %}/y{% endif %}">Go on</a>',
        '{% raw %}<a href="/{{ a }}">{% endraw %}Go on</a>',
        '<a href="/x"><i style="display:none">{% if a %}</i>Go</a>{% else %}On</a>{% endif %}',
    ],
)
@pytest.mark.parametrize("fields", [{"a": "yes"}, {}], ids=["chosen", "not"])
def test_the_text_shows_the_addresses_that_the_html_has_and_no_others(html: str, fields: dict[str, str]) -> None:
    assert addresses_in(plaintext.from_html(html), fields) == addresses_in(html, fields)


anchors = st.sampled_from(['<a href="/x">', '<a href="/y">', '<a {% if a %}href="/z"{% endif %}>', "</a>", "<p>", "t", " "])
branching = st.recursive(
    st.lists(anchors, min_size=1, max_size=4).map("".join),
    lambda inner: st.builds("{{% if {} %}}{}{{% else %}}{}{{% endif %}}{}".format, st.sampled_from("ab"), inner, inner, inner)
    | st.builds("<!-- {{% unless {} %}} -->{}<!-- {{% endunless %}} -->{}".format, st.sampled_from("ab"), inner, inner),
    max_leaves=6,
)


@given(branching, st.booleans(), st.booleans())
def test_no_address_is_shown_or_left_out_however_links_and_conditions_cross(html: str, a: bool, b: bool) -> None:
    fields = {name: "yes" for name, is_given in (("a", a), ("b", b)) if is_given}
    assert addresses_in(plaintext.from_html(html), fields) == addresses_in(html, fields)


def test_every_block_of_the_language_bounds_where_a_link_may_be_written() -> None:
    blocks = {name for name, tag in TEXT.tags.items() if getattr(tag, "end", "")} - {"comment", "doc"} | {"raw"}
    for name in blocks:
        made = plaintext.from_html(f"{{% {name} %}}<a href='x'>{{% end{name} %}}Go on</a>")
        assert made == f"{{% {name} %}}(x) {{% end{name} %}}Go on\n"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ('<a href="{{ u }}">{{ u }}</a>', "{{ u }}"),
        ('<a href="{{ u | escape }}">{{u}}</a>', "{{u}}"),
        ('<a href="https://a.example/?b={{ c }}"> https://a.example/?b={{c}} </a>', "https://a.example/?b={{c}}"),
        ('<a href="mailto:{{ email }}">{{ email }}</a>', "{{ email }}"),
        ('<a href="tel:{{ n }}">{{ n }}</a>', "{{ n }}"),
        ('<a href="{{ u }}">{{ v }}</a>', "{{ v }} ({{ u }})"),
        ('<a href="{{ u }}/x">{{ u }}</a>', "{{ u }} ({{ u }}/x)"),
    ],
)
def test_an_address_that_is_its_own_label_is_written_once(html: str, text: str) -> None:
    assert plaintext.from_html(html) == text + "\n"


@pytest.mark.parametrize(
    ("html", "lines"),
    [
        ("<ul>{%- for one in (1..2) -%}<li>{{ one }}</li>{%- endfor -%}</ul>", ["- 1", "- 2"]),
        ("<ul>{%- for one in (1..2) -%} <li>{{- one -}}</li> {%- endfor -%}</ul>", ["- 1", "- 2"]),
        ("<p>a {%- for one in (1..2) -%} {{ one -}} <br>{%- endfor -%}", ["a1", "2"]),
    ],
)
def test_a_tag_that_takes_white_space_away_takes_no_lines(html: str, lines: list[str]) -> None:
    assert [line for line in rendered(plaintext.from_html(html)).split("\n") if line] == lines


@pytest.mark.parametrize(
    ("output", "in_text"),
    [
        ("{{ a | escape }}", "{{ a }}"),
        ("{{- a|escape_once|newline_to_br-}}", "{{- a-}}"),
        ("{{ a | escape | upcase | newline_to_br }}", "{{ a | upcase }}"),
        ('{{ a | newline_to_br | split: "<br />" | first }}', '{{ a | newline_to_br | split: "<br />" | first }}'),
        ('{{ a | default: "b | escape" | escape }}', '{{ a | default: "b | escape" }}'),
        ("{{ a | append: '\" | escape }'|escape }}", "{{ a | append: '\" | escape }'}}"),
        ("{{ a | escape: 1 | escaped | url_escape }}", "{{ a | escape: 1 | escaped | url_escape }}"),
        ("{% raw %}{{ a | escape }}{% endraw %}", "{% raw %}{{ a | escape }}{% endraw %}"),
        ('<a href="{{ a | escape }}">b</a>', "b ({{ a }})"),
    ],
)
def test_what_a_filter_does_for_html_is_left_out_of_the_text(output: str, in_text: str) -> None:
    assert plaintext.from_html(output) == in_text + "\n"


def test_a_value_that_is_escaped_in_the_html_reads_as_it_was_given_in_the_text() -> None:
    text = plaintext.from_html("<p>{{ note | escape | newline_to_br }} {{ name | escape }}</p>")
    assert rendered(text, note="a\nb", name="A & B") == "a\nb A & B\n"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        *[(f"1<{name} STYLE='display:none'>2 <{name}>3</{name}> 4</{name}>5", "15") for name in ("b", "h1", "section", "ul")],
        ("<p>1</p><p style='display:none'>2<p>3", "1\n\n3"),
        ("<p>1</p><p style='display:none'>2</p>3", "1\n\n3"),
        ("<div><p style='display:none'>1 <b>2</div>3", "3"),
        ("<p style='display:none'>1<p style='display:none'>2<div>3</div>", "3"),
        ("<ul><li>1<li style='display:none'>2<ul><li>3</ul><li>4</ul>5", "- 1\n- 4\n\n5"),
        ("<ul><li style='display:none'>1</ul>2", "2"),
        ("<dl><dt style='display:none'>1<dd>2</dl>", "2"),
        ("<table><tr><td style='display:none'>1<table><td>2</table><td>3<tr><td>4</table>", "3\n4"),
        ("<table><tr style='display:none'><td>1<td>2</td><tr><td>3</table>4", "3\n\n4"),
        ("<table><tbody style='display:none'><tr><td>1</tbody><tbody><tr><td>2</table>", "2"),
        ("<table><tr><th style='display:none'>1</table>2", "2"),
        ("1<br style='display:none'><img alt='2' style='display:none'>3", "13"),
        ("<p style='display:none'>{% if a %}</p>1{% endif %}", "{% if a %}1{% endif %}"),
    ],
)
def test_no_element_that_is_not_displayed_is_in_the_text(html: str, text: str) -> None:
    assert plaintext.from_html(html) == text + "\n"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<div hidden>1</div>2", "2"),
        ("<div hidden style='display:block'>1</div>2", "1\n2"),
        ("<img hidden alt=1>2", "2"),
        ("<b style='visibility: hidden'>1</b>2", "2"),
        ("<b style='backface-visibility: hidden; -webkit-backface-visibility: hidden'>1</b>2", "12"),
        ("<b style='display:none; display:inline'>1</b>2", "12"),
        ("<b style='color:red' style='display:none'>1</b>2", "12"),
        ("<b style='color:{{ c }};display:none{% if a %};top:0{% endif %}'>1</b>2", "2"),
        ("{% if a %}<b style='display:none'>1</b>2{% endif %}", "{% if a %}2{% endif %}"),
    ],
)
def test_what_hides_an_element_in_other_words_hides_it_in_the_text_too(html: str, text: str) -> None:
    assert plaintext.from_html(html) == text + "\n"


@pytest.mark.parametrize(
    "html",
    [
        "<p style=\"{% if plan != 'gold' %}display:none{% endif %}\">Your table: 12</p>",
        "<p style='display:{% if plan %}block{% else %}none{% endif %}'>Your table: 12</p>",
        "<p style='display:none;{% if plan %}display:block{% endif %}'>Your table: 12</p>",
        "<p {% unless plan %}style='display:none'{% endunless %}>Your table: 12</p>",
        "<p {% unless plan %}style='color:red;visibility:hidden'{% endunless %}>Your table: 12</p>",
        "<p {% unless plan %}hidden{% endunless %}>Your table: 12</p>",
        "<p {%unless plan%} hidden {%endunless%}>Your table: 12</p>",
        "<p {% if plan %}style='display:block'{% else %}style='display:none'{% endif %}>Your table: 12</p>",
        "{% if plan %}<p>{% else %}<p style='display:none'>{% endif %}Your table: 12</p>",
        "{% unless plan %}<div style='display:none'>{% endunless %}Your <b>table</b>: 12{% unless plan %}</div>{% endunless %}",
        "{% unless plan %}<div hidden><p>Old<!-- {% endunless %} --><p>Your table: 12</p>",
        "<table><tr style='{% unless plan %}display:none{% endunless %}'><td>Your table: 12</table>",
    ],
)
def test_what_liquid_hides_from_some_is_in_the_text(html: str) -> None:
    text = plaintext.from_html(html)
    assert " ".join(rendered(text, plan="gold").split()) == "Your table: 12"


@pytest.mark.parametrize(
    "piece", ["<", "<!--", "<a ", "<a", '<a href="', "<![CDATA[", "<?", "</", "{{", "{% raw %}", "<div>", "&", "<!a",
              "<p style=display:none>", "{% if a %}<a href=x>", "<!--{% if a %}-->", "{{ a | escape",
              "{% if a %}<b hidden>", "<ol reversed>", "<ol><li>"]
)
def test_hostile_html_becomes_some_text(piece: str) -> None:
    assert isinstance(plaintext.from_html(piece * (600_000 // len(piece))), str)


def test_links_within_links_take_no_longer_than_links_in_a_row() -> None:
    script = """
from postroom.message.prepare import plaintext
text = plaintext.from_html("<a href=x>t" * 50_000 + "</a>" * 50_000)
print(text.count("t (x)"), len(text))
"""
    assert bounded.printed(script) == "50000 300000\n"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<ol><li>a</li><li>b</li></ol>", "1. a\n2. b\n"),
        ("<ol start=7><li>a<li value=12>b<li>c</ol>", "7. a\n12. b\n13. c\n"),
        ("<ol start=x><li>a<li value=-1>b</ol>", "1. a\n-1. b\n"),
        ("<ol><li>a<ul><li>b</ul><li>c<ol><li>d</ol><li>e</ol>", "1. a\n\n- b\n\n2. c\n\n1. d\n\n3. e\n"),
        ("<ol><li>a</ol><ol><li>b</ol><li>c", "1. a\n\n1. b\n\n- c\n"),
        ("{% if a %}x{% endif %}<ol><li>{{ b }}</ol>", "{% if a %}x{% endif %}\n\n1. {{ b }}\n"),
    ],
)
def test_numbered_lists_keep_their_numbers(html: str, text: str) -> None:
    assert plaintext.from_html(html) == text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<ol reversed><li>a<li>b<ul><li>c</ul><li>d</ol>", "3. a\n2. b\n\n- c\n\n1. d\n"),
        ("<ol start=9 reversed><li>a<li>b<li value=3>c<li>d</ol>", "9. a\n8. b\n3. c\n2. d\n"),
        ("<ol reversed><li>a<li>b", "2. a\n1. b\n"),
        ("<ol reversed>{% for a in b %}<li>{{ a }}{% endfor %}</ol>", "{% for a in b %}\n- {{ a }}{% endfor %}\n"),
    ],
)
def test_lists_that_count_down_do_so(html: str, text: str) -> None:
    assert plaintext.from_html(html) == text


def test_a_list_counts_down_from_its_start_whatever_liquid_leaves_out() -> None:
    html = "<ol start=5 reversed><li>a</li>{% if x %}<li>b</li>{% endif %}<li>c</li></ol>"
    assert rendered(plaintext.from_html(html)).split() == ["5.", "a", "4.", "c"]


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<ul>\n<li>\n<p>a</p>\n</li>\n<li>\n<p>b</p>\n</li>\n</ul>", "- a\n\n- b\n"),
        ("<ol><li><p>a</p></li><li><div>b</div></li></ol>", "1. a\n\n2. b\n"),
        ("<ul><li><p>a</p><p>b</p><li><p>c", "- a\n\nb\n\n- c\n"),
        ("<ul><li> <ul> <li><p>a</p></ul><li><ol><li>b", "- - a\n\n- 1. b\n"),
        ("<ul><li><p>a</p><ol><li><p>b</p><li><h3>c</h3></ol></ul>d", "- a\n\n1. b\n\n2. c\n\nd\n"),
        ("<blockquote><ul><li><p>a</p></ul></blockquote><table><td><ul><li><p>b</p></ul></table>", "- a\n\n- b\n"),
        ("<ul><li></li><li><p>a</p><li><li><p>b</p></ul><p>c", "- \n- a\n\n- \n- b\n\nc\n"),
        ("<ul><li></ul><p>a", "- \n\na\n"),
        ("<ul><li>{% if a %}<p>{{ a }}</p>{% endif %}</ul>", "- {% if a %}{{ a }}\n\n{% endif %}\n"),
        ("<ul><li><p hidden>a</p><p>b</p></ul>", "- b\n"),
    ],
)
def test_the_first_paragraph_of_an_item_stands_behind_its_mark(html: str, text: str) -> None:
    assert plaintext.from_html(html) == text


@pytest.mark.parametrize(
    ("fields", "numbers"),
    [
        ({"list": ["a", "b"], "c": 1}, ["3. a", "4. b", "5. c", "9. d"]),
        ({"list": []}, ["9. d"]),
        ({"list": ["a"]}, ["3. a", "9. d"]),
    ],
)
def test_items_that_liquid_repeats_or_leaves_out_are_counted_as_they_come(fields: dict[str, object], numbers: list[str]) -> None:
    items = "{% for one in list %}<li>{{ one }}</li>{% endfor %}{% if c %}<li>c</li>{% endif %}<li value=9>d</li>"
    html = f"{{% for twice in (1..2) %}}<ol start=3>{items}</ol>{{% endfor %}}"
    template = merge.parse(plaintext.from_html(html), TEXT, "text")
    assert isinstance(template, BoundTemplate)
    assert [line for line in template.render(**fields).split("\n") if line.strip()] == numbers * 2


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ('<a href="x"><img alt="Join"></a><a href="y"><img alt="Read"></a>', "Join (x) Read (y)\n"),
        ('<a href="x">a</a><a href="y">b</a>. <a href="z">c</a>, d', "a (x) b (y). c (z), d\n"),
        ('<a href="https://x.example">https://x.example</a>News', "https://x.example News\n"),
        ('<a href="x">a</a>{{ b }}', "a (x) {{ b }}\n"),
        ('<a href="x">a</a>{% if b %}<a href="y">c</a>{% endif %}', "a (x){% if b %} c (y){% endif %}\n"),
        ('See<img alt="A"><img alt="B">now<img alt="C">!', "See A B now C!\n"),
        ('<a href="x">a</a><br><a href="y">b</a>', "a (x)\nb (y)\n"),
    ],
)
def test_links_and_pictures_that_stand_close_together_are_parted(html: str, text: str) -> None:
    assert plaintext.from_html(html) == text

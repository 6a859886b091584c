"""The text part says what the HTML shows, and is a template too."""

from datetime import UTC, datetime
from html import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st
from liquid import BoundTemplate

from postroom.message import merge, plaintext

from . import bounded

TEXT = merge.environment(datetime(2026, 1, 1, tzinfo=UTC), html=False)
words = st.text(st.sampled_from('ab{}%"\'<>&; é\n') | st.characters(exclude_categories=["Cs", "Cc", "Z"]), max_size=40)


def rendered(template: str, **fields: str) -> str:
    parsed = merge.parse(template, TEXT, "text")
    assert isinstance(parsed, BoundTemplate)
    return parsed.render(**fields)


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
        ('one <a href="x"></a>two', "one xtwo\n"),
        ('{% if a %}<a href="x">{% else %}<a href="y">{% endif %}b</a>', "{% if a %}{% else %}{% endif %}b (y)\n"),
        ("<head><title>a</title><body>b", "b\n"),
        ("<style>p {</style><script>a < b</script><p>c", "c\n"),
        ('a<div style="Display : none">b<div>c</div>{{ d }}</div><span style="display:none">e</span>f', "af\n"),
        ('<div style="display:none">{% if a %}b</div>c{% endif %}', "{% if a %}c{% endif %}\n"),
        ("{% raw %}<p>{ {{ a }} {% b %}</p>{% endraw %}<p>{", '{% raw %}\n\n{ {{ a }} {% b %}\n\n{% endraw %}\n\n{{ "{" }}\n'),
        ("a{% raw %}<style>{{ b }}{% c %}</style>{% endraw %}", "a{% raw %}{% endraw %}\n"),
        ("<style>{% raw %}{{ b }}{% c %}{% endraw %}</style>{", '{% raw %}{% endraw %}{{ "{" }}\n'),
        ("<!--[if mso]>a<![endif]-->b", "b\n"),
        ("a <b", "a\n"),
        ("<pre>a\n  b</pre>", "a\n  b\n"),
        ('<img src="x" alt="{{ a }}" ALT="b">', "{{ a }}\n"),
        ("", ""),
    ],
)
def test_html_becomes_text(html: str, text: str) -> None:
    assert plaintext.from_html(html) == text


@pytest.mark.parametrize(
    "piece", ["<", "<!--", "<a ", "<a", '<a href="', "<![CDATA[", "<?", "</", "{{", "{% raw %}", "<div>", "&", "<!a"]
)
def test_hostile_html_becomes_some_text(piece: str) -> None:
    assert isinstance(plaintext.from_html(piece * (600_000 // len(piece))), str)


def test_links_within_links_take_no_longer_than_links_in_a_row() -> None:
    script = """
from postroom.message import plaintext
text = plaintext.from_html("<a href=x>t" * 50_000 + "</a>" * 50_000)
print(text.count("t (x)"), len(text))
"""
    assert bounded.printed(script) == "50000 250001\n"

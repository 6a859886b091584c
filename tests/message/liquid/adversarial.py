"""Templates that mean harm, or only mean too much, and what must become of each. As a script: tries them all, in fixed bounds.

`REFUSED` never get past the check, which names line and column. `ENDED` are fine to look at, and fail the recipient when they are
rendered, after a number of steps. `SENT` look worse than they are. The script prints a JSON list of [name, outcome, words]; the
kernel ends it if it takes more than its memory or its time.
"""

from __future__ import annotations

import json
import resource
import sys
from datetime import UTC, datetime

from postroom.errors import InvalidInput
from postroom.message.content import Bodies, Content
from postroom.message.liquid import template
from postroom.message.render.compile import Stamp, compile  # noqa: A004
from postroom.message.wire.headers import Unrenderable

MEMORY_MAX = 512 * 2**20
CPU_MAX_S = 120  # several times what they take: a runaway is to be ended, however slow the machine is

STEPS, SIZE, LOOPS, MEMORY = "too many steps", "larger than 2 MiB", "loop iteration limit", "local namespace limit"
OUTPUT = "output stream limit"
LIST = "{% assign l = digits | split: ',' %}"
KINDS = "{% assign l = kinds | split: ',' %}"
EMPTIES = "{% assign l = commas | split: ',' %}"
DOUBLED = "{% assign l = big | split: ',' %}{% for i in (1..13) %}{% assign l = l | concat: l %}{% endfor %}"


def loop(body: str, count: int = 10_000) -> str:
    return f"{{% for i in (1..{count}) %}}{body}{{% endfor %}}"


def nested(opening: str, closing: str, depth: int, body: str = "x") -> str:
    return "".join(opening.replace("#", str(number)) for number in range(depth)) + body + closing * depth


REFUSED = {
    "a field that is not closed": "{{ a",
    "a tag that is not closed": "{% if a",
    "a block that is not closed": "{% if a %}",
    "an end without a beginning": "{% endif %}",
    "an unknown filter": "{{ a | nope }}",
    "an unknown tag": "{% nope %}",
    "include": "{% include 'x' %}",
    "render": "{% render 'x' %}",
    "extends": "{% extends 'x' %}",
    "macro": "{% macro a %}",
    "openings only": "{{" * 100_000,
    "tag openings only": "{%" * 100_000,
    "braces": "{" * 900_000,
    "raw": "{% raw %}" * 9_000,
    "comments": "{% comment %}" * 9_000,
    "braces in a comment": "{% comment %}" + "{{" * 100_000 + "{% endcomment %}",
    "braces behind an end with a word": "{% comment %}{% endcomment x %}" + "{{" * 100_000 + "{% endcomment %}",
    "braces behind raw with a word": "{% raw x %}" + "{{" * 100_000 + "{% endraw %}",
    "raw in a comment": "{% comment %}" + "{% raw %}" * 100_000 + "{% endcomment %}",
    "blanks in a field": "{% comment %}" + ("{{" + " " * 3_990 + "}}") * 250 + "{% endcomment %}",
    "blanks in a tag": "{% comment %}" + ("{%- a" + " " * 3_990 + "-%}") * 250 + "{% endcomment %}",
    "a string without an end": "{{ '" + "x" * 100_000 + " }}",
    "too many fields": "{{ a }}" * 2_001,
    "400 ifs": nested("{% if a %}", "{% endif %}", 400),
    "40 loops": nested("{% for i# in (1..2) %}", "{% endfor %}", 40),
    "1,900 brackets": "{{ " + "[" * 1_900 + "a" + "]" * 1_900 + " }}",
    "names within names": "{{ a" + "[a" * 11 + "]" * 11 + " }}",
    "many names within names": ("{{ a" + "[a" * 400 + "]" * 400 + " }}") * 500,
    "more than 60,000 characters of fields": ("{{ a" + " | append: a" * 300 + " }}") * 20,
    "1,900 parentheses": "{% if " + "(" * 1_900 + "a" + ")" * 1_900 + " %}{% endif %}",
    "3,000 dots": "{{ a" + "." * 3_000 + " }}",
    "3,000 pipes": "{{ a" + "|" * 3_000 + " }}",
    "3,000 commas": "{{ a | append: " + "," * 3_000 + " }}",
    "3,900 minuses": "{{ " + "-" * 3_900 + "1 }}",
    "a condition of 5,000 characters": "{% if " + " or ".join(["a"] * 1_000) + " %}",
    "a range up to a field": "{% for i in (1..n) %}x{% endfor %}",
    "an endless range": "{% for i in (1..99999999) %}{% endfor %}",
    "a range behind a name": "{% assign r = (1..99999999) %}",
    "attributes of Python": "{{ ''.__class__.__mro__ }}",
}
ENDED = {
    "loops in loops": (loop(loop(loop("x"))), LOOPS),
    "28 loops": (nested("{% for i# in (1..9) %}", "{% endfor %}", 28), LOOPS),
    "a table in a table": (nested("{% tablerow i# in (1..9999) %}", "{% endtablerow %}", 2), LOOPS),
    "a loop in the liquid tag": ("{% liquid\nfor i in (1..9999)\nfor j in (1..9999)\necho i\nendfor\nendfor\n%}", LOOPS),
    "a list within itself": (LIST + "{% for a in l %}{% for b in l %}x{% endfor %}{% endfor %}", LOOPS),
    "text in a loop": (loop("x" * 1_000), f"{SIZE}|{OUTPUT}"),
    "text in a capture": (loop("{% capture x %}" + "y" * 1_000_000 + "{% endcapture %}"), STEPS),
    "text that does not change": (loop("{% ifchanged %}" + "y" * 1_000_000 + "{% endifchanged %}"), STEPS),
    "append doubles": ("{% assign s = 'x' %}" + loop("{% assign s = s | append: s %}"), f"{STEPS}|makes too much|{MEMORY}"),
    "capture doubles": (loop("{% capture s %}x{{ s }}{{ s }}{% endcapture %}"), f"{STEPS}|{OUTPUT}|{MEMORY}"),
    "replace squares": ("{% assign s = 'aaaaaaaa' %}" + loop("{% assign s = s | replace: 'a', s %}"), f"{STEPS}|makes too much"),
    "times squares": ("{% assign s = 9 %}" + loop("{% assign s = s | times: s %}"), "makes too much|1,233 digits"),
    "times squares what has a name": (
        "{% assign s = 9 %}" + loop("{% assign s = s | times: other: s %}"), "makes too much|1,233 digits"),
    "plus grows": ("{% assign s = 9 %}" + loop("{% assign s = s | plus: s %}"), f"{STEPS}|makes too much"),
    "a product of 1,234 digits": ("{{ '" + "9" * 1_233 + "' | times: 2 }}", "makes too much"),
    "times a text of digits": ("{% assign s = 9 %}" + loop("{% assign s = s | times: nines %}"), "1,233 digits"),
    "a number that is too long": ("{{ " + "9" * 3_900 + " | modulo: 7 }}", "1,233 digits"),
    "a remainder of a long text": ("{{ 7 | modulo: nines }}", "1,233 digits"),
    "a range joined by a long text": ("{{ (1..10000) | join: big | size }}", "makes too much"),
    "a range joined by what has a name": ("{{ (1..10000) | join: separator: big | size }}", "makes too much"),
    "a range joined by a mebibyte": (
        "{% capture s %}" + "y" * 1_000_000 + "{% endcapture %}{{ (1..10000) | join: s | size }}", f"{STEPS}|makes too much"),
    "every letter replaced by what has a name": ("{{ big | replace: 'x', sub: big | size }}", "makes too much"),
    "a list split by what has a name": ("{{ big | split: sep: '' | size }}", "makes too much"),
    "concat doubles": (LIST + loop("{% assign l = l | concat: l %}"), f"{STEPS}|{MEMORY}"),
    "many large names": ("".join(f"{{% assign v{n} = big | append: '{n}' %}}" for n in range(1_200)), f"{STEPS}|{MEMORY}"),
    "a doubled list joined": (DOUBLED + "{{ l | join: '' | size }}", STEPS),
    "a doubled list printed": (DOUBLED + "{{ l }}", STEPS),
    "a doubled list appended": (DOUBLED + "{{ 'x' | append: l | size }}", STEPS),
    "every letter split off": ("{{ big | split: '' | size }}", "makes too much"),
    "every letter replaced": ("{{ big | replace: 'x', big | size }}", "makes too much"),
    "nothing replaced": ("{{ big | replace: '', big | size }}", "makes too much"),
    "nothing printed, 9,999 times": (EMPTIES + loop("{{ l | join: '' }}"), STEPS),
    "the same echoed": (EMPTIES + loop("{% echo l | join: '' %}"), STEPS),
    "900 to cycle through": (loop("{% cycle " + ",".join(["'a'"] * 900) + " %}"), STEPS),
    "1,900 elsifs": (loop("{% if false %}" + "{% elsif false %}x" * 1_900 + "{% endif %}"), STEPS),
    "1,900 elsifs after unless": (loop("{% unless true %}" + "{% elsif false %}x" * 1_900 + "{% endunless %}"), STEPS),
    "1,900 whens": (loop("{% case 1 %}" + "{% when 2 %}x" * 1_900 + "{% endcase %}"), STEPS),
    "900 in one when": (loop("{% case n %}{% when " + ",".join(["'a'"] * 900) + " %}x{% endcase %}"), STEPS),
    "440 ors": (loop("{% if " + " or ".join(["false"] * 440) + " %}x{% endif %}"), STEPS),
    "180 contains": (loop("{% if " + " or ".join(["big contains 'z'"] * 180) + " %}x{% endif %}"), STEPS),
    "1,900 segments": (loop("{{ fields" + ".z" * 1_900 + " }}"), STEPS),
    "440 filters": (loop("{{ n" + " | upcase" * 440 + " }}"), STEPS),
    "1,900 names": (loop("".join(f"{{% assign v{n} = 1 %}}" for n in range(1_900))), STEPS),
    "a large field, unchanged": (loop("{% ifchanged %}{{ fields.big }}{% endifchanged %}"), f"{STEPS}|{OUTPUT}"),
    "all fields in a loop": (loop("{% for f in fields %}{% capture x %}{{ f[1] }}{% endcapture %}{% endfor %}", 700), STEPS),
    "a value in a loop": (loop("{{ big }}"), f"{STEPS}|{SIZE}|{OUTPUT}"),
    "a value captured": (loop("{% capture x %}{{ big }}{% endcapture %}"), STEPS),
    "a value compared": ("{% assign b = big | append: '' %}" + loop("{% if b == big %}x{% endif %}"), STEPS),
    "a list compared": (LIST + loop("{% if l == l %}x{% endif %}"), STEPS),
    "a list searched": (LIST + loop("{% if l contains 'z' %}{% endif %}"), STEPS),
    "a list cut": (LIST + loop("{% for x in l limit: 1 offset: continue %}{% endfor %}"), STEPS),
    "a list split again": (loop("{{ digits | split: ',' | size }}"), STEPS),
    "dates": (loop("{{ '" + "1 " * 49 + "' | date: '%Y' }}"), STEPS),
    "long dates": (loop("{{ 'now' | date: '" + "%A" * 1_900 + "' }}"), f"{STEPS}|{OUTPUT}|{SIZE}"),
    "a division by zero": ("{{ 1 | divided_by: 0 }}", "divide by 0"),
    "a number of 4,000 digits": (loop("{{ nines | times: 3 }}"), "1,233 digits"),
    "a number as a list": ("{{ 1 | concat: 2 }}", "a value that it cannot take"),
    "a number of 65,536 digits": ("{{ big | replace: 'x', '9' | times: 3 }}", "1,233 digits"),
    "a loop up to a long text": ("{% for i in fields limit: big %}x{% endfor %}", "is not read as a number"),
    "an endless number": ("{{ '1e999999999' | plus: 1 }}", "is not read as a number"),
    "a whole list": (LIST + "{{ l }}", "a whole list or object"),
    "chained encodings": ("{{ html" + " | url_encode" * 20 + " }}", f"{STEPS}|makes too much"),
    "chained escapes": ("{{ quotes" + " | escape | append: ''" * 20 + " }}", f"{STEPS}|makes too much"),
}
for _filter in (
    "base64_encode", "capitalize", "downcase", "escape", "escape_once", "escapejs", "lstrip", "newline_to_br", "prepend: big",
    "remove: 'x'", "replace: 'x', 'yy'", "replace_last: 'x', 'y'", "reverse", "slice: 1, 60000", "squish", "strip_html",
    "strip_newlines", "truncate: 60000", "truncatewords: 60000", "upcase", "url_decode", "url_encode",
):  # fmt: skip
    for _value in ("big", "html", "quotes", "tagged", "markup"):
        ENDED[f"10,000 times {_value} | {_filter}"] = (loop(f"{{{{ {_value} | {_filter} | size }}}}"), STEPS)
for _filter in (
    "compact | size", "first", "join: '' | size", "map: 'size' | size", "reverse | size", "sort | first", "sort_natural | first",
    "uniq | size", "where: 'size', 1 | size", "find: 'size', 9", "has: 'size', 9", "reject: 'size', 1 | size",
):  # fmt: skip
    ENDED[f"10,000 times a list | {_filter}"] = (LIST + loop(f"{{{{ l | {_filter} }}}}"), f"{STEPS}|{OUTPUT}")
    ENDED[f"10,000 times a list of all kinds | {_filter}"] = (KINDS + loop(f"{{{{ l | {_filter} }}}}"), f"{STEPS}|{OUTPUT}")
    ENDED[f"10,000 times a range | {_filter}"] = (
        loop(f"{{{{ (1..10000) | {_filter} }}}}"), f"{STEPS}|{OUTPUT}|can't map|a value that it cannot take")
SENT = {
    "29 ifs": nested("{% if true %}", "{% endif %}", 29),
    "28 captures": nested("{% capture a %}", "{% endcapture %}", 28),
    "a mebibyte": "x" * 1_000_000,
    "a million characters that are not shown": "{% if false %}" + "y" * 1_000_000 + "{% endif %}y",
    "990 comments": "{% comment %}x{% endcomment %}" * 990 + "x",
    "a wide number": "{{ 'now' | date: '%9999Y' }}x",
    "a far slice": "{{ big | slice: -999999999, 999999999 }}",
    "rounded far": "{{ 1.5 | round: 99999999 }}x",
    "200 filtered fields": "{{ big | upcase | size }}" * 200,
    "200 split fields": "{{ digits | split: ',' | size }}" * 200,
    "no attribute of Python": "{{ fields.__class__ }}x",
}

BIG = "x" * 65_536
FIELDS: dict[str, object] = {
    "big": BIG, "html": "<" * 65_536,
    "tagged": "a>" + "<a b='" * 10_900, "markup": "<p>a</p>" * 8_000, "kinds": ",".join(map(str, range(9_999))),
    "quotes": "\"'" * 32_768, "commas": "," * 9_999, "digits": "1," * 4_000, "nines": "9" * 4_000,
    "n": 7, "a": "A",
}  # fmt: skip
STAMP = Stamp("7-abc", datetime(2026, 6, 5, tzinfo=UTC))


def outcome(source: str) -> tuple[str, str]:
    """What becomes of a template: refused, ended or sent, and what is said."""
    content = Content("Hello", source, None, "news@club.example")
    try:
        template.check(content)
        job = compile(content, Bodies(source, None), STAMP, {})
    except InvalidInput as refused:
        return "refused", refused.faults[0].message
    try:
        message = job.render("ann@list.example", 1, FIELDS)
    except Unrenderable as ended:
        return "ended", ended.reason
    job.check(message)
    return "sent", f"{len(message)} octets"


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_MAX_S, CPU_MAX_S))
    corpus = {**REFUSED, **{name: source for name, (source, _) in ENDED.items()}, **SENT}
    harmless = outcome("<p>{{ a }}</p>")
    json.dump([(name, *outcome(source), outcome("<p>{{ a }}</p>") == harmless) for name, source in corpus.items()], sys.stdout)


if __name__ == "__main__":
    main()

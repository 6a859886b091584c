"""Merge tags of other systems, which go out as they are: found in what a person wrote, each with what to write instead.

Only what hardly any text holds is taken for one; a word in brackets or in percent signs only if it is a field's usual name. Not
looked at are style sheets, scripts, comments, code in Markdown, and Liquid itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from postroom.message.markup import tags
from postroom.message.markup.masked import Masked

FOUND_MAX = 10  # different ones, of a message
_INSIDE_MAX = 80  # characters between the marks

_USUAL = (
    r"(?:[a-z]{2,20}[ ._-])?(?:(?:f|l|m|first|last|full|middle|sur|user|given|family|nick|company|member)?[ _-]?names?|"
    r"e-?mail(?:[ _-]?address)?|(?:un|link_un)subscribe\w*|unsub\w*|opt[ _-]?out\w*|salutation|company|city|phone|zip|coupon|"
    r"view[ _-]in[ _-]browser|webversion|anrede|vorname|nachname|pr[ée]nom|nombre|apellidos?)|[a-z]{1,30}(?:_[a-z0-9]{1,30})+"
)
_ANY = rf"[^\n<>{{}}]{{1,{_INSIDE_MAX}}}?"
_NAME = r"[^\W\d][\w.:=-]*(?: [\w.:=-]+){0,3}"
_TAG = re.compile(
    rf"\*\|{_ANY}\|\*|%2A%7C{_ANY}%7C%2A"  # Mailchimp, also within an address
    rf"|%%{_NAME}%%|%%=.{{1,{_INSIDE_MAX}}}?=%%|%%\[{_ANY}\]%%|%(?:{_USUAL})%"  # Salesforce, ActiveCampaign, Brevo
    rf"|\[\[{_NAME}(?:[:,|]{_ANY})?\]\]|\[%{_ANY}%\]"  # GetResponse, Mailjet
    rf"|(?<![\w\]\[!])\[(?:{_USUAL})(?:,\s?fallback={_ANY})?\](?![(\[:\]])"  # Campaign Monitor, phpList
    rf"|[$#]\{{{_NAME}\}}|\$\[{_ANY}\]\$|##{_NAME}##"  # templates of Java, Ruby and JavaScript, Zoho
    rf"|(?<![{{$#%])\{{[!$]?[^\W\d][\w.=-]+(?: [\w.=-]+)?\}}(?!\}})"
    rf"|<%[=-]?{_ANY}%>|&lt;%[=-]?{_ANY}%&gt;|<<\s?{_NAME}\s?>>|&lt;&lt;\s?{_NAME}\s?&gt;&gt;",  # ERB, Word
    re.IGNORECASE,
)
_LIQUID = "\0"
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_CONDITION = re.compile(r"\W*(?:if|else|elseif|endif|end|each|unless)\b", re.IGNORECASE)
_LAST_NAME = re.compile(r"[^\W\d][\w-]*(?: [\w-]+){0,3}(?=\W*\Z)")
_PLAIN_NAME = re.compile(r"[^\W\d]\w*")


def found(written: Mapping[str, str]) -> Iterator[tuple[str, int, str]]:
    """Yield each tag that is found in the parts of a message, once: the part, where in it, and the sentence about it."""
    seen: set[str] = set()
    for part, source in written.items():
        masked = Masked(source, part)
        for tag in _TAG.finditer(_looked_at(masked)):
            if tag[0] not in seen and len(seen) < FOUND_MAX and _LIQUID not in tag[0]:
                seen.add(tag[0])
                place = len(masked.unmasked(masked.text[: tag.start()]))
                sentence = f'"{tag[0]}" is how other systems write a field, and goes out as it is: write {_instead(tag[0])}'
                yield part, place, sentence


def _looked_at(masked: Masked) -> str:
    """The masked text with other characters, as many, for Liquid and for what is not looked at."""
    text = masked.word.sub(lambda word: _LIQUID * len(word[0]), masked.text)
    if masked.field == "markdown":
        text = _CODE.sub(_blank, text)
    if masked.field in ("subject", "preheader", "text"):
        return text
    parts: list[str] = []
    position = 0
    hidden = False
    for tag in tags.read(text):
        between = text[position : tag.start]
        whole = text[tag.start : tag.end]
        parts += " " * len(between) if hidden else between, " " * len(whole) if tag.name == "!" else whole
        position = tag.end
        hidden = tag.name in ("style", "script", "mj-style") and not tag.is_end
    return "".join([*parts, text[position:]])


def _blank(found: re.Match[str]) -> str:
    return " " * len(found[0])


def _instead(tag: str) -> str:
    """What says the same here, as far as one can tell."""
    inside = tag.replace("%2A%7C", "").replace("%7C%2A", "").partition(",")[0].partition(':"')[0]
    if _CONDITION.match(inside):
        return "a condition, {% if … %} … {% endif %}"
    last = _LAST_NAME.search(inside.replace("&gt;", "").partition("fallback")[0])
    name = last[0] if last else "name"
    small = name.lower()
    if "unsub" in small or re.search(r"opt[ _-]?out", small):
        return "{{ unsubscribe_url }}"
    if re.fullmatch(r"e-?mail(?:[ _-]?address)?", small):
        return "{{ email }}"
    field = name if _PLAIN_NAME.fullmatch(name) else f'fields["{name}"]'
    return f"{{{{ {field} }}}}, by the name of its column"

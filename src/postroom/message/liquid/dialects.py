"""How other systems write a field, and what says the same here: a table of dialects, and a table of what names mean.

Some marks stand in no ordinary text, and what is between them is a field for sure. What prose, code or a wiki holds too, such as
a word in brackets, is one only where the list has a column of that name, or the name is a field's usual one.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache
from typing import NamedTuple

from postroom.message.liquid.reserved import RESERVED

NOT_SAID = ""  # the advice where none is certain


class Dialect(NamedTuple):
    """`pattern` has the group "name" where the tag stands for a field, and "other" for what is shown where that is blank; `what`
    a tag is, in its sentence."""

    pattern: re.Pattern[str]
    is_sure: bool
    what: str


THEIRS = "is how other systems write a field"


def _dialect(pattern: str, *, is_sure: bool = True, what: str = THEIRS) -> Dialect:
    return Dialect(re.compile(pattern, re.IGNORECASE), is_sure, what)


_ANY = r"[^\n\0]{1,80}?"
_PART = r"(?:[\w.-]|[:=](?=\w))"
_NAME = rf"(?P<name>[^\W\d]{_PART}{{0,60}}(?: {_PART}{{1,40}}){{0,3}})"
_WORD = r"(?P<name>[^\W\d][\w.]{0,60})"  # where a blank or a dash says that it is no tag
_OTHER = r"(?P<other>[^\n\0\[\]{}]{0,80}?)"
# fmt: off
DIALECTS = (
    _dialect(r"\*\|(?:(?:title|upper|lower):)?(?:(?P<name>(?:date|html|list):[^\n\0|]{1,60}|[^\n\0|:]{1,60})|"
             rf"{_ANY})\|\*"),                                                           # Mailchimp, Mandrill
    _dialect(rf"%%{_NAME}%%"),                                                          # Salesforce Marketing Cloud, Pardot
    _dialect(rf"%%=\w*\(?[@\"']?(?:{_NAME}[\"')]*|{_ANY})=%%"),
    _dialect(r"%%\[\s*[a-z][^\n\0%\]]{0,60}(?:\]%%)?"),                                   # its programs, of any length
    _dialect(rf"\{{(?:!\$?|\$){_NAME}(?:\|{_OTHER})?\}}"),                              # Salesforce, MailerLite, Smarty
    _dialect(rf"\[%\s?(?:{_NAME}|{_ANY})\s?%\]"),                                       # SendGrid
    _dialect(rf"\$\[(?:li:)?(?:{_NAME}(?:\|{_OTHER})?|{_ANY})\]\$"),                    # Zoho
    _dialect(rf"[$#]\{{{_NAME}(?:![\"']?{_OTHER}[\"']?)?\}}"),                          # FreeMarker, Ruby, JavaScript
    _dialect(r"\$(?-i:(?P<name>[A-Z][A-Z0-9_]{3,40}))\$"),                              # Oracle Responsys
    _dialect(rf"<%[=-]?\s*(?:{_NAME}\s*[-;]?|[^\n\0<]{{1,80}}?)%>"),                     # Adobe Campaign, SendGrid, ERB
    _dialect(r"<\?(?:php\b|=)(?:\s*(?:echo|print)?\s*\$(?P<name>\w+)\s*;?\s*\?>|[^\0<>?]{0,60})"),
    _dialect(r"<(?P<name>unsubscribe|webversion|preferences|forwardtoafriend)\b[^<>\n\0]{0,200}>"),  # Campaign Monitor
    _dialect(rf"\[{_NAME},\s?fallback={_OTHER}\]"),                                     # and Sendy
    _dialect(rf"(?:\{{\s?)?\bMERGEFIELD\s{{1,3}}\"?{_NAME}\"?(?:\s?\}})?"),             # Word
    _dialect(rf"\{{ ?\{{ {{0,3}}{_NAME} {{0,3}}\}} ?\}}", what="is no field with something between its braces"),
    _dialect(rf"\[\[{_NAME}(?:[:,|]\s?\"?{_OTHER}\"?)?\]\](?!\()", is_sure=False),      # GetResponse, Constant Contact, Mailjet
    _dialect(rf"(?<![\w\]\[!\\])\[{_NAME}(?:(?:\s?\|\s?default:|%%){_OTHER})?\](?![(\[\]])", is_sure=False),  # phpList, MailPoet
    _dialect(rf"(?<![{{$#]){{ ?{_NAME} ?(?:\|{_OTHER})?\}}{{1,2}}", is_sure=False),     # CleverReach, CiviCRM, Mautic, Brevo
    _dialect(rf"(?<![\w%])%{_NAME}%(?![\w%])", is_sure=False),                          # ActiveCampaign, Mailgun
    _dialect(rf"(?<!<)(?:<<|[«‹])\s?{_NAME}\s?(?:>>|[»›])", is_sure=False),             # Word  # noqa: RUF001
    _dialect(rf"(?<![\w#&])##?{_NAME}##?(?![\w#])", is_sure=False),
    _dialect(rf"(?<![\w$])\$\$?{_WORD}\$\$?(?![\w$])", is_sure=False),
    _dialect(rf"(?<![\w@.])@@?{_WORD}@@?(?![\w@])", is_sure=False),
    _dialect(rf"(?<![\w-])-{_WORD}-(?![\w-])", is_sure=False),                          # SendGrid
)
# fmt: on
_CONDITION = re.compile(r"\W*(?:end:?)?(?:if|ifnot|else|elseif|elsif|endif|end|each|unless)\b", re.IGNORECASE)

# What a name means, in small letters and without what is no letter.
_MEANINGS = tuple((re.compile(pattern), advice) for pattern, advice in (
    (r"\w*(?:unsub|optout|d[ée]sinscri|d[ée]sabonn)\w*|\w*abmelde(?:n|link|url)?",
     "{{ unsubscribe_url }}, the address of a link"),
    (r"(?:contact|customer|lead|member|person|recipient|subscriber|to|user)*e?mail(?:addr|address|adresse|to)?", "{{ email }}"),
    (r"(?:html)?(?:account|domain|list|organi[sz]ation|sender)(?:postal)?address(?:line|html|text|vcard)*",
     "{{ account.postal_address }}"),
    (r"(?:list|organi[sz]ation|sender)company|(?:domain|organi[sz]ation|sender)name", "{{ account.name }}"),
    (r"currentyear", '{{ "now" | date: "%Y" }}'),
    (r"current(?:date|day|month)|date(?=.*:).*", '{{ "now" | date: "%Y-%m-%d" }}, in the form that you want'),
))
# Nothing here says the same: what a system knows of itself, its own pages, and what belongs to no recipient.
_OF_THE_SYSTEM = re.compile(
    r"(?:mc|archive|forward|updateprofile|rewards|campaign|webversion|webview|viewin|viewonline|browser|preferences|"
    r"managepreferences)\w*|set|var|subject")
_NOT_THEIRS = re.compile(r"(?:account|campaign|company|domain|html|list|newsletter|organi[sz]ation|ownerfield|sender)[.:=]\w",
                         re.IGNORECASE)
_THEIRS = re.compile(r"(?:attributes?|civicrm|contact(?:field)?|customer|customfield|data|lead|link|member|person|recipient|"
                     r"subscriber|subtag|var)[.:=]\w", re.IGNORECASE)
# The last word of a usual name.
# fmt: off
_USUAL = frozenset((
    "achternaam", "anrede", "apellido", "apellidos", "city", "cognome", "company", "companyname", "coupon", "familyname",
    "firstname", "fname", "fullname", "givenname", "greeting", "lastname", "lname", "membername", "middlename", "mname",
    "nachname", "name", "nickname", "nombre", "nome", "phone", "prenom", "prénom", "salutation", "surname", "username", "vorname",
    "voornaam", "webversion", "zip"))
_USUAL_IN_SEVERAL = _USUAL | {"code", "id", "link", "url"}  # joined by "_"
# fmt: on
_FIELD = re.compile(_NAME)
_WORDS = re.compile(r"[^\W\d_]+")
_CAMEL = re.compile(r"(?<=[a-zà-ÿ])(?=[A-ZÀ-Þ])")

_PATH = r"(?!(?:each|else|if|unless|with)\b)(?P<name>[^\W\d][\w.]{0,60})"
_BLOCKS = tuple((re.compile(pattern), written) for pattern, written in (  # Handlebars, Mustache
    (rf"\{{\{{~?\s*(?:\^|#\s*unless\s)\s*{_PATH}", "{{% unless {0} %}} … {{% endunless %}}"),
    (rf"\{{\{{~?\s*#\s*(?:if\s)?\s*{_PATH}", "{{% if {0} %}} … {{% endif %}}"),
    (r"\{\{~?\s*/\s*(?P<name>unless)\b", "{{% endunless %}}"),
    (r"\{\{~?\s*/\s*(?P<name>\w+)", "{{% endif %}}"),
))
_OTHER_BRACES = re.compile(  # Mailjet, listmonk and others
    rf"\{{\{{(?:\{{|\s*[&=.@$!%]|\s*(?:contact|data|var):)\s*{_PATH}(?::[\"'](?P<other>[^\"'\n]{{0,80}}))?")
_LOOKUP = re.compile(r"\{\{\s*person\s*\|\s*lookup:\s*[\"'](?P<name>[^\"'\n]{1,80})")  # Klaviyo
_OTHER_TAG = re.compile(r"\{%-?\s*(?P<name>\w+)")


@lru_cache(10_000)
def is_usual(name: str) -> bool:
    """Whether hardly anything but a field is called so, in a list or in another system."""
    words = _WORDS.findall(_CAMEL.sub(" ", name).lower())
    if not words or len(words) > 4:
        return False
    return (words[-1] in (_USUAL_IN_SEVERAL if "_" in name else _USUAL) or bool(_THEIRS.match(name) or _NOT_THEIRS.match(name))
            or (len(name.split()) <= 2 and _meaning(name) != NOT_SAID))


def bare(name: str) -> str:
    """Return a name without what systems change in it: in small letters, and nothing but letters and digits."""
    return "".join(character for character in name.casefold() if character.isalnum())


def column_of(name: str, columns: Collection[str]) -> str:
    """Return the column that a name is about, or ""."""
    meant = {bare(name), bare(_last(name))}
    return next((one for one in columns if len(bare(one)) > 1 and bare(one) in meant), "")


def advice(tag: str, name: str, other: str, columns: Collection[str]) -> str:
    """Return what says the same here as a tag does, or `NOT_SAID`."""
    if _CONDITION.match(tag):
        return "a condition, {% if … %} … {% endif %}"
    if meaning := _meaning(name):
        return meaning
    column = column_of(name, columns)
    if not column and (not _FIELD.fullmatch(name) or _OF_THE_SYSTEM.fullmatch(bare(name)) or _NOT_THEIRS.match(name)):
        return NOT_SAID
    default = f' | default: "{other}"' if other and not set(other) & set("\"{}<>") else ""
    written = f"{{{{ {_field(column or _last(name))}{default} }}}}"
    return written if column else f"{written}, by the name of its column"


def meant(piece: str) -> str:
    """Return what says here what the beginning of a text says in another language of double braces, or `NOT_SAID`."""
    for pattern, written in _BLOCKS:
        if found := pattern.match(piece):
            return written.format(_last(found["name"]))
    found = _OTHER_BRACES.match(piece) or _LOOKUP.match(piece) or _OTHER_TAG.match(piece)
    if found is None or (piece.startswith("{%") and not is_usual(found["name"])):
        return NOT_SAID
    return advice("", found["name"], found.groupdict().get("other") or "", ())


def _meaning(name: str) -> str:
    said = re.sub(r"[\W_]+", "", name.lower()), re.sub(r"[ _-]", "", _last(name.lower())), name.lower()
    return next((advice for pattern, advice in _MEANINGS if any(pattern.fullmatch(one) for one in said)), NOT_SAID)


def _last(name: str) -> str:
    """The field, behind whose or what kind it is."""
    return re.split(r"[.:=]", name.strip(" .:="))[-1]


def _field(name: str) -> str:
    plain = re.fullmatch(r"[^\W\d]\w*", name) and name not in RESERVED
    return name if plain else f'fields["{name}"]'

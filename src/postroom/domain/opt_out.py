"""Which columns of a list say of a row that it is not to be mailed, as programs export it: a status, or an answer to its heading.

Recognised are words that mean nothing else. Whoever is left out by them is shown with the word and its column, and one choice
mails them all the same; so a word too many costs a look, a word too few a mail to somebody who said no.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_WORDS = frozenset({
    "unsubscribed", "unsubscribe", "opted out", "opt out", "optout", "optedout", "do not email", "do not contact",
    "bounced", "bounce", "hard bounce", "hard bounced", "soft bounced", "bounced hard", "undeliverable", "cleaned", "complained",
    "complaint", "spam complaint", "marked as spam", "abuse complaint", "blocklisted", "blacklisted", "blocked", "suppressed",
    "non subscribed", "not subscribed", "never subscribed", "on hold bounce", "on hold opt out", "inactive bounced",
    "abgemeldet", "ausgetragen", "désabonné", "désabonnée", "désinscrit", "désinscrite", "dado de baja", "disiscritto",
    "disiscritta", "uitgeschreven", "afgemeld", "descadastrado", "wypisany", "wypisana", "avregistrerad", "отписан",
    "отписался"})
_STATUS = re.compile(r"stat|subscri|consent|marketing|newsletter|bounce|deliver|hold|opt", re.IGNORECASE)
_SAYS_NO = re.compile(
    r"unsub|opt(?:ed)?[ _-]?out|do[ _-]?not[ _-]?(?:e-?mail|contact)|no[ _]bulk|bounced|block[ -]?listed"
    r"|blacklisted|on[ _]hold|clean_time|complained|abgemeldet|d[ée]sabonn|d[ée]sinscrit", re.IGNORECASE)
_HAS_A_REASON = re.compile(r"(?:bounce|unsub|opt[ _-]?out).*reason", re.IGNORECASE)
_SAYS_YES = re.compile(r"(?:is[ _-]?)?subscribed|accepts[ _-](?:e-?mail[ _-])?marketing", re.IGNORECASE)
_YES = frozenset({"1", "true", "yes", "y", "x", "t", "ja", "j", "oui", "o", "sí", "si", "sì", "s", "sim", "wahr", "vrai", "да"})
_NO = frozenset({"0", "false", "no", "n", "f", "nein", "non", "não", "falsch", "faux", "нет"})
_DATE = re.compile(r"[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}.*|[0-9]{1,2}[./][0-9]{1,2}[./][0-9]{2,4}.*")


@dataclass(frozen=True, slots=True)
class OptOutColumn:
    at: int
    name: str
    says_so: Callable[[str], bool]


def opt_out_columns(names: Sequence[str], samples: Sequence[list[str]], *, but: int) -> list[OptOutColumn]:
    """Those of the columns; `but` is that of the addresses. `samples` are the first rows."""
    found = []
    for at, name in enumerate(names):
        if at == but:
            continue
        if _HAS_A_REASON.search(name):
            found.append(OptOutColumn(at, name, _is_given))
        elif _SAYS_NO.search(name):
            found.append(OptOutColumn(at, name, _says_no))
        elif _SAYS_YES.fullmatch(name):
            found.append(OptOutColumn(at, name, _denies))
        elif _STATUS.search(name) or any(_is_word(cells[at]) for cells in samples if at < len(cells)):
            found.append(OptOutColumn(at, name, _is_word))
    return found


def _is_given(cell: str) -> bool:
    """Below a heading that asks why somebody is out."""
    return cell != "" and cell.casefold() not in _NO


def _says_no(cell: str) -> bool:
    """Below a heading that asks whether somebody is out: a yes, the day of it, or a word."""
    return cell.casefold() in _YES or _DATE.fullmatch(cell) is not None or _is_word(cell)


def _denies(cell: str) -> bool:
    """Below a heading that asks whether somebody is in."""
    return cell.casefold() in _NO or _is_word(cell)


def _is_word(cell: str) -> bool:
    return len(cell) < 24 and re.sub(r"[\s_-]+", " ", cell.strip().casefold()) in _WORDS

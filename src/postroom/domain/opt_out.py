"""What says of a row of a list that it is not to be mailed, as programs export it: a status, or an answer to a heading.

A heading that asks whether, when or why somebody is *out* means that by anything but a blank or a no; one that asks whether
somebody is *in* (opt-in, consent, newsletter) means out by a no. Below any other, and beside a pasted address, only words that
mean nothing else do. What is about another channel (SMS, post) is not about mail. Texts are compared without accents, however
these are composed, and without case and signs.

Whoever is left out is shown with the word and its column, and one choice mails them all the same; so a word too many costs a
look, a word too few a mail to somebody who said no. What looks like an answer and is not understood is None: it is remarked.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

SAID_MAX = 60  # characters of a cell that are read

# Headings, and below them values, as `_plain` makes them.
_OTHER_CHANNEL = re.compile(
    r"\b(?:sms|mms|text messages?|phones?|telephone|tel|telefon\w*|mobile|handy|(?:phone )?calls?|anrufe?|post|postal"
    r"|postalisch|letters?|direct mail|brief|fax|faxes|whatsapp|push|telegram|messenger|viber)\b")
_MAIL = re.compile(r"\be ?mails?|newsletter|courriel|correo|\be ?post\b|mailing")
_NO_ANSWER = re.compile(r"\b(?:urls?|uri|links?|href|token|key|hash|code|page|header|id|counts?|number|anzahl|total|rate"
                        r"|unsubscribes|unsubs|bounces)\b")
_ASKS_OUT = re.compile(
    r"unsub|opt(?:ed)? ?out|(?:do ?not|don ?t|never) ?(?:allow ?|send ?)?(?:bulk ?|marketing ?)?(?:e ?mails?|contact"
    r"|market|send)|\bno (?:bulk|e ?mails?|mailings?|marketing|newsletter|consent|contact)"
    r"|bounced|hard ?bounce|bounce ?(?:reason|date|time|at|on)\b|bl[oa]c?k ?listed|suppressed|on ?hold"
    r"|clean(?:ed)? ?(?:time|date|at|on)\b|\bcleaned\b|complained|complaint|excluded ?from|e ?mails? ?(?:disabled"
    r"|blocked)|disabled ?e ?mails?|\bdeleted\b"
    r"|withdrawn|revoked|abgemeldet|abmeld|abbestell|ausgetragen|austrag|widerruf|werbesperre|gesperrt"
    r"|\bkeine? (?:e ?mails?|newsletter|werbung|mailings?)|desabonn|desinscri|desuscri|\bbaja\b|disiscri|cancellato"
    r"|uitgeschreven|afgemeld|descadastr|wypisan|avregistrer|avmeld|avanmal|отпис")
_ASKS_IN = re.compile(
    r"opt(?:ed)? ?in\b|opt ?in(?:date|time|status)|subscribed|consent|accepts?\b.*marketing|newsletter|einwillig|zustimm"
    r"|einverstand|toestemming|consenso|samtyk|samtyck|zgoda|permission|marketing ?(?:e ?mails?|allowed)|\ballow ?"
    r"(?:bulk ?|marketing ?)?(?:e ?mails?|marketing)|gdpr|dsgvo|rgpd"
    r"|receives? ?(?:e ?mails?|news|marketing)|wants? ?(?:e ?mails?|news)|e ?mails? ?(?:allowed|permitted|enabled)"
    r"|mailing ?list|подписан|\babonn|angemeldet|^e ?mails?$|^marketing$|e ?mail ?marketing$|werbung")
_WHEN = re.compile(r"time|date|datum|\bat$|\bon$|\bam$|\bip$|source|method")
_STATUS = re.compile(r"stat|subscri|consent|marketing|newsletter|bounce|deliver|hold|opt|estad|etat|zustand|situa|stav|abo\b")
_STATUS_OF_MAIL = re.compile(r"subscri|consent|newsletter|opt ?(?:in|out)|\babo")

_YES = frozenset({"1", "true", "yes", "y", "x", "t", "on", "ok", "checked", "ja", "j", "oui", "o", "si", "s", "sim", "wahr",
                  "vrai", "verdadero", "vero", "tak", "да"})
_NO = frozenset({"false", "no", "n", "f", "off", "nein", "non", "nao", "nej", "nee", "nei", "nie", "falsch", "faux", "falso",
                 "нет", "never", "unchecked"})
_NONE = frozenset({"none", "nothing", "keine", "keiner", "aucun", "aucune", "ninguno", "nessuno"})
_NOTHING = frozenset({"", "null", "n a", "na", "nan", "nil", "undefined"}) | _NONE
_CROSSES = frozenset("☐✗✘✕✖❌")
_ZERO = re.compile(r"[0 tz]*0[0 tz]*|0001 0?1 0?1.*")  # as a number or a day that no calendar has
_DENIED = frozenset({"denied", "declined", "refused", "rejected", "withdrawn", "revoked", "not given", "not granted",
                     "do not allow", "abgelehnt",
                     "widerrufen", "refuse", "retire", "rechazado", "nicht erteilt", "out", "expired", "disabled"})
_IN = re.compile(
    r"(?:re ?|is |currently )?subscribed?|opt(?:ed)? ?in|(?:single|double|confirmed) opt ?in|active|aktiv|actif|activo"
    r"|enabled|confirmed|allow|allowed|granted|given|accepted|agreed|erteilt|abonne|abonnee|abonniert|angemeldet|inscrit"
    r"|inscrite|suscrito|alta|iscritto|valid"
    r"|delivered|not (?:unsub\w*|opt(?:ed)? ?out|bounced|on hold|suppressed|block\w*)|nicht abgemeldet")
_SINCE = r"(?: (?:by|on|at|since|from|via|due|as|am|vom|von|per|durch|le|par|el|em|e|a|o|s|[0-9]).*)?"
_OUT_WORDS = (
    r"(?:unsub|unsubscribed?|opt(?:ed)? ?out|(?:do ?not|don ?t) ?(?:e ?mail|mail|contact|send|disturb)|bounced?|(?:hard"
    r"|soft) ?bounced?|bounced? (?:hard|soft)|undeliverable|cleaned|complain(?:ed|t)|spam complaint|marked as spam"
    r"|abuse complaint|bl[oa]c?k ?listed|suppressed|(?:non|not|never|no longer) subscribed|on hold (?:bounce|opt out)"
    r"|inactive bounced|abgemeldet|abbestellt|ausgetragen"
    r"|desabonnee?|desinscrite?|desabonado|desuscrito|dad[oa] de baja|disiscritt[oa]"
    r"|uitgeschreven|afgemeld|descadastrad[oa]"
    r"|wypisan[ya]|avregistrerad|avmeldt|отписан|отписался)")
_OUT = re.compile(_OUT_WORDS + _SINCE)
_OUT_IN_A_STATUS = re.compile(  # which may be anything elsewhere: a place, a name; and whatever follows
    rf"(?:{_OUT_WORDS}|deleted|removed|blocked|gesperrt|geloscht|baja|denied|withdrawn|revoked|invalid|inactive unsubscribed"
    r"|keine? mails?)(?: .*)?")


@dataclass(frozen=True, slots=True)
class OptOutColumn:
    """`says_out` is None of what is neither a yes nor a no where one is asked for."""

    at: int
    name: str
    says_out: Callable[[str], bool | None]


def opt_out_columns(names: Sequence[str], samples: Sequence[list[str]], *, but: int) -> list[OptOutColumn]:
    """Those of the columns; `but` is that of the addresses. `samples` are the first rows."""
    found = []
    for at, name in enumerate(names):
        heading = _plain(_words(name))
        if at == but or _is_of_another_channel(heading):
            continue
        if (answers := _answers(heading)) is not None:
            found.append(OptOutColumn(at, name, answers))
        elif any(_says_a_word(cells[at][:SAID_MAX]) for cells in samples if at < len(cells)):
            found.append(OptOutColumn(at, name, _says_a_word))
    return found


def is_yes_or_no(cell: str) -> bool:
    text = _plain(cell[:SAID_MAX])
    return text in _YES or text in _NO or text == "0"


@lru_cache(4096)
def status_says(said: str) -> bool | None:
    """Whether a word that stands anywhere says that somebody is out; None where it is no such word, and none for the opposite."""
    text = _plain(said)
    return True if _OUT.fullmatch(text) and not _is_of_another_channel(text) else False if _IN.fullmatch(text) else None


def _answers(heading: str) -> Callable[[str], bool | None] | None:
    """How what stands below a heading is read; None where it asks nothing of the kind."""
    if _NO_ANSWER.search(heading):
        return None
    is_out, is_in = _ASKS_OUT.search(heading), _ASKS_IN.search(heading)
    if is_out and not re.search(r"opt ?in\b", heading):
        return _below_out
    if is_in and not is_out:
        return _below_when_in if _WHEN.search(heading) else _below_in
    if is_in or _STATUS.search(heading):
        return _below_status_of_mail if _STATUS_OF_MAIL.search(heading) else _below_status
    return None


@lru_cache(4096)
def _below_out(said: str) -> bool:
    text = _plain(said)
    return not (_is_blank(said, text) or text in _NO or _ZERO.fullmatch(text) or _IN.fullmatch(text) or "://" in said)


@lru_cache(4096)
def _below_in(said: str) -> bool | None:
    text = _plain(said)
    if text in _NO | _DENIED | _NONE or _ZERO.fullmatch(text) or _is_out(text) or not _CROSSES.isdisjoint(said):
        return True
    is_ticked = not text and not _is_blank(said, text)
    is_in = is_ticked or text in _YES or _IN.fullmatch(text) or "@" in said or any(map(str.isdigit, text))
    return False if is_in else None


def _below_when_in(said: str) -> bool:
    """When and how somebody came in is often not known."""
    return _below_in(said) is True and not _ZERO.fullmatch(_plain(said))


@lru_cache(4096)
def _below_status_of_mail(said: str) -> bool | None:
    text = _plain(said)
    return True if _is_out(text) else False if _is_blank(said, text) or _IN.fullmatch(text) or text in _YES else None


@lru_cache(4096)
def _below_status(said: str) -> bool:
    return _is_out(_plain(said))


def _says_a_word(said: str) -> bool:
    return status_says(said) is True


def _is_out(text: str) -> bool:
    """Below a heading that lets expect it."""
    return _OUT_IN_A_STATUS.fullmatch(text) is not None and not _is_of_another_channel(text)


def _is_of_another_channel(text: str) -> bool:
    return _OTHER_CHANNEL.search(text) is not None and not _MAIL.search(text)


def _is_blank(said: str, text: str) -> bool:
    """Dashes and stops say nothing, a tick does."""
    return text in _NOTHING and not any(unicodedata.category(sign).startswith("S") and sign != "☐" for sign in said)


def _words(heading: str) -> str:
    """HasOptedOut, SMSOptOut: where capitals begin words."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", heading[:4 * SAID_MAX])


def _plain(text: str) -> str:
    """Letters and digits in words, without accents and case."""
    signs = (sign for sign in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(sign))
    return " ".join("".join(sign if sign.isalnum() else " " for sign in signs).split())

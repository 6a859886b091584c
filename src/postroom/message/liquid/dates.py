"""Dates as people write them, read only where they can mean no other day.

    2026-07-04  2026/07/04  2026.07.04  20260704     the year first
    04.07.2026  4. 7. 2026                           points: the day first
    13/07/2026  07/13/2026  13-07-2026               slashes and hyphens: only where one number is no month, or both are the same
    4 July 2026  July 4, 2026  Sat, 04 Jul 2026      English names of months, with the whole year
    1783123200                                       ten digits: seconds since 1970

A time and an offset may follow a day, the latter as +0200 or GMT+0200, both of which are east of Greenwich; of other zones' names
with a number (EST+5) some mean the contrary. Everything else is not read: 04/07/2026 is two days, 07.2026 is none, 04.07.26 and
31.12.75 are in one of two centuries, 46207 may be a spreadsheet's day or a number of anything.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone

from dateutil import parser  # type: ignore[import-untyped]

CHARACTERS_MAX = 100

_TIME = (r"(?P<time>(?:T|,?\s+)[0-9]{1,2}(?::?[0-9]{2}){1,2}(?:[.,][0-9]+)?(?:\s*[AP]\.?M\.?)?"
         r"(?:\s*(?:[A-Z]{1,5}|[-+][0-9]{2}:?[0-9]{2}))?)?")
_OF_NUMBERS = [re.compile(form + _TIME, re.IGNORECASE) for form in (
    r"(?P<year>[0-9]{4})(?P<sign>[-/.])(?P<month>[0-9]{1,2})(?P=sign)(?P<day>[0-9]{1,2})\.?",
    r"(?P<year>(?:19|20)[0-9]{2})(?P<month>[0-9]{2})(?P<day>[0-9]{2})",
    r"(?P<day>[0-9]{1,2})\.\s?(?P<month>[0-9]{1,2})\.\s?(?P<year>[0-9]{4})\.?")]
_OF_TWO_ORDERS = re.compile(r"(?P<one>[0-9]{1,2})(?P<sign>[-/])(?P<other>[0-9]{1,2})(?P=sign)(?P<year>[0-9]{4})" + _TIME,
                            re.IGNORECASE)
_MONTH_NAMED = re.compile(r"(?<![a-z])(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)", re.IGNORECASE)
_NAMED_BESIDE = re.compile(r"(?<=[0-9\s])(?:GMT|UTC)\s?(?=[-+][0-9])|(?<=[-+][0-9]{4})\s\([^()]*\)\Z")
_OTHER_ZONE = re.compile(r"(?<=[0-9\s])(?![AP]M)[A-Z]{1,5}[-+][0-9]")
_SECONDS = re.compile(r"(?!20[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01]))[0-9]{10}")  # not a day and an hour in digits
_PARSER = parser.parser()
_SOME, _OTHER = (datetime(2000 + n, n, n, tzinfo=UTC).replace(tzinfo=None) for n in (1, 2))  # days that have no part in common


def read(text: str) -> datetime | None:
    """Return the moment that a text means, without a zone if it has none; None where that is in doubt."""
    text = text.strip()
    if len(text) > CHARACTERS_MAX:
        return None
    text = _NAMED_BESIDE.sub("", text)  # the parser turns the offset behind a name round, as POSIX has it
    if _OTHER_ZONE.search(text):
        return None
    try:
        if _SECONDS.fullmatch(text):
            return datetime.fromtimestamp(int(text), UTC)
        return _of_numbers(text) or _with_month_named(text)
    except (ValueError, ArithmeticError):  # there is no such day, or no such time
        return None


def _of_numbers(text: str) -> datetime | None:
    for form in _OF_NUMBERS:
        if found := form.fullmatch(text):
            return _at(date(int(found["year"]), int(found["month"]), int(found["day"])), found["time"])
    if found := _OF_TWO_ORDERS.fullmatch(text):
        one, other = int(found["one"]), int(found["other"])
        if one == other or max(one, other) > 12:
            return _at(date(int(found["year"]), min(one, other), max(one, other)), found["time"])
    return None


def _at(day: date, time: str | None) -> datetime | None:
    moment = _parsed(f"{day.isoformat()}{time or ''}")
    return moment if moment.date() == day else None


def _with_month_named(text: str) -> datetime | None:
    """Only a text that has all of day, month and year: what is missing would be the parser's own."""
    if not _MONTH_NAMED.search(text):
        return None
    moment = _parsed(text)
    is_whole = moment.date() == _parsed(text, _OTHER).date() and re.search(rf"\b{moment.year}\b", text)
    return moment if is_whole else None


def _parsed(text: str, missing: datetime = _SOME) -> datetime:
    """Return what the parser makes of a text, which takes what is missing in it from `missing`."""
    moment: datetime = _PARSER.parse(text, default=missing, tzinfos=_zone)
    return moment


def _zone(_name: str | None, offset_s: int | None) -> timezone | None:
    """Return the time zone of an offset; none for a name, which would mean what the process's own TZ says."""
    return None if offset_s is None else timezone(timedelta(seconds=offset_s))

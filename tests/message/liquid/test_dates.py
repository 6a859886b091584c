"""A date is printed as the day that was meant, or as it stands: never as another."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from postroom.message.liquid import dates
from postroom.message.liquid.merge import environment

NOW = datetime(2026, 6, 5, 4, 3, 2, tzinfo=UTC)


def day(value: object) -> str:
    template = environment(NOW, html=False).from_string("{{ value | date: '%d.%m.%Y' }}")
    return template.render(value=value)


@pytest.mark.parametrize("value", [
    "2026-03-09", "2026-3-9", "2026/03/09", "2026.03.09", "2026. 3. 9.".replace(" ", ""), "20260309", 20260309,
    "09.03.2026", "9.3.2026", "9. 3. 2026", " 09.03.2026 ", "9 March 2026", "March 9, 2026", "9-Mar-2026",
    "9th of March 2026",
    "Mon, 09 Mar 2026 08:15:00 +0100", "Mon Mar  9 08:15:00 2026", "2026-03-09T23:30:00-05:00", "2026-03-09 23:30:00.5Z",
    "20260309T081500Z", "09.03.2026 23:59", "2026-03-09 11:30 PM", "1773014400", 1773014400, "2026-03-09 04:05 NST",
])  # fmt: skip
def test_what_can_mean_one_day_only_is_that_day(value: object) -> None:
    assert day(value) == "09.03.2026"


@pytest.mark.parametrize(("value", "printed"), [
    ("23/08/2026", "23.08.2026"), ("08/23/2026", "23.08.2026"), ("23-08-2026", "23.08.2026"), ("08/08/2026", "08.08.2026"),
    ("8/8/2026 10:00", "08.08.2026"), ("29.02.2028", "29.02.2028"), ("0076-01-02", "02.01.76"),
])  # fmt: skip
def test_slashes_and_hyphens_are_read_where_only_one_order_is_possible(value: str, printed: str) -> None:
    assert day(value) == printed


@pytest.mark.parametrize("value", [
    "03/09/2026", "3/9/2026", "03-09-2026", "3/9/26", "23/08/26", "26-08-23", "9-Mar-26", "9 Mar 26 2130",
    "23.08.26", "14.2.61", "31.12.99", "1. 5. 05",  # in one of two centuries
    "9 Mar 26 1030",  # two days
    "03.2026", "2026-03", "March 2026", "March 9", "9 March", "Monday", "12:30", "March 2026 10:30", "2026-W11-1",
    "2026-068",  # no day
    "09.13.2026", "31.04.2026", "2026-13-09", "29.02.2026", "13/13/2026", "00.00.0000", "2026-03-09 25:00",  # not in any calendar
    "46090", "2026030912", "20260309081500", "177301440", "1773014400000", "10101010", "-5", "0",  # numbers of many things
    46090, 0, -5, 1773014400.5, True, 10**40,
    "9. März 2026", "le 9 mars 2026", "mar 03/09/2026", "09.03.2026 - 10.03.2026", "09.03.2026 um 8", "soon", "n/a",
    "9" * 33 + "m'",
])  # fmt: skip
def test_everything_else_is_printed_as_it_stands(value: object) -> None:
    assert day(value) == ("true" if value is True else str(value))


@pytest.mark.parametrize("value", ["", None, "  "])
def test_a_blank_is_no_date(value: object) -> None:
    assert not day(value).strip()


def test_a_clock_s_time_and_an_offset_stay_with_their_day() -> None:
    assert dates.read("09.03.2026, 23:30") == datetime(2026, 3, 9, 23, 30)  # noqa: DTZ001 -- none was written
    read = dates.read("2026-03-09T23:30:00-05:00")
    assert read is not None
    assert (read.hour, read.utcoffset()) == (23, datetime(2026, 3, 9, tzinfo=UTC) - datetime(2026, 3, 9, 5, tzinfo=UTC))


@pytest.mark.parametrize(("value", "offset"), [
    ("Mon Mar 09 2026 23:30:00 GMT-0500", "-0500"), ("Mon Mar 09 2026 23:30:00 GMT+0545 (Nepal Time)", "+0545"),
    ("Mon, 9 Mar 2026 23:30:00 +0200 (EET)", "+0200"), ("9 Mar 2026 23:30 UTC+02:00", "+0200"),
    ("2026-03-09 23:30 GMT+0200", "+0200"), ("9 Mar 2026 11:30 PM -0500", "-0500"), ("Mon Mar 09 2026 23:30:00 GMT", "+0000"),
])  # fmt: skip
def test_an_offset_is_the_one_that_is_written(value: str, offset: str) -> None:
    template = environment(NOW, html=False).from_string("{{ value | date: '%d.%m.%Y %H:%M %z' }}")
    assert template.render(value=value) == f"09.03.2026 23:30 {offset}"


@pytest.mark.parametrize("value", [
    "9 Mar 2026 23:30 EST+5", "Mon Mar 09 2026 23:30:00 CEST+0200", "9 Mar 2026 23:30Z+1", "Mar 9 2026 23:30 BRST-3",
])
def test_an_offset_behind_another_name_may_be_either_way_round(value: str) -> None:
    assert day(value) == value


def test_seconds_that_were_reckoned_with_are_a_date_again() -> None:
    tomorrow = environment(NOW, html=False).from_string("{{ 'now' | date: '%s' | plus: 86400 | date: '%d.%m.%Y' }}")
    assert tomorrow.render() == "06.06.2026"

"""The filters of the templates' language: python-liquid's, bounded in what they make, linear in what they read, and the same in
every process.

No filter makes more than `OUTPUT_MAX`, and where one can multiply, that is seen before it is made. Numbers have at most
`INTEGER_BITS_MAX` bits: larger ones would be reckoned with in one step that nothing can interrupt. `strip_html` and `uniq` are
our own, because the library's take time by the square of their input; `date`, because it would know the process's clock and zone.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from functools import wraps
from typing import Any

from dateutil import parser as date_parser  # type: ignore[import-untyped]
from liquid import Environment, Markup
from liquid.exceptions import FilterArgumentError, FilterValueError
from liquid.filter import sequence_filter, string_filter, with_environment
from liquid.undefined import is_undefined

from postroom.message.markup import tags

OUTPUT_MAX = 2_097_152  # octets of one recipient's message
LOOP_MAX = 10_000  # iterations of a template, items of a range or a split
INTEGER_BITS_MAX = 4_096
DIGITS_MAX = 1_233  # of so many bits

_OF_NUMBERS = frozenset(
    ("abs", "at_least", "at_most", "ceil", "divided_by", "floor", "minus", "modulo", "plus", "round", "times"))
_BEGINS_A_NUMBER = re.compile(r"\s*[-+.]?[0-9]")
_DIRECTIVE = re.compile(r"%([-_0^#]*)([0-9]*)[EO]?([A-Za-z%+])")


def bound(environment: Environment, now: datetime) -> None:
    """Makes the environment's filters what is said above, for a job to which it is `now`, in UTC."""
    environment.add_filter("date", _date_filter(now))
    environment.add_filter("strip_html", _strip_html)
    environment.add_filter("uniq", _uniq)
    for name, function in environment.filters.items():
        environment.filters[name] = _guarded(name, function)


# -- what is made ------------------------------------------------------------------------------------------------------


def _guarded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse to make what is too large."""
    signature = inspect.signature(function)

    @wraps(function)
    def guard(value: Any, *arguments: Any, **options: Any) -> Any:
        if options and not options.keys() <= {"environment"}:  # an argument may be given by its name
            given = signature.bind(value, *arguments, **options)
            given.apply_defaults()
            arguments, options = given.args[1:], given.kwargs
        if name in _OF_NUMBERS and any(map(_is_huge, (value, *arguments))):
            raise FilterValueError(f"the filter {name} takes no number of more than {DIGITS_MAX:,} digits", token=None)
        if _size_of(name, value, arguments) > OUTPUT_MAX:
            raise _too_much(name)
        result = function(value, *arguments, **options)
        if _is_too_much(result):
            raise _too_much(name)
        return result

    return guard


def _too_much(name: str) -> FilterValueError:
    return FilterValueError(f"the filter {name} makes too much here", token=None)


def _size_of(name: str, value: Any, arguments: Sequence[Any]) -> int:
    """How much a filter that can multiply would make; 0 of any other."""
    first = arguments[0] if arguments else None
    match name:
        case "replace" if len(arguments) > 1:
            return str(value).count(str(first)) * len(str(arguments[1]))
        case "join" if isinstance(value, list | tuple | range):
            items = 0 if isinstance(value, range) else sum(len(item) for item in value if isinstance(item, str))
            return len(value) * len(str(first) if arguments else " ") + items
        case "split":
            return (str(value).count(str(first)) if first else len(str(value))) * (OUTPUT_MAX // LOOP_MAX)
    return 0


def _is_huge(number: Any) -> bool:
    if isinstance(number, int):
        return number.bit_length() > INTEGER_BITS_MAX
    return isinstance(number, str) and len(number) > DIGITS_MAX and _BEGINS_A_NUMBER.match(number) is not None


def _is_too_much(result: Any) -> bool:
    if isinstance(result, int):
        return result.bit_length() > INTEGER_BITS_MAX
    return isinstance(result, str) and len(result) > OUTPUT_MAX


# -- those of our own --------------------------------------------------------------------------------------------------


@with_environment
@string_filter
def _strip_html(value: str, *, environment: Environment) -> str:
    """The text between tags, without scripts and style sheets."""
    stripped = "".join(_text_of(value)) if "<" in value and ">" in value else value
    return Markup(stripped) if environment.autoescape and isinstance(value, Markup) else stripped


def _text_of(html: str) -> Iterator[str]:
    position, is_shown = 0, True
    for tag in tags.read(html):
        if is_shown:
            yield html[position : tag.start]
        position = tag.end
        is_shown = tag.is_end or tag.is_empty or tag.name not in ("script", "style")
    if is_shown:
        yield html[position:]


@sequence_filter
def _uniq(sequence: Sequence[Any], key: object = None) -> list[object]:
    """The first of each value, or of each value that the items have by that key."""
    seen: set[object] = set()
    found = []
    for item in sequence:
        mark = item if key is None else _by_key(item, key)
        try:
            is_new = mark not in seen
        except TypeError:  # a list, or an object
            mark = repr(mark)
            is_new = mark not in seen
        if is_new:
            seen.add(mark)
            found.append(item)
    return found


def _by_key(item: Any, key: object) -> object:
    try:
        return item[key]
    except KeyError:
        return _MISSING
    except TypeError as error:
        raise FilterArgumentError(f"can't read property '{key}' of {item}", token=None) from error


_MISSING = object()


# -- dates -------------------------------------------------------------------------------------------------------------


class _YearsAround(date_parser.parserinfo):  # type: ignore[misc]
    """Takes a year of two digits for one from 50 before the job's to 49 after it, not around the year of the process's start."""

    def __init__(self, year: int) -> None:
        super().__init__()
        self._first = year - 50

    def convertyear(self, year: int, century_specified: bool = False) -> int:
        return year if year >= 100 or century_specified else self._first + (year - self._first) % 100


def _date_filter(now: datetime) -> Callable[..., str]:
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    reader = date_parser.parser(_YearsAround(now.year))

    def date(value: object, layout: object = None) -> str:
        moment: datetime | None = None
        if value is None or is_undefined(value):
            return ""
        if value in ("now", "today"):
            moment = now
        elif isinstance(value, datetime):
            moment = value
        elif isinstance(value, int) or (isinstance(value, str) and value.isdecimal()):
            moment = _or_none(lambda: datetime.fromtimestamp(int(value), UTC))
        elif isinstance(value, str) and len(value) <= 100:
            moment = _or_none(lambda: reader.parse(value, default=midnight, tzinfos=_zone))
        if moment is None or not isinstance(layout, str):
            return str(value)  # what cannot be read as a date stays as it is, as Shopify's Liquid does
        return moment.strftime(_without_seconds_of_the_epoch(layout, moment))

    return date


def _without_seconds_of_the_epoch(layout: str, moment: datetime) -> str:
    """Put them in ourselves: the C library takes a moment for one in the process's own time zone."""
    seconds = str(int(moment.timestamp())) if moment.tzinfo else ""
    return _DIRECTIVE.sub(lambda found: seconds if found[3] == "s" else found[0], layout)


def _zone(_name: str | None, offset_s: int | None) -> timezone | None:
    """Return the time zone of an offset; none for a name, which would mean what the process's own TZ says."""
    return None if offset_s is None else timezone(timedelta(seconds=offset_s))


def _or_none(read: Callable[[], datetime]) -> datetime | None:
    try:
        return read()
    except (ValueError, ArithmeticError, OSError):
        return None

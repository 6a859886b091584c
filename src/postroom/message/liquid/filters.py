"""The filters of the templates' language: python-liquid's, bounded in what they make, linear in what they read, the same in every
process, and given nothing but what they can use.

No filter makes more than `OUTPUT_MAX`, and where one can multiply, that is seen before it is made. Numbers have at most
`INTEGER_BITS_MAX` bits: larger ones would be reckoned with in one step that nothing can interrupt. Where a filter needs a number
or a text, it is given what `values` reads as one: the library would take 0 for what is no number, and print an object as Python
writes it. What is reckoned from a blank is NOTHING, and so is what a blank that it needs for its argument would spoil
(`NEEDING_THEIR_ARGUMENT`).

`strip_html` and `uniq` are our own, because the library's take time by the square of their input; `date`, because it would know
the process's clock and zone, and guess; `round`, because it rounds half to even, and hundreds to 0; `sum` and those that decode,
because they leave out what they cannot read.
"""

from __future__ import annotations

import base64
import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache, wraps
from itertools import chain, repeat
from typing import Any
from urllib.parse import unquote_plus

from liquid import Environment, Markup
from liquid.builtin.filters.array import join
from liquid.exceptions import FilterArgumentError, FilterValueError
from liquid.filter import sequence_filter, string_filter, with_environment

from postroom.message.liquid import dates
from postroom.message.liquid.values import INTEGER_BITS_MAX, NOTHING, Unusable, exact, is_blank, number_of, text_of
from postroom.message.markup import tags

OUTPUT_MAX = 2_097_152  # octets of one recipient's message
LOOP_MAX = 10_000  # iterations of a template, items of a range or a split

_OF_NUMBERS = frozenset(
    ("abs", "at_least", "at_most", "ceil", "divided_by", "floor", "minus", "modulo", "plus", "round", "times"))
_OF_LISTS = frozenset(("compact", "concat", "find", "find_index", "first", "has", "join", "last", "map", "reject", "reverse",
                       "sort", "sort_natural", "sum", "uniq", "where"))
_OF_ANYTHING = _OF_LISTS | {"default", "date"}
# A text has no parts, and "nothing" would be what is found in it. (Filters that make a list of a list fail when that is printed.)
_OF_PARTS = frozenset(("find", "find_index", "first", "has", "last"))
# With an empty one they would part, join or replace at every letter, or do nothing.
NEEDING_THEIR_ARGUMENT = frozenset(("date", "join", "remove", "remove_first", "remove_last", "replace", "replace_first",
                                    "replace_last", "split"))
_MULTIPLYING = frozenset(("join", "replace", "split"))
_DIRECTIVE = re.compile(r"%([-_0^#]*)([0-9]*)[EO]?([A-Za-z%+])")
_PARTS_OF_A_DATE = frozenset("aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYzZ")
_LETTERS = re.compile(r"([A-Za-z])\1*")
_ELSEWHERE = {  # how other languages write the parts of a date
    "d": "%d", "dd": "%d", "D": "%d", "DD": "%d", "j": "%-d", "m": "%m", "mm": "%m", "M": "%m", "MM": "%m", "n": "%-m",
    "MMM": "%b", "MMMM": "%B", "F": "%B", "y": "%Y", "yyyy": "%Y", "YYYY": "%Y", "Y": "%Y", "yy": "%y", "YY": "%y",
    "EEE": "%a", "ddd": "%a", "EEEE": "%A", "dddd": "%A", "l": "%A", "H": "%H", "HH": "%H", "hh": "%I", "i": "%M", "ss": "%S"}


def bound(environment: Environment, now: datetime) -> None:
    """Makes the environment's filters what is said above, for a job to which it is `now`, in UTC."""
    environment.add_filter("date", _date_filter(now))
    environment.add_filter("strip_html", _strip_html)
    environment.add_filter("uniq", _uniq)
    environment.add_filter("join", _join)
    environment.add_filter("base64_decode", _base64_decode())
    environment.add_filter("base64_url_safe_decode", _base64_decode(b"-_"))
    environment.add_filter("url_decode", _url_decode)
    environment.add_filter("round", _round)
    environment.add_filter("sum", _sum)
    for name, function in environment.filters.items():
        environment.filters[name] = _guarded(name, function)


# -- what is made ------------------------------------------------------------------------------------------------------


def _guarded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Give it only what it can use, and refuse to make what is too large."""
    signature = inspect.signature(function)
    usable, takes_numbers = _usable(name), name in _READ_AS
    is_of_numbers, is_of_parts, multiplies = name in _OF_NUMBERS, name in _OF_PARTS, name in _MULTIPLYING

    @wraps(function)
    def guard(*given: Any, **options: Any) -> Any:
        if options and not options.keys() <= {"environment"}:  # an argument may be given by its name
            bound_to = signature.bind(*given, **options)
            bound_to.apply_defaults()
            given, options = bound_to.args, bound_to.kwargs
        values = usable(given)
        if (takes_numbers and None in values) or (is_of_parts and values[0] is None):
            return NOTHING
        if multiplies and _size_of(name, values[0], values[1:]) > OUTPUT_MAX:
            raise _too_much(name)
        result = function(*values, **options)
        if _is_too_much(result):
            raise _too_much(name)
        return exact(result) if is_of_numbers else result

    return guard


def _usable(name: str) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """Return what reads a filter's value and arguments as it needs them. None is a blank number, and nothing else."""
    if name in _OF_PARTS:
        return lambda given: [_whole(given[0]), *given[1:]]
    if name in _OF_ANYTHING:
        return lambda given: given
    readers = _READ_AS.get(name)
    if readers is None:
        return lambda given: [one if isinstance(one, str) else text_of(one) for one in given]
    return lambda given: [read(one) for one, read in zip(given, chain(readers, repeat(text_of)), strict=False)]


def _whole(value: Any) -> Any:
    """Return a list or an object, or None for a blank. Raises `Unusable` for what has no parts."""
    if is_blank(value):
        return None
    if isinstance(value, str | int | float | datetime):
        raise Unusable("{} is no list or object: make a list of it with split, or take letters with slice", value)
    return value


def _text_or_list(value: Any) -> Any:
    return value if isinstance(value, list | tuple | range | dict) else text_of(value)


_READ_AS: dict[str, tuple[Callable[[Any], Any], ...]] = {
    **dict.fromkeys(_OF_NUMBERS, (number_of, number_of)), "size": (_text_or_list,),
    "slice": (_text_or_list, number_of, number_of),
    "truncate": (text_of, number_of), "truncatewords": (text_of, number_of)}


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


@with_environment
@sequence_filter
def _join(sequence: Sequence[Any], separator: object = " ", *, environment: Environment) -> Any:
    return join([text_of(item) for item in sequence], text_of(separator), environment=environment)


@sequence_filter
def _sum(sequence: Sequence[Any], key: object = None) -> Any:
    """NOTHING of nothing, and of what has a blank in it."""
    numbers = [number_of(item if key is None else _by_key(item, key)) for item in sequence]
    if not numbers or None in numbers:
        return NOTHING
    if all(isinstance(number, int) for number in numbers):
        return sum(number for number in numbers if number is not None)
    return exact(float(sum(Decimal(str(number)) for number in numbers)))


def _round(number: int | float, digits: int | float = 0) -> int | float:
    """Half away from zero, as everybody rounds; to tens and hundreds where `digits` is less than 0."""
    places = int(digits)
    written = Decimal(str(number))
    if places >= -int(written.as_tuple().exponent):  # it has no more than that
        return number
    rounded = written.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
    return float(rounded) if places > 0 else int(rounded)


def _base64_decode(two_signs: bytes | None = None) -> Callable[[str], str]:
    def decode(value: str) -> str:
        try:
            return base64.b64decode("".join(value.split()), two_signs, validate=True).decode()
        except ValueError:
            raise Unusable("{} is not read as base64", value) from None

    return decode


def _url_decode(value: str) -> str:
    try:
        return unquote_plus(value, errors="strict")
    except UnicodeDecodeError:
        raise Unusable("{} is not read as percent-encoded UTF-8", value) from None


# -- dates -------------------------------------------------------------------------------------------------------------


def _date_filter(now: datetime) -> Callable[..., str]:
    def date(value: object, layout: object = None) -> str:
        """Raises `NotADay` for what is read as no day, or as two."""
        if isinstance(value, datetime):
            moment: datetime | None = value
        elif value in ("now", "today"):
            moment = now
        else:
            moment = dates.read(text_of(value))
        if moment is None and not is_blank(value):
            raise NotADay(text_of(value))
        if moment is None or layout is None:
            return text_of(value)
        written = text_of(layout)
        if fault_of_layout(written):
            raise Unusable("{} is no format of a date: write it as %d.%m.%Y", written)
        return moment.strftime(_without_seconds_of_the_epoch(written, moment))

    return date


@lru_cache
def fault_of_layout(layout: str) -> str:
    """What is wrong with the format of a date, and what to write; "" if it can be used."""
    directives = [found for found in _DIRECTIVE.finditer(layout) if found[3] != "%"]
    for found in directives:
        if found[3] not in _PARTS_OF_A_DATE:
            return f'"{found[0]}" is no part of a date: write it as "%d.%m.%Y"'
    if directives:
        return ""
    words = [found[0] for found in _LETTERS.finditer(layout)]
    instead = "%d.%m.%Y"
    if words and "%" not in layout and _ELSEWHERE.keys() >= set(words):
        instead = _LETTERS.sub(lambda found: "%M" if found[0] == "mm" and layout[: found.start()].endswith(":")
                               else _ELSEWHERE[found[0]], layout)
    return f'"{layout}" is no format of a date: write it as "{instead}"'


class NotADay(Exception):
    """Of a value that stays as it is, as Shopify's Liquid has it, and is noted. `text` is how it is printed."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


def _without_seconds_of_the_epoch(layout: str, moment: datetime) -> str:
    """Put them in ourselves: the C library takes a moment for one in the process's own time zone."""
    seconds = str(int(moment.timestamp())) if moment.tzinfo else ""
    return _DIRECTIVE.sub(lambda found: seconds if found[3] == "s" else found[0], layout)

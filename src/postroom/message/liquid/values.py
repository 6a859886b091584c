"""What a recipient's value is to a template: a text that can be printed, a number that can be reckoned with, or true or false.

Lists are written by people and programs of many countries. A text is read as a number only where it can mean no other one:
digits, with a point before the decimals. "12,50", "1.234,56", "€12" and "12%" are none, and "1.234" may be two. Whoever has such
a value where a number is needed gets no message: nothing is taken for 0, and nothing is guessed. The texts "true" and
"false", in whatever letters, are what they say to a condition: so Excel and other programs write the values of such columns.

Fails with `Unusable`, for that recipient.
"""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal

from liquid.builtin.expressions.primitive import Blank, Empty
from liquid.undefined import Undefined, is_undefined

from postroom.message.wire.headers import Unrenderable

INTEGER_BITS_MAX = 4_096
DIGITS_MAX = 1_233  # of so many bits
EXACT_MAX = 2**53  # from here on a number with decimals is not exact any more
TRUTH_MAX = 5  # characters of "false": longer texts are not looked at
SHOWN_MAX = 40  # characters of a value in a reason

NOTHING = Undefined("nothing")  # what is reckoned from a blank

_TRUTHS = {"true": True, "false": False}
_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)")
_THOUSANDS = re.compile(r"[-+]?[1-9][0-9]{0,2}\.[0-9]{3}")  # or a number with three decimals


class Unusable(Unrenderable):
    """A value cannot stand where the template puts it. `what` is said of it, with `{}` for it; `where` is the expression."""

    def __init__(self, what: str, value: object = "", where: str = "") -> None:
        self._what, self._value = what, value
        begins = "The template cannot be filled in for this recipient: " + (f'in "{where}" ' if where else "")
        shown = text_of(value)
        shown = shown if len(shown) <= SHOWN_MAX else shown[:SHOWN_MAX] + "…"
        quoted = f'"{shown}"'
        super().__init__(f"{begins}{what.format(quoted)}.", f"{begins}{what.format('a value')}.")

    def at(self, where: object) -> Unusable:
        return Unusable(self._what, self._value, str(where))


def is_blank(value: object) -> bool:
    """Whether there is nothing to print."""
    return value is None or is_undefined(value) or (isinstance(value, str) and (not value or value.isspace()))


def text_of(value: object) -> str:
    """Return what is printed of a value, not escaped. Raises `Unusable` for a list or an object."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | datetime():
            return str(value)
        case float():
            text = str(value)
            return f"{Decimal(text):f}" if "e" in text else text
        case None | Undefined() | Empty() | Blank():
            return ""
    raise Unusable("a whole list or object stands where a text is needed: name a part of it")


def truth_of(value: object) -> bool | None:
    """Return what a value says that is true or false, as such or as a text; None of any other."""
    if isinstance(value, str) and len(value) <= TRUTH_MAX:
        return _TRUTHS.get(value.lower())
    return value if isinstance(value, bool) else None


def number_of(value: object) -> int | float | None:
    """Return the number that a value is, or None if it is blank. Raises `Unusable`."""
    if is_blank(value):
        return None
    number = value
    if isinstance(value, str):
        text = value.strip()
        if not _NUMBER.fullmatch(text):
            raise Unusable("{} is not read as a number: write it as 1234.56", value)
        if _THOUSANDS.fullmatch(text):
            raise Unusable("{} may be a number of thousands or one with decimals: write it as 1234 or 1.2340", value)
        if len(text) > DIGITS_MAX:
            raise _too_long()
        number = float(text) if "." in text else int(text)
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise Unusable("what is no text and no number stands where a number is needed")
    if isinstance(number, int) and number.bit_length() > INTEGER_BITS_MAX:
        raise _too_long()
    return exact(number)


def exact(number: int | float) -> int | float:
    """Return the number. Raises `Unusable` for one with decimals that is too large to be exact, or none at all."""
    if isinstance(number, float) and not abs(number) < EXACT_MAX:
        raise Unusable("{} is too large a number to have decimals", number)
    return number


def _too_long() -> Unusable:
    return Unusable(f"a number has more than {DIGITS_MAX:,} digits")

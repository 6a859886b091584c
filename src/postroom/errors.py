"""The errors that Postroom raises on purpose.

PostroomError                 anything a door turns into an answer for a person
├── InvalidInput              the request is wrong: what, where (row, column, field), what to do   -> 422
├── Forbidden                 whoever asks has not the right to it                                 -> 403
├── NotFound                  no such thing in this account                                        -> 404
├── Conflict                  the thing is not in a state that allows this                         -> 409
├── TooMany                   the account has too much of this under way, or the address has          -> 429
└── Unavailable               something that Postroom needs is not there (database, port, gateway) -> 503

A message is a whole sentence for the person who reads it. Doors map the class; nobody parses the text.
"""

from __future__ import annotations

from dataclasses import dataclass

COUNT_MAX = 2**31 - 1  # what an integer of the database holds


class PostroomError(Exception):
    """Base of every error that is an answer and not a bug."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with an input. `row` counts from 1 as the person sees the file, the header included."""

    message: str
    field: str | None = None
    row: int | None = None
    column: str | None = None


class InvalidInput(PostroomError):
    """The input cannot be taken. `faults` lists each thing that is wrong, at most a handful."""

    def __init__(self, message: str, *, field: str | None = None, row: int | None = None,
                 column: str | None = None, faults: tuple[Fault, ...] = ()) -> None:
        super().__init__(message)
        self.faults = faults or (Fault(message, field, row, column),)


def storable(text: str, field: str) -> str:
    """The same text, which a person gave as `field`. Raises InvalidInput for what no database keeps: NUL, half a character."""
    if "\0" in text:
        raise InvalidInput(f"The {field} contains a NUL character.", field=field)
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidInput(f"The {field} is not valid text: it holds half a character or a stray byte.", field=field)
    return text


def check_range(what: str, value: int | None, unit: str, field: str, value_max: int = COUNT_MAX) -> None:
    """Raise InvalidInput for a number that is not 1 to `value_max`; None is no number."""
    if value is not None and not 1 <= value <= value_max:
        raise InvalidInput(f"{what} 1 to {value_max:,} {unit}.", field=field)


class Forbidden(PostroomError):
    """Whoever acts has not the right to it (`domain/access.py`)."""


class NotFound(PostroomError):
    """There is no such thing, or it belongs to another account: the two are never told apart."""


class Conflict(PostroomError):
    """The thing is in a state in which this cannot be done. `job_id` is set where a job is meant."""

    def __init__(self, message: str, *, job_id: int | None = None) -> None:
        super().__init__(message)
        self.job_id = job_id


class TooMany(PostroomError):
    """Whoever asks has as much under way as it may have at once; later it can be asked again."""


class Unavailable(PostroomError):
    """Something that Postroom needs is not there; the message says what to do."""

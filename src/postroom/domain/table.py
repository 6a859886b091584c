"""A table as people have it, from whatever program: rows of cells become recipients. Pure.

The headings are the first row, unless that holds an address; titles above them are passed over, and may hold one. The
addresses are those of the column that is chosen, that is called "email", or that holds addresses. Where two could be meant, the
list is refused: nobody is mailed at an address that was guessed.

No more than a remark: cells that are missing at the end of a row, a second heading of the same name, cells below no heading, a
name beside an address. Nothing at all: empty rows, empty columns.
Fails with Unreadable. Memory is what is looked at before the columns are decided, about a MiB, and then one row.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from postroom.domain.audience import (
    COLUMNS_MAX,
    NAME_SHOWN_MAX,
    ROW_BYTES_MAX,
    ROWS_MAX,
    IncomingRow,
    Remarks,
    Unreadable,
    too_many_rows,
)
from postroom.domain.opt_out import SAID_MAX, OptOutColumn, is_yes_or_no, opt_out_columns

LOOK_OCTETS = 2**20
CELL_OCTETS = 64  # that a cell takes beside its text
HEADINGS_SHOWN = 8
TITLES_MAX = 20  # rows above the headings
OPTED_OUT_ROWS = ("exclude", "send")
# As letters and digits alone. The first mean nothing else; the others may be a street or a letter, where nothing else helps.
ADDRESS_HEADINGS = ("email", "emailaddress", "primaryemail", "emailadresse")
PERHAPS_ADDRESS_HEADINGS = ("mail", "address")

_PLAIN = r"[^\s@<>,;:\"()]+@[^\s@<>,;:\"().]+\.[^\s@<>,;:\"()]+"  # the dot is the first one: nothing is tried twice
_ADDRESS = re.compile(_PLAIN)
# "Ann Lee <ann@list.example>", "mailto:ann@list.example", and the several of one cell of Google, between colons.
_WITH_MORE = re.compile(rf"[^<>@]*<({_PLAIN})>|mailto:({_PLAIN})|({_PLAIN})(?: ::: .*)", re.IGNORECASE | re.DOTALL)

Row = tuple[int, list[str]]


@dataclass(frozen=True, slots=True)
class Choices:
    """What a person says of a table. `email_column` is a heading; `opted_out_rows`, one of OPTED_OUT_ROWS, what becomes of those
    whose own row says that they are not to be mailed."""

    email_column: str | None = None
    opted_out_rows: str = OPTED_OUT_ROWS[0]


AS_FOUND = Choices()


def read_table(rows: Iterable[Row], choices: Choices, remarks: Remarks) -> Iterator[IncomingRow]:
    """The recipients of rows that are numbered from 1. Raises Unreadable."""
    rows = _bounded(rows)
    look = _look(rows)
    headings = _headings(look, remarks)
    names = _names(headings, remarks)
    samples = [cells for _, cells in look]
    address_at = _address_column(names, samples, choices, remarks)
    columns = _Columns(names, address_at, opt_out_columns(names, samples, but=address_at), choices, remarks)
    for row_no, cells in chain(look, rows):
        yield columns.row(row_no, cells)


def address_in(cell: str) -> str | None:
    """The address that a cell holds, alone or with what programs put beside it."""
    text = cell.strip()
    if _ADDRESS.fullmatch(text):
        return text
    found = _WITH_MORE.fullmatch(text)
    return next(filter(None, found.groups())) if found else None


def quoted(names: Sequence[str]) -> str:
    """A few names, for a sentence."""
    shown = ", ".join(f'"{name[:NAME_SHOWN_MAX]}"' for name in names[:HEADINGS_SHOWN])
    return f"{shown} and {len(names) - HEADINGS_SHOWN:,} more" if len(names) > HEADINGS_SHOWN else shown


def _bounded(rows: Iterable[Row]) -> Iterator[Row]:
    """Those that hold anything."""
    for row_no, cells in rows:
        text = "".join(cells)
        if not text or text.isspace():
            continue
        if len(text) > ROW_BYTES_MAX:
            raise Unreadable(f"Row {row_no} is longer than {ROW_BYTES_MAX // 1024} KiB.", row=row_no)
        if row_no > ROWS_MAX + 1:
            raise too_many_rows(row_no)
        yield row_no, cells


def _look(rows: Iterator[Row]) -> list[Row]:
    look: list[Row] = []
    octets = 0
    for row_no, cells in rows:
        look.append((row_no, cells))
        octets += sum(map(len, cells)) + CELL_OCTETS * len(cells)
        if octets > LOOK_OCTETS:
            break
    if not look:
        raise Unreadable("The list is empty: it needs a row for each recipient, and above them the headings, one of them email.",
                         row=1)
    return look


def _headings(look: list[Row], remarks: Remarks) -> Row:
    """Taken out of the look, with what stands above them, unless there are none."""
    rows = [cells for _, cells in look]
    at = headings_at(rows)
    if at is None:
        at = next((at for at, cells in enumerate(rows) if not _is_title(cells, rows[at + 1:at + 2])), 0)
    for row_no, cells in look[:at]:
        remarks.say(f"Row {row_no} stands above the headings and is passed over: {quoted([_joined(cells)])}.")
    del look[:at]
    row_no, cells = look[0]
    if not any(map(address_in, cells)):
        return look.pop(0)
    names = [f"column_{number}" for number in range(1, max(len(cells) for _, cells in look) + 1)]
    remarks.say(f"The list has no headings: row {row_no} is a recipient like the others, and the fields are called "
                f"{quoted(names)}. To name them, put a row above the first.")
    return row_no, names


def headings_at(rows: Sequence[list[str]]) -> int | None:
    """The row of headings, where addresses below it show that it is one: the first that calls their column by its name, else the
    first of several cells. What stands above it are titles, which may hold other addresses."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for row, cells in enumerate(rows):
        for at, cell in enumerate(cells):
            if "@" in cell and address_in(cell):
                first.setdefault(at, row)
                last[at] = row
    plain = [row for row, cells in enumerate(rows[:TITLES_MAX + 1]) if not any(map(address_in, cells))]
    several = next((row for row in plain if len(_filled_cells(rows[row])) > 1), len(rows))
    for row in plain:
        if any(last.get(at, 0) > row and (several >= row or first[at] > row) and _letters_and_digits(cell) in ADDRESS_HEADINGS
               for at, cell in enumerate(rows[row])):
            return row
    if several < len(rows) and any(first.get(at, 0) > several and cell.strip() for at, cell in enumerate(rows[several])):
        return several
    return None


def _is_title(cells: list[str], following: Sequence[list[str]]) -> bool:
    """One cell over a row of headings."""
    filled = _filled_cells(cells)
    return (len(filled) == 1 and _letters_and_digits(filled[0]) not in ADDRESS_HEADINGS + PERHAPS_ADDRESS_HEADINGS
            and any(len(_filled_cells(one)) > 1 for one in following)
            and not any(map(address_in, chain(cells, *following))))


def _filled_cells(cells: list[str]) -> list[str]:
    return [cell for cell in cells if cell.strip()]


def _joined(cells: list[str]) -> str:
    return ", ".join(cell.strip() for cell in _filled_cells(cells))


def _names(headings: Row, remarks: Remarks) -> list[str]:
    """Each once; '' for a column without a heading."""
    row_no, cells = headings
    names: list[str] = []
    seen = set[str]()
    cells = [unicodedata.normalize("NFC", cell.strip()) for cell in cells]
    while cells and not cells[-1]:
        cells.pop()
    if len(cells) > COLUMNS_MAX:
        raise Unreadable(f"The list has {len(cells):,} columns; at most {COLUMNS_MAX:,} are possible.", row=row_no)
    for cell in cells:
        name, number = cell, 1
        while name and name.casefold() in seen:
            number += 1
            name = f"{cell} ({number})"
        seen.add(name.casefold())
        names.append(name)
    if renamed := [name for name, cell in zip(names, cells, strict=True) if name != cell]:
        remarks.say(f"Some headings stand there more than once; the fields of the later ones are called {quoted(renamed)}.")
    return names


def _address_column(names: list[str], samples: Sequence[list[str]], choices: Choices, remarks: Remarks) -> int:
    holding = _addresses(names, samples)
    if choices.email_column is not None:
        at = _chosen(names, choices.email_column)
        how = ", as was chosen"
    else:
        at = _called(names, samples, holding)
        how = "" if _letters_and_digits(names[at]) in ADDRESS_HEADINGS else ", found by what stands in it"
    mailed = holding.get(at, set())
    others = [_shown(names, other) for other in holding if other != at and not holding[other] <= mailed]
    also = f" Addresses stand in {quoted(others)} too; nobody is mailed there." if others else ""
    remarks.say(f"The addresses are those of the column {quoted([names[at]])}{how}.{also}")
    return at


def _addresses(names: list[str], samples: Sequence[list[str]]) -> dict[int, set[str]]:
    """The addresses of each column that holds any."""
    holding: dict[int, set[str]] = {}
    for cells in samples:
        for at, cell in enumerate(cells[:len(names)]):
            if "@" in cell and (address := address_in(cell)):
                holding.setdefault(at, set()).add(address.casefold())
    return holding


def _chosen(names: list[str], heading: str) -> int:
    for spelt in (str, str.casefold):
        wanted = spelt(unicodedata.normalize("NFC", heading.strip()))
        for at, name in enumerate(names):
            if name and spelt(name) == wanted:
                return at
    raise Unreadable(f'No column is called "{heading[:NAME_SHOWN_MAX]}"; there are {quoted([name for name in names if name])}.',
                     row=1, column=heading)


def _called(names: list[str], samples: Sequence[list[str]], holding: dict[int, set[str]]) -> int:
    """By its heading where that means nothing else and something stands below it that is no answer; else by what it holds."""
    called = _first(names, ADDRESS_HEADINGS)
    if called is not None and holding and _is_answered(samples, called):
        called = None
    is_empty = called is not None and not any(cells[called].strip() for cells in samples if called < len(cells))
    if called is not None and not (is_empty and holding):
        return called
    if not holding:
        if (perhaps := _first(names, PERHAPS_ADDRESS_HEADINGS)) is not None:
            return perhaps
        raise Unreadable(f"No column holds the addresses: the headings are {quoted([name for name in names if name])}, and no "
                         "address stands below them. Is there a column of addresses?", row=1, column="email")
    best, *rest = sorted(holding, key=lambda at: (-len(holding[at]), at))
    rivals = [at for at in rest if 2 * len(holding[at] - holding[best]) >= len(holding[best])
              and _letters(names[at]) != _letters(names[best])]
    if rivals or is_empty:
        empty = f'The column "{names[called]}" is empty, and addresses' if called is not None else "Addresses"
        raise Unreadable(f"{empty} stand in {quoted([_shown(names, at) for at in (best, *rivals)])}. Choose the column that is "
                         "meant (email_column, --email-column).", row=1, column=names[best])
    if not names[best]:
        raise Unreadable(f'Column {best + 1} holds the addresses and has no heading. Call it "email".', row=1)
    return best


def _is_answered(samples: Sequence[list[str]], at: int) -> bool:
    """Whether all that stands in a column is yes and no: not where, but whether somebody wants mail."""
    said = [cells[at] for cells in samples if at < len(cells) and cells[at].strip()]
    return said != [] and all(map(is_yes_or_no, said))


def _shown(names: list[str], at: int) -> str:
    return names[at] or f"column {at + 1}"


def _first(names: list[str], wanted: Sequence[str]) -> int | None:
    plain = [_letters_and_digits(name) for name in names]
    return next((plain.index(one) for one in wanted if one in plain), None)


def _letters_and_digits(text: str) -> str:
    return "".join(filter(str.isalnum, text)).casefold()


def _letters(text: str) -> str:
    """Alike for the first and the second column of a kind."""
    return "".join(filter(str.isalpha, text)).casefold()


class _Columns:
    """What each column of a row becomes."""

    def __init__(self, names: list[str], address_at: int, opt_outs: Sequence[OptOutColumn], choices: Choices,
                 remarks: Remarks) -> None:
        self._width = len(names)
        self._address_at = address_at
        self._fields = [(at, name) for at, name in enumerate(names) if name and at != address_at]
        self._nameless = [at for at, name in enumerate(names) if not name]
        self._opt_outs = opt_outs
        self._is_heeded = choices.opted_out_rows != "send"
        self._remarks = remarks

    def row(self, row_no: int, cells: list[str]) -> IncomingRow:
        if len(cells) < self._width:
            cells = [*cells, *[""] * (self._width - len(cells))]
            self._remarks.count("Fewer cells than there are headings, and what is missing is blank", row_no)
        elif len(cells) > self._width and any(cell.strip() for cell in cells[self._width:]):
            raise Unreadable(
                f"Row {row_no} has {_filled(cells)} cells, but there are headings for {self._width}. "
                "Check for a missing heading, or for a separator within a value that no quotation marks enclose.", row=row_no)
        if self._nameless and any(cells[at].strip() for at in self._nameless):
            self._remarks.count("Cells below no heading, which are in no field", row_no)
        address = cells[self._address_at]
        if ("<" in address or ":" in address) and (found := address_in(address)):
            address = found
            self._remarks.count("More than one address alone in its cell, of which the first address is taken", row_no)
        return IncomingRow(row_no, address, {name: cells[at] for at, name in self._fields}, self._opted_out(row_no, cells))

    def _opted_out(self, row_no: int, cells: list[str]) -> str:
        for column in self._opt_outs:
            says_out = column.says_out(said := cells[column.at].strip()[:SAID_MAX])
            if says_out is None:
                self._remarks.count(f"Neither a yes nor a no in the column {quoted([column.name])}, and mailed", row_no)
            elif says_out:
                where = f"in the column {quoted([column.name])}"
                then = "left out" if self._is_heeded else "mailed all the same, as was chosen"
                self._remarks.count(f"Not to be mailed by what their own row says {where}, and {then}", row_no)
                return f"Row {row_no} of the list says {quoted([said])} {where}." if self._is_heeded else ""
        return ""


def _filled(cells: list[str]) -> int:
    return max(at for at, cell in enumerate(cells, 1) if cell.strip())

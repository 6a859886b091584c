"""Addresses as people paste them: with names or without, in angle brackets or bare, and commas, semicolons or lines between.

    Ann Lee <ann@list.example>, "Lee, Bob" <bob@list.example>; carla@list.example

Promises: nothing is lost. A name becomes the field `name`; what is no address and belongs to none is a row of its own, whose
address cannot be mailed, and is shown as that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from postroom.domain.audience import ROW_BYTES_MAX, ROWS_MAX, IncomingRow, Remarks, Unreadable, too_many_rows

NAME = "name"

_BETWEEN = re.compile(r'"[^"\n]*"|[;\n\r]|[^";\n\r]+|"')
_BARE = r'[^\s,<>"()\[\]]+@[^\s,<>"()\[\]]+'
_ADDRESS = re.compile(rf'("[^"]*"|{_BARE})?\s*<(?:mailto:)?([^<>]*)>|({_BARE})')  # with a name right before the bracket
_NAME_PART = re.compile(r"[^\W\d_](?:[^\W\d_]|[ '\u2019-])*")
_AROUND = " \t\xa0'\"()[]"


def is_pasted(line: str) -> bool:
    """Whether a list that begins with this line is one of addresses, and no table: all of the line is addresses, or they stand in
    angle brackets."""
    found = list(_ADDRESS.finditer(line))
    return any("@" in (one[2] or "") for one in found) or (len(found) > 1 and not _ADDRESS.sub("", line).strip(" ,;\t\r\n"))


def read_pasted(chunks: Iterable[str], remarks: Remarks) -> Iterator[IncomingRow]:
    """Rows are numbered in the order in which they stand there. Raises Unreadable."""
    remarks.say(f"The list is read as addresses, with what stands before each as the field “{NAME}”.")
    row_no = 0
    for item in _items(chunks):
        for address, name in _addresses(item):
            row_no += 1
            if row_no > ROWS_MAX:
                raise too_many_rows(row_no)
            yield IncomingRow(row_no, address, {NAME: name})


def _items(chunks: Iterable[str]) -> Iterator[str]:
    """What stands between semicolons and line ends, those within quotation marks aside."""
    item = ""
    for chunk in chunks:
        for piece in _BETWEEN.findall(chunk):
            if piece in (";", "\n", "\r"):
                yield item
                item = ""
                continue
            item += piece
            if len(item) > ROW_BYTES_MAX and (end := item.rfind(",")) > 0:
                yield item[:end]
                item = item[end:]
            if len(item) > ROW_BYTES_MAX:
                raise Unreadable(f"There are {ROW_BYTES_MAX // 1024} KiB without a comma, a semicolon or a line end; is this a "
                                 "list of addresses?")
    yield item


def _addresses(item: str) -> Iterator[tuple[str, str]]:
    """(address, name) of each, in their order; what is neither stands as an address."""
    begins = 0
    found = list(_ADDRESS.finditer(item))
    for one in found:
        *others, name = item[begins:one.start()].split(",")
        begins = one.end()
        if one[2] is not None and all(map(_NAME_PART.fullmatch, map(_bare, filter(str.strip, others)))):
            name, others = ",".join([*others, name]), []  # Lee, Ann <ann@list.example>
        name = _bare(f"{name}{one[1] or ''}")
        if not name and len(found) == 1 and not item[begins:].lstrip().startswith(","):  # ann@list.example (Ann)
            name, begins = _bare(item[begins:]), len(item)
        yield from ((_bare(other), "") for other in others if _bare(other))
        yield (one[2] if one[2] is not None else one[3]).strip(), name
    yield from ((_bare(other), "") for other in item[begins:].split(",") if _bare(other))


def _bare(text: str) -> str:
    return text.strip(_AROUND + ",")

"""Lists as known programs write them: everybody comes in, or a person can follow why not."""

from __future__ import annotations

import io

import pytest

from postroom.domain.audience import Remarks, Unreadable
from postroom.domain.table import Choices
from postroom.flow.audience.list_file import ListFile
from postroom.message.wire.address import AddressRefused, parse_address

from .exports import EXPORTS, Export


def is_usable(address: str) -> bool:
    try:
        parse_address(address)
    except AddressRefused:
        return False
    return True


@pytest.mark.parametrize("export", [pytest.param(one, id=name) for name, one in EXPORTS.items()])
def test_everybody_is_in_or_the_reason_is_said(export: Export) -> None:
    remarks = Remarks()
    listed = ListFile(io.BytesIO(export.octets), "table", export.encoding, Choices(export.email_column))
    if export.refused:
        with pytest.raises(Unreadable) as caught:
            list(listed.read(remarks))
        assert export.refused in str(caught.value)
        return
    rows = list(listed.read(remarks))
    assert [row.address for row in rows if is_usable(row.address) and not row.opted_out] == list(export.people)
    assert [row.address for row in rows if row.opted_out] == list(export.out)
    assert [row.address for row in rows if not is_usable(row.address)] == list(export.unusable)
    assert export.fields.items() <= dict(rows[0].fields).items()
    told = " ".join(remarks.told())
    assert not export.column or f'The addresses are those of the column "{export.column}"' in told
    for remark in export.remarks:
        assert remark in told

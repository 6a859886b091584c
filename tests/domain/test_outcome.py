"""The classes of a recipient and the evidence for them."""

from __future__ import annotations

from postroom.domain.outcome import CLASSES, EVIDENCE_MEANINGS, Contradiction, Evidence, Kind


def test_every_kind_puts_its_recipient_into_one_of_five_classes() -> None:
    assert {kind.recipient_class for kind in Kind} == set(CLASSES)
    assert len(CLASSES) == 5


def test_only_a_temporary_refusal_and_a_return_leave_a_recipient_unsent() -> None:
    assert {kind for kind in Kind if kind.recipient_class == "unsent"} == {Kind.REFUSED, Kind.RELEASED}


def test_the_gateways_own_answer_is_the_strongest_evidence_and_a_lost_lease_the_weakest() -> None:
    assert list(Evidence)[0] is Evidence.LEASE_LOST  # noqa: RUF015 - the order is what is tested
    assert list(Evidence)[-1] is Evidence.REPLY
    assert list(EVIDENCE_MEANINGS) == list(Evidence)


def test_what_a_person_had_settled_otherwise_is_told_with_its_number_first_and_only_where_there_is_any() -> None:
    told = Contradiction(1_009, 1, 2, 2).sentences
    assert [one.partition(" ")[0] for one in told] == ["1,009", "1", "2", "2"]
    assert all("whom a person had" in one for one in told)
    assert Contradiction(0, 0, 0, 0).sentences == []

"""What is found before an approval, and what follows from it."""

from __future__ import annotations

import pytest

from postroom.domain.preflight import (
    EXAMPLES_MAX,
    FIELD_POLICIES,
    Effect,
    Example,
    Finding,
    FindingKind,
    Look,
    Preflight,
    effect_of,
    merged,
    told,
)

BLANK = FindingKind.BLANK_FIELD


def some(kind: FindingKind, about: str, *positions: int) -> Finding:
    return Finding(kind, about, len(positions), tuple(Example(one, f"p{one}@x.example") for one in positions))


@pytest.mark.parametrize(("policy", "effect"), [("refuse", Effect.REFUSE), ("fail", Effect.FAIL), ("blank", Effect.NOTE)])
def test_the_policy_decides_what_a_blank_field_does(policy: str, effect: Effect) -> None:
    assert effect_of(BLANK, policy) is effect


@pytest.mark.parametrize("kind", [FindingKind.ADDRESS_REFUSED, FindingKind.TOO_LARGE, FindingKind.UNRENDERABLE])
def test_whoever_cannot_get_the_message_is_failed_unless_the_policy_refuses(kind: FindingKind) -> None:
    assert [effect_of(kind, policy) for policy in ("refuse", "fail", "blank")] == [Effect.REFUSE, Effect.FAIL, Effect.FAIL]


@pytest.mark.parametrize("kind", [
    FindingKind.NO_UNSUBSCRIBE, FindingKind.NO_POSTAL_ADDRESS, FindingKind.FROM_NOT_ALIGNED, FindingKind.NO_DKIM,
    FindingKind.TOO_SLOW])
def test_what_the_message_itself_lacks_always_refuses(kind: FindingKind) -> None:
    assert {effect_of(kind, policy) for policy in FIELD_POLICIES} == {Effect.REFUSE}


@pytest.mark.parametrize("kind", [FindingKind.ONE_CLICK_UNSIGNED, FindingKind.GATEWAY_SILENT])
def test_a_silent_gateway_and_an_unsigned_one_click_hinder_nothing(kind: FindingKind) -> None:
    assert {effect_of(kind, policy) for policy in FIELD_POLICIES} == {Effect.NOTE}


def test_equal_findings_of_several_looks_are_one_with_the_first_examples() -> None:
    looks = [Look((some(BLANK, "name", 1, 2, 3),)), Look((some(BLANK, "name", 11, 12, 13), some(BLANK, "city", 12)))]
    name, city = merged(looks)
    assert (name.about, name.count, [one.position for one in name.examples]) == ("name", 6, [1, 2, 3, 11, 12])
    assert len(name.examples) == EXAMPLES_MAX
    assert (city.about, city.count) == ("city", 1)


def test_a_field_that_nobody_has_is_unknown_and_one_that_somebody_has_is_not() -> None:
    looks = [Look(mentioned=("name", "frist_name", "city")), Look(seen=("name",)), Look(seen=("city",))]
    (unknown,) = merged(looks)
    assert (unknown.kind, unknown.about, unknown.count) == (FindingKind.UNKNOWN_FIELD, "frist_name", 0)
    assert "frist_name" in told(unknown)
    assert Preflight("fail", 7, 7, (unknown,)).effect(unknown) is Effect.NOTE, "the template can do without it"


def test_findings_are_shown_with_what_refuses_the_message_first() -> None:
    looks = [Look((some(FindingKind.TOO_LARGE, "large", 1), some(BLANK, "b", 1), some(BLANK, "a", 1, 2),
                   Finding(FindingKind.NO_DKIM, "no keys")))]
    assert [one.about for one in merged(looks)] == ["no keys", "a", "b", "large"]


def test_a_preflight_is_done_when_all_were_looked_at_and_names_what_refuses() -> None:
    found = (some(BLANK, "name", 1), Finding(FindingKind.NO_DKIM, "no keys"))
    assert not Preflight("fail", 10, 9, ()).is_done
    assert Preflight("fail", 10, 10, ()).is_done
    assert Preflight("fail", 0, 0, ()).is_done, "a job of before there were pre-flights"
    assert [one.about for one in Preflight("fail", 2, 2, found).refusing] == ["no keys"]
    assert [one.about for one in Preflight("refuse", 2, 2, found).refusing] == ["name", "no keys"]


def test_where_nobody_would_get_it_the_job_is_refused_whatever_the_policy() -> None:
    everybody, all_but_one = some(BLANK, "name", 1, 2, 3), some(BLANK, "name", 1, 2)
    assert Preflight("fail", 3, 3, (everybody,)).refusing == (everybody,)
    assert Preflight("fail", 3, 3, (all_but_one,)).refusing == ()
    assert Preflight("blank", 3, 3, (everybody,)).refusing == (), "with this policy everybody gets it"
    assert Preflight("fail", 3, 2, (everybody,)).refusing == (), "not decided before all were looked at"


@pytest.mark.parametrize(("policy", "everybody", "some_of_them"), [
    ("fail", Effect.REFUSE, Effect.FAIL), ("refuse", Effect.REFUSE, Effect.REFUSE), ("blank", Effect.NOTE, Effect.NOTE)])
def test_a_name_that_is_spelt_wrong_is_one_finding_with_one_verdict(policy: str, everybody: Effect, some_of_them: Effect) -> None:
    (typo,) = merged([Look(mentioned=("Name",)), Look((some(BLANK, "Name", 1, 2),))])
    assert (typo.kind, typo.count, len(typo.examples)) == (FindingKind.UNKNOWN_FIELD, 2, 2)
    assert told(typo).endswith("Is the name spelt as in the list?")
    assert Preflight(policy, 2, 2, (typo,)).effect(typo) is everybody
    assert Preflight(policy, 3, 3, (typo,)).effect(typo) is some_of_them


def test_every_kind_has_an_effect_and_a_sentence() -> None:
    for kind in FindingKind:
        for policy in FIELD_POLICIES:
            assert Preflight(policy, 1, 1, ()).follows(Finding(kind, "It is so.")).endswith(".")
        assert told(Finding(kind, "It is so.")).endswith((".", "?"))

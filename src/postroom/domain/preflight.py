"""What is found when every recipient is rendered once, before anybody approves: the findings, and what each of them means.

A finding is about a field, about recipients, or about the message as a whole. What follows from it depends on the job's policy:

    policy        a field is blank             a recipient cannot get the message     the message lacks what it must have
    refuse        the job cannot be approved   the job cannot be approved             the job cannot be approved
    fail          those recipients are failed  those recipients are failed            the job cannot be approved
    blank         it is left blank             those recipients are failed            the job cannot be approved

Where "those recipients" are all of the list, the job cannot be approved either: nobody would get it. A gateway that cannot be
asked now, one-click unsubscribe that no signature covers, what is remarked on how the list was read, what looks like another
system's field, and HTML that readers cut, are notes: they hinder nothing. So are a field that no row has but the template can do
without, and a date that is printed as it stands, unless the policy is `refuse`. A field that no row has and that is printed is a
blank field under another name: one finding, which asks how the name is spelt, with the effect of a blank one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

EXAMPLES_MAX = 5
FIELD_POLICIES = ("fail", "refuse", "blank")
BULK_FROM = 5_000  # recipients from which the large mailbox providers ask for DKIM and an aligned From


class FindingKind(StrEnum):
    """In the order in which they are shown."""

    NO_UNSUBSCRIBE = "no_unsubscribe"
    NO_POSTAL_ADDRESS = "no_postal_address"
    FROM_NOT_ALIGNED = "from_not_aligned"
    NO_DKIM = "no_dkim"
    TOO_SLOW = "too_slow"
    UNKNOWN_FIELD = "unknown_field"
    BLANK_FIELD = "blank_field"
    ADDRESS_REFUSED = "address_refused"
    TOO_LARGE = "too_large"
    UNRENDERABLE = "unrenderable"
    UNREAD_DATE = "unread_date"
    ONE_CLICK_UNSIGNED = "one_click_unsigned"
    FOREIGN_FIELD = "foreign_field"
    MAY_BE_CLIPPED = "may_be_clipped"
    GATEWAY_SILENT = "gateway_silent"
    LIST_REMARK = "list_remark"


_OF_THE_MESSAGE = frozenset({FindingKind.NO_UNSUBSCRIBE, FindingKind.NO_POSTAL_ADDRESS, FindingKind.FROM_NOT_ALIGNED,
                             FindingKind.NO_DKIM, FindingKind.TOO_SLOW})
_OF_RECIPIENTS = frozenset({FindingKind.ADDRESS_REFUSED, FindingKind.TOO_LARGE, FindingKind.UNRENDERABLE})


class Effect(StrEnum):
    """What follows from a finding: the job cannot go out as it is; those recipients get nothing; or nothing follows."""

    REFUSE = "refuse"
    FAIL = "fail"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Example:
    """One recipient whom a finding is about."""

    position: int
    address: str


@dataclass(frozen=True, slots=True)
class Finding:
    """`about` is the field's name, or the reason as a sentence; `count` is how many recipients it is about, 0 for the message."""

    kind: FindingKind
    about: str
    count: int = 0
    examples: tuple[Example, ...] = ()

    @property
    def is_blank(self) -> bool:
        """Whether recipients would get a blank place, because the field is blank for them or nobody has it."""
        return self.kind is FindingKind.BLANK_FIELD or (self.kind is FindingKind.UNKNOWN_FIELD and self.count > 0)


@dataclass(frozen=True, slots=True)
class Look:
    """What one look came to: at a chunk, or at the message as a whole.

    `mentioned` are the fields that the templates name, `seen` those of them that at least one recipient has.
    """

    findings: tuple[Finding, ...] = ()
    mentioned: tuple[str, ...] = ()
    seen: tuple[str, ...] = ()

    @property
    def is_too_slow(self) -> bool:
        """Then nobody else is looked at."""
        return any(one.kind is FindingKind.TOO_SLOW for one in self.findings)


@dataclass(frozen=True, slots=True)
class Preflight:
    """The pre-flight of a job so far."""

    policy: str
    to_check: int
    checked: int
    findings: tuple[Finding, ...]

    @property
    def is_done(self) -> bool:
        return self.checked >= self.to_check

    @property
    def can_be_approved(self) -> bool:
        return self.is_done and not self.refusing

    @property
    def refusing(self) -> tuple[Finding, ...]:
        """Why it cannot go out."""
        return tuple(one for one in self.findings if self.effect(one) is Effect.REFUSE)

    def effect(self, finding: Finding) -> Effect:
        """What follows from a finding of this job: where it would leave nobody to send to, the job itself is refused."""
        effect = effect_of(FindingKind.BLANK_FIELD if finding.is_blank else finding.kind, self.policy)
        is_everybody = self.is_done and 0 < self.to_check <= finding.count
        return Effect.REFUSE if effect is Effect.FAIL and is_everybody else effect

    def follows(self, finding: Finding) -> str:
        """The same as a sentence."""
        match self.effect(finding):
            case Effect.REFUSE:
                return "The job cannot be approved."
            case Effect.FAIL:
                return "Whoever it is about will be Failed, without a message."
            case Effect.NOTE if finding.is_blank:
                return "It is left blank."
            case Effect.NOTE:
                return "This does not hinder the approval."


def effect_of(kind: FindingKind, policy: str) -> Effect:
    """What follows from a finding under a job's policy."""
    if kind in _OF_THE_MESSAGE:
        return Effect.REFUSE
    if kind in _OF_RECIPIENTS:
        return Effect.REFUSE if policy == "refuse" else Effect.FAIL
    if kind is FindingKind.BLANK_FIELD:
        return {"refuse": Effect.REFUSE, "fail": Effect.FAIL}.get(policy, Effect.NOTE)
    if kind in (FindingKind.UNKNOWN_FIELD, FindingKind.UNREAD_DATE):
        return Effect.REFUSE if policy == "refuse" else Effect.NOTE
    return Effect.NOTE


def merged(looks: Iterable[Look]) -> tuple[Finding, ...]:
    """The findings of all looks together, equal ones added up; a field that no recipient has is found here, when all are in,
    with those for whom it would be printed. Remarks on the list stay in their order."""
    found: dict[tuple[FindingKind, str], Finding] = {}
    mentioned: set[str] = set()
    seen: set[str] = set()
    for look in looks:
        mentioned.update(look.mentioned)
        seen.update(look.seen)
        for finding in look.findings:
            key = finding.kind, finding.about
            known = found.get(key)
            found[key] = finding if known is None else replace(
                known, count=known.count + finding.count, examples=(*known.examples, *finding.examples)[:EXAMPLES_MAX])
    for name in mentioned - seen:
        blank = found.pop((FindingKind.BLANK_FIELD, name), Finding(FindingKind.BLANK_FIELD, name))
        found[FindingKind.UNKNOWN_FIELD, name] = replace(blank, kind=FindingKind.UNKNOWN_FIELD)
    order = list(FindingKind)
    return tuple(sorted(found.values(), key=lambda one: (
        order.index(one.kind), -one.count, "" if one.kind is FindingKind.LIST_REMARK else one.about)))


def told(finding: Finding) -> str:
    """The finding as a sentence."""
    match finding.kind:
        case FindingKind.BLANK_FIELD:
            return f"The field “{finding.about}” is blank."
        case FindingKind.UNKNOWN_FIELD:
            return f"The message uses the field “{finding.about}”, which no recipient has. Is the name spelt as in the list?"
        case FindingKind.UNREAD_DATE:
            return (f"What “{finding.about}” holds may be two days, or is none: it is printed as it stands. Write a date as "
                    "2026-07-31.")
        case _:
            return finding.about

"""What a personalised message costs: compiled once and joined, against everyone else building the same.

    python bench/message.py [--json]

The sample message with the header fields of a bulk mailing, at 2, 10 and 50 KB: 14 personal values, each in text and HTML, some
outside ASCII; and the same with conditions, a loop and filters ("rich"). Each way builds it for recipients whose values differ,
on one core, in turns: a batch of ours, a batch of each other. CPU time; medians over the rounds, ratios within each round.
EmailMessage is given texts that are filled in already, so it is measured at building the message alone.

All ways are first compared with one another (`builders.agree`). The signatures follow (`signing.py`).
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from dataclasses import dataclass

import builders
import signing
from builders import SizedMessage, Way
from harness import Figure, report

ROUNDS = 15
OURS, CHECKED = "ours", "ours, verified"
EMAIL, JINJA2_EMAIL, BY_HAND = "EmailMessage", "Jinja2 + EmailMessage", "Jinja2, MIME by hand"
WAYS: dict[str, Way] = {OURS: builders.ours, CHECKED: builders.ours_checked, EMAIL: builders.email_message,
                        JINJA2_EMAIL: builders.jinja2_and_email_message, BY_HAND: builders.jinja2_by_hand}
PER_ROUND = {OURS: 1_000, CHECKED: 500, EMAIL: 20, JINJA2_EMAIL: 20, BY_HAND: 100}
WARM_UP = 2_000  # more recipients than values are remembered: what is measured is the middle of a large job
TARGETS_US = {10: 25, 50: 35}
TARGET_CHECKED_US = 45  # at 10 KB
TARGET_RATIO = 150
TARGET_RICH_RATIO = 15


@dataclass(frozen=True)
class Costs:
    """CPU time of one message in each round, by way."""

    size: str
    us: dict[str, list[float]]

    def median(self, way: str) -> float:
        return statistics.median(self.us[way])

    def ratio(self, way: str) -> float:
        """How many times as long as ours it takes."""
        return statistics.median(theirs / ours for ours, theirs in zip(self.us[OURS], self.us[way], strict=True))


def costs(sized: SizedMessage, kilobytes: int) -> Costs:
    builders.agree(sized, WAYS)
    octets = len(builders.ours(sized)(next(builders.people(sized, 0, 1))))
    position = 0
    us: dict[str, list[float]] = {name: [] for name in WAYS}

    def batch(way: Way, count: int) -> float:
        nonlocal position
        people = list(builders.people(sized, position, count))
        position += count
        build = way(sized)
        gc.collect()
        started = time.process_time()
        for person in people:
            build(person)
        return (time.process_time() - started) / count * 1e6

    batch(builders.ours, WARM_UP)
    for _ in range(ROUNDS):
        for name, way in WAYS.items():
            us[name].append(batch(way, PER_ROUND[name]))
    return Costs(f"{kilobytes} KB ({octets:,} bytes)", us)


def of_fields(kilobytes: int) -> list[Figure]:
    """The message that only names fields."""
    found = costs(builders.plain(kilobytes), kilobytes)
    cost, checked = found.median(OURS), found.median(CHECKED)
    names = f"CPU for a message of {found.size}", f"CPU, built and verified, {found.size}"
    return [
        Figure.at_most("G4", names[0], cost, "us", TARGETS_US[kilobytes]) if kilobytes in TARGETS_US
        else Figure.plain("G4", names[0], cost, "us"),
        Figure.at_most("G4", names[1], checked, "us", TARGET_CHECKED_US) if kilobytes == 10
        else Figure.plain("G4", names[1], checked, "us"),
        Figure.at_least("G4", f"rate at {kilobytes} KB", found.ratio(EMAIL), "x", TARGET_RATIO, EMAIL),
        Figure.plain("G4", f"rate at {kilobytes} KB", found.ratio(JINJA2_EMAIL), "x", JINJA2_EMAIL),
        Figure.plain("G4", f"rate at {kilobytes} KB", found.ratio(BY_HAND), "x", BY_HAND),
    ]  # fmt: skip


def of_conditions(kilobytes: int) -> list[Figure]:
    """The rich message; EmailMessage is given the texts that Jinja2 made of it."""
    found = costs(builders.rich(kilobytes), kilobytes)
    name = f"rate at {kilobytes} KB, rich"
    return [
        Figure.plain("G4", f"CPU for a rich message of {found.size}", found.median(OURS), "us"),
        Figure.plain("G4", f"CPU, built and verified, rich, {found.size}", found.median(CHECKED), "us"),
        Figure.at_least("G4", name, found.ratio(EMAIL), "x", TARGET_RICH_RATIO, f"{EMAIL}, given the text"),
        Figure.plain("G4", name, found.ratio(JINJA2_EMAIL), "x", JINJA2_EMAIL),
        Figure.plain("G4", name, found.ratio(BY_HAND), "x", BY_HAND),
    ]


def measure() -> list[Figure]:
    sizes = (2, 10, 50)
    return [figure for one in (of_fields, of_conditions) for kilobytes in sizes for figure in one(kilobytes)]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", action="store_true", help="print one JSON object per figure and line")
    report(measure() + signing.measure(), arguments.parse_args().json)


if __name__ == "__main__":
    main()

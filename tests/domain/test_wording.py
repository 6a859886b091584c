from __future__ import annotations

import pytest

from postroom.domain.wording import counted, duration, ended


def test_what_is_counted_agrees_with_its_number() -> None:
    assert [counted(n, "recipient") for n in (0, 1, 1_204)] == ["0 recipients", "1 recipient", "1,204 recipients"]
    assert (counted(1, "is", "are"), counted(3, "is", "are")) == ("1 is", "3 are")


@pytest.mark.parametrize(("said", "sentence"), [("Wrong date?", "Wrong date?"), ("lunch", "lunch."), ("The end. ", "The end."),
                                                ("Stop!", "Stop!"), ("and so on…", "and so on…")])
def test_anybodys_words_end_as_a_sentence_once(said: str, sentence: str) -> None:
    assert ended(said) == sentence


@pytest.mark.parametrize(("seconds", "said"), [
    (0, "1 s"), (89.4, "89 s"), (89.6, "1 min"), (120, "2 min"), (89 * 60, "89 min"), (5_400, "2 h"), (775.2 * 3_600, "32 days"),
    (47.4 * 3_600, "47 h"), (48 * 3_600, "2 days")])
def test_a_duration_is_rounded_as_a_person_would_say_it(seconds: float, said: str) -> None:
    assert duration(seconds) == said

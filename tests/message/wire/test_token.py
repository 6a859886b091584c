"""Tokens name one recipient of one job, for one purpose, and only the account's own key makes them."""

from __future__ import annotations

import random
import string
from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest

from postroom.message.wire.token import Tokens, read_unsubscribe

KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))
FORGERIES = 10_000


def is_accepted(token: str, key: bytes = KEY) -> bool:
    claimed = read_unsubscribe(token)
    return claimed is not None and claimed.is_genuine(key)


@pytest.mark.parametrize(("job_id", "position"), [(1, 0), (1, 1), (7, 2_000_000), (2**40 - 1, 2**24 - 1)])
def test_a_token_says_whom_it_is_about_and_is_genuine(job_id: int, position: int) -> None:
    token = Tokens(KEY, job_id).unsubscribe(position)
    claimed = read_unsubscribe(token)
    assert claimed is not None
    assert (claimed.job_id, claimed.position, claimed.is_genuine(KEY)) == (job_id, position, True)
    assert len(token) == 32
    assert set(token) <= set(string.ascii_letters + string.digits + "-_")


def test_a_token_of_an_old_message_works_for_ever() -> None:
    """Whoever changes how tokens are made breaks the links in every message that was ever sent."""
    assert Tokens(KEY, 7).unsubscribe(42) == "AAAAAAcAACrVJWXIoxLr4jXQe-sQqlB5"
    assert Tokens(KEY, 7).bounce(42) == "000000000700002ae25f20eef51b8ebd427564f7d26794cc"


def test_every_recipient_job_account_and_purpose_has_a_token_of_its_own() -> None:
    tokens = [Tokens(key, job).unsubscribe(position) for key in (KEY, OTHER_KEY) for job in (1, 2) for position in range(500)]
    assert len({token[11:] for token in tokens}) == len(tokens), "the codes differ too, not only the numbers before them"
    assert not is_accepted(tokens[0], OTHER_KEY)


def test_who_sees_an_envelope_sender_cannot_unsubscribe_with_it() -> None:
    bounce = Tokens(KEY, 1).bounce(1)
    assert bounce == bounce.lower(), "servers change the case of a local part"
    assert not is_accepted(urlsafe_b64encode(bytes.fromhex(bounce)).decode())


@pytest.mark.parametrize("spelling", [
    lambda token: token + "=", lambda token: token + "====", lambda token: token + "!", lambda token: "." + token,
    lambda token: token[:10] + " " + token[10:], lambda token: token + "\n", lambda token: token.swapcase(),
    lambda token: token[:-1], lambda token: token + "A", lambda token: "", lambda token: "%",
    lambda token: "\N{KELVIN SIGN}" * 32, lambda token: "\udcff" * 32, lambda token: "A" * 100_000,
])
def test_a_genuine_token_in_any_other_spelling_is_none(spelling) -> None:
    assert not is_accepted(spelling(Tokens(KEY, 7).unsubscribe(42)))


def test_no_forged_token_is_accepted() -> None:
    """Random octets, genuine numbers with a random code, and genuine tokens with one bit turned."""
    chance, tokens = random.Random(20261124), Tokens(KEY, 7)
    for position in range(1, FORGERIES + 1):
        genuine = urlsafe_b64decode(tokens.unsubscribe(position))
        turned = (int.from_bytes(genuine, "big") ^ (1 << chance.randrange(192))).to_bytes(24, "big")
        for forged in (chance.randbytes(24), genuine[:8] + chance.randbytes(16), turned):
            assert not is_accepted(urlsafe_b64encode(forged).decode())

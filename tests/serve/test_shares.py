"""Clients are above their share if they send more than twice their fair share."""

from collections import Counter

import pytest

from pydns.serve.shares import Shares


@pytest.mark.parametrize(
    ("datagrams", "greedy"),
    [
        pytest.param("a" * 64, "", id="one alone"),
        pytest.param("a" * 42 + "b" * 22, "", id="two"),
        pytest.param("a" * 50 + "b" * 14, "a", id="one of two"),
        pytest.param("abcdefgh" * 8, "", id="many that are equal"),
        pytest.param("abcdefgh" * 4 + "a" * 32, "a", id="more than twice the fair share"),
        pytest.param("abcdefgh" * 7 + "a" * 8, "", id="less than that"),
        pytest.param("abcdefgh" * 2 + "ab" * 24, "ab", id="two of many"),
    ],
)
def test_a_client_with_more_than_twice_its_fair_share_is_above_its_share(datagrams: str, greedy: str) -> None:
    shares = Shares()
    senders = [each.encode() for each in datagrams]
    shares.count(senders)
    assert not shares.greedy
    shares.judge()
    assert shares.greedy == {each.encode() for each in greedy}


def test_a_client_with_few_datagrams_is_never_above_its_share() -> None:
    shares = Shares()
    for turn in range(50):
        shares.count([b"%d" % (turn * 60 + number) for number in range(60)] + [b"often"] * 4)
        shares.judge()
        assert not shares.greedy


def test_an_earlier_client_still_affects_the_fair_share() -> None:
    shares = Shares()
    shares.count([b"a"] * 1000)
    assert not shares.greedy
    shares.count([b"b"])
    for _ in range(10):
        shares.count([b"a"] * 64)
        shares.judge()
        assert shares.greedy == {b"a"}


def test_a_client_that_stops_is_forgotten() -> None:
    shares = Shares()
    shares.count([b"a"] * 128)
    counts = Counter[bytes]()
    for _ in range(10):
        shares.count([b"b", b"c", b"d", b"e"] * 32)
        counts.update(shares.greedy)
    assert counts[b"a"] < 3
    assert not shares.greedy

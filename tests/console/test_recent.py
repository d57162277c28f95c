"""Recent queries in the console: which queries a filter shows, which names are the busiest, and which queries search
lists waste.
"""

import dns.flags
import dns.message
import dns.name
import dns.rrset
import pytest

from pydns.console.recent import KEPT, KEPT_S, TOP_S, Recent, Top, Wanted, Wasted
from pydns.dns.address import parse_address
from pydns.ring.queries import Query, Source, read

NOW = 1000.0
DOMAIN = b"\7cluster\5local\0"
DB, BATCH = "10.1.0.7", "10.1.0.8"


def query(
    name: str,
    client: str = DB,
    *,
    rcode: str = "NOERROR",
    answers: int = 1,
    came: float = NOW - 1,
    spent_s: float = 0.001,
    source: Source = Source.TABLE,
) -> Query:
    """Return a query as the ring's reader returns it."""
    reply = dns.message.make_response(dns.message.make_query(dns.name.from_text(name), "A"))
    reply.set_rcode(dns.rcode.from_text(rcode))
    reply.answer += [dns.rrset.from_text(name, 5, "IN", "A", "10.96.0.1")] * answers
    message = reply.to_wire()
    address = parse_address(client)
    return Query(came, spent_s, address, False, len(message), read(message), source, "", message)


def nobody(_: bytes) -> None:
    return None


def who(address: bytes) -> str | None:
    return "data/db-0" if address == parse_address(DB) else None


def shown(recent: Recent, wanted: Wanted = Wanted(), after: int = 0) -> list[str]:  # noqa: B008
    return [line.name for line in recent.lines(after, wanted, who)]


def denied(name: str, client: str = DB, came: float = NOW - 1) -> Query:
    return query(name, client, rcode="NXDOMAIN", answers=0, came=came)


def test_the_newest_query_comes_first_and_is_sent_once() -> None:
    recent = Recent()
    recent.add([query("a."), query("b.")])
    assert shown(recent) == ["b.", "a."]
    last = recent.last
    recent.add([query("c.")])
    assert shown(recent, after=last) == ["c."]
    assert shown(recent, after=recent.last) == []


def test_the_kept_queries_are_limited_in_number_and_age() -> None:
    recent = Recent()
    one = query("a.", came=NOW)
    recent.add([one] * (KEPT + 10))
    assert len(recent._kept) == KEPT
    recent.forget(NOW + KEPT_S + 1)
    assert shown(recent) == []
    recent.add([one] * 500)
    assert len(shown(recent)) == 100


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (Wanted(), ["slow.", "dead.", "no.", "web.shop."]),
        (Wanted(text="shop"), ["web.shop."]),
        (Wanted(text="10.1.0.8"), ["dead."]),
        (Wanted(text="data/db"), ["slow.", "no.", "web.shop."]),
        (Wanted(result="NXDOMAIN"), ["no."]),
        (Wanted(result="failed"), ["dead."]),
        (Wanted(slow_s=0.1), ["slow."]),
        (Wanted(text="shop", result="SERVFAIL"), []),
    ],
)
def test_a_filter_shows_only_the_wanted_queries(wanted: Wanted, names: list[str]) -> None:
    recent = Recent()
    recent.add(
        [
            query("Web.Shop."),
            denied("no."),
            query("dead.", BATCH, rcode="SERVFAIL", answers=0),
            query("slow.", spent_s=0.2),
        ]
    )
    assert [name.lower() for name in shown(recent, wanted)] == names


def test_the_busiest_names_and_clients_of_the_last_minute() -> None:
    recent = Recent()
    assert recent.top(NOW, nobody, [DOMAIN]) == Top()
    recent.add([query("old.", came=NOW - TOP_S - 1)])
    recent.add([query("WEB.shop."), query("web.shop."), denied("gone.", BATCH)])
    top = recent.top(NOW, who, [DOMAIN])
    assert top.queries == 3
    assert [(row.text, row.queries, row.denied) for row in top.names] == [("web.shop.", 2, 0), ("gone.", 1, 1)]
    assert [(row.text, row.more, row.denied) for row in top.clients] == [("data/db-0", DB, 0), (BATCH, "", 1)]


def test_names_of_a_walk_that_were_denied_before_the_answer_are_wasted() -> None:
    recent = Recent()
    suffixes = ("shop.svc.cluster.local.", "svc.cluster.local.", "cluster.local.")
    for _ in range(3):
        recent.add([denied(f"www.example.com.{suffix}") for suffix in suffixes])
        recent.add([query("www.example.com.")])
    recent.add([denied("web.b.a.svc.cluster.local.", BATCH), query("web.b.svc.cluster.local.", BATCH)])
    assert recent.top(NOW, nobody, [DOMAIN]).wasted == (
        Wasted("www.example.com.", 3, 9),
        Wasted("web.b.svc.cluster.local.", 1, 1),
    )


def test_a_message_without_a_question_is_shown_and_breaks_nothing() -> None:
    recent = Recent()
    recent.add([Query(NOW, 0.0, bytes(4), True, 3, read(b"abc"), Source.NOBODY, "", b"abc")])
    (line,) = recent.lines(0, Wanted(), nobody)
    assert (line.name, line.type, line.result, line.is_stream) == ("-", "-", "no reply", True)
    assert recent.top(NOW, nobody, [DOMAIN]).queries == 1

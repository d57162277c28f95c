"""Each recent query has the question, the result and the origin of the answer."""

import random

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from pydns.dns import name
from pydns.dns.message import Rcode
from pydns.ring.layout import Origin, Record, Turn
from pydns.ring.queries import Query, Source, queries, read

CLIENT = b"\x0a\0\0\1"


def reply(rcode: Rcode = Rcode.NOERROR, flags: int = 0, *, answer: str = "", authority: str = "") -> bytes:
    query = dns.message.make_query("Web.example.", "A", use_edns=rcode is Rcode.BADVERS)
    made = dns.message.make_response(query)
    made.set_rcode(dns.rcode.Rcode(rcode))
    made.flags |= flags
    for section, text in ((made.answer, answer), (made.authority, authority)):
        if text:
            owner, ttl_s, rdclass, rtype, rdata = text.split(maxsplit=4)
            section.append(dns.rrset.from_text(owner, int(ttl_s), rdclass, rtype, rdata))
    return made.to_wire()


ADDRESS = "web.example. 5 IN A 10.0.0.1"
SOA = "example. 5 IN SOA ns.example. admin.example. 1 2 3 4 5"
NAMESERVER = "example. 5 IN NS ns.example."
AA, TC = dns.flags.AA, dns.flags.TC


CASES = {
    "a record of the table": (reply(Rcode.NOERROR, AA, answer=ADDRESS), "NOERROR", Source.TABLE),
    "a name that the table denies": (reply(Rcode.NXDOMAIN, AA, authority=SOA), "NXDOMAIN", Source.DENIAL),
    "a type that the table denies": (reply(Rcode.NOERROR, AA, authority=SOA), "NODATA", Source.DENIAL),
    "a cached record": (reply(Rcode.NOERROR, answer=ADDRESS), "NOERROR", Source.CACHE),
    "a cached denial of a type": (reply(Rcode.NOERROR, authority=SOA), "NODATA", Source.CACHE),
    "a cached denial of a name": (reply(Rcode.NXDOMAIN, authority=SOA), "NXDOMAIN", Source.CACHE),
    "a referral": (reply(Rcode.NOERROR, authority=NAMESERVER), "NODATA", Source.TABLE),
    "a truncated reply": (reply(Rcode.NOERROR, TC), "NOERROR", Source.CACHE),
    "a refusal": (reply(Rcode.REFUSED), "REFUSED", Source.PYDNS),
    "a failure": (reply(Rcode.SERVFAIL), "SERVFAIL", Source.PYDNS),
    "an unknown version of EDNS": (reply(Rcode.BADVERS), "BADVERS", Source.PYDNS),
    "a query without a reply": (dns.message.make_query("web.example.", "A").to_wire(), "no reply", Source.NOBODY),
    "too few octets": (b"short", "no reply", Source.NOBODY),
}


@pytest.mark.parametrize("case", CASES)
def test_result_and_source_of_a_message(case: str) -> None:
    message, result, source = CASES[case]
    facts = read(message)
    assert (facts.result, facts.source) == (result, source)
    if len(message) > 12:
        assert (name.to_text(facts.qname).lower(), facts.type_text) == ("web.example.", "A")


def record(messages: list[bytes], origins: list[int] | None = None) -> Record:
    size = len(messages)
    turns, lengths = [Turn(5.0, 0.1, size)], [len(each) for each in messages]
    return Record(False, turns, [CLIENT] * size, messages, lengths, origins or [0] * size, [""] * size)


def test_the_origin_that_the_worker_stored_wins_over_the_reply() -> None:
    message = reply(answer=ADDRESS)
    origins = [Origin.UNKNOWN, Origin.RULE, Origin.CACHE, Origin.STALE, Origin.UPSTREAM]
    found = queries([record([message] * 5, [*origins])], 0.0)
    wanted = [Source.CACHE, Source.POLICY, Source.CACHE, Source.STALE, Source.UPSTREAM]
    assert [query.source for query in found] == wanted


def test_a_dropped_query_has_no_source_even_if_a_rule_dropped_it() -> None:
    (query,) = queries([record([dns.message.make_query("web.example.", "A").to_wire()], [Origin.RULE])], 0.0)
    assert query.source is Source.NOBODY


def test_times_are_seconds_since_1970_and_older_queries_are_left_out() -> None:
    message = reply(answer=ADDRESS)
    found: list[Query] = list(queries([record([message, b"", message])], 1000.0, since=1005.0))
    assert [(query.came, query.size, query.client) for query in found] == [(1005.0, len(message), CLIENT)] * 2
    assert not list(queries([record([message])], 1000.0, since=1005.5))


@pytest.mark.parametrize("seed", range(10))
def test_no_message_raises_an_exception(seed: int) -> None:
    chance = random.Random(seed)
    message = reply(Rcode.NOERROR, AA, answer=ADDRESS, authority=NAMESERVER)
    for _ in range(500):
        changed = bytearray(message[: chance.randrange(len(message) + 1)])
        for _ in range(chance.randrange(6)):
            if changed:
                changed[chance.randrange(len(changed))] = chance.choice([0, 63, 64, 192, 255])
        facts = read(bytes(changed))
        assert facts.result
        assert not facts.qname or name.from_text(name.to_text(facts.qname)) == facts.qname

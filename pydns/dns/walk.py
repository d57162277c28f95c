"""Models of the resolvers in pods: which names a resolver asks for in a lookup, in which order, and when it stops.

A pod's resolver has a list of search domains and the option `ndots`. A name with fewer dots than `ndots` is asked for
below each search domain first, and then as it is written. The table shows what each resolver does after a reply. Its
last row shows which names the resolver tries if a name has enough dots:

| reply                        | glibc               | musl                        | Go                  |
| ---------------------------- | ------------------- | --------------------------- | ------------------- |
| NXDOMAIN                     | next name           | next name                   | next name           |
| NODATA                       | next name           | end: no address             | next name           |
| NXDOMAIN in one family alone | other family counts | next name                   | other family counts |
| SERVFAIL                     | next name           | end: try again              | next name           |
| REFUSED and other errors     | the name itself     | end: failure                | next name           |
| no reply                     | the name itself     | end: try again              | next name           |
| the name had enough dots     | search domains too  | no search domains           | search domains too  |

Sources: `__res_context_search` in resolv/res_query.c of glibc, `name_from_dns_search` in network/lookup_name.c of musl,
`nameList` and `goLookupIPCNAMEOrder` in net/dnsclient_unix.go of Go. tests/clients compares the models with the real
resolvers. This module knows no table and no sockets: the caller answers the questions.
"""

from collections.abc import Callable, Sequence
from enum import Enum
from typing import NamedTuple

from pydns.dns import name
from pydns.dns.rrset import AAAA, A

NDOTS = 5  # the value of `ndots` that the kubelet writes into a pod's resolv.conf
MOST_DOMAINS = 32  # the maximum number of search domains; the kubelet has the same limit


class Resolver(Enum):
    """A resolver that this module models."""

    GLIBC = "glibc"
    MUSL = "musl"
    GO = "go"


class Outcome(Enum):
    """What a resolver learns from a reply, or from the lack of a reply."""

    ANSWER = "an answer"
    NODATA = "NODATA"
    NXDOMAIN = "NXDOMAIN"
    SERVFAIL = "SERVFAIL"
    ERROR = "an error"  # REFUSED, NOTIMP or FORMERR
    SILENCE = "no reply"


class End(Enum):
    """What a lookup returns to the application."""

    FOUND = "found"
    NOT_FOUND = "not found"
    NO_DATA = "no address"
    TRY_AGAIN = "temporary failure"
    FAILED = "failure"


class Searching(NamedTuple):
    """The options in a pod's resolv.conf that change a lookup."""

    domains: tuple[bytes, ...]  # the search domains, in lower case
    ndots: int = NDOTS


class Asked(NamedTuple):
    """A name that a resolver asks for in a lookup, and the outcome for each type."""

    qname: bytes
    outcomes: tuple[Outcome, ...]  # one outcome for each type, in the order of `qtypes`


class Walk(NamedTuple):
    """A whole lookup: all names that the resolver asked for, in order, and the end."""

    asked: tuple[Asked, ...]
    end: End


Ask = Callable[[bytes, int], Outcome]  # name and type -> outcome


def walk(
    resolver: Resolver, qname: bytes, is_absolute: bool, searching: Searching, qtypes: Sequence[int], ask: Ask
) -> Walk:
    """Return the lookup of a name.

    `qtypes` are the types that the resolver asks for at the same time: A and AAAA, or a single type. `is_absolute`
    means that the name is written with a final dot. Names longer than 255 octets are left out, as in resolvers. The
    model contains no cache and no repeated queries.
    """
    model = _MODELS[resolver]
    asked: list[Asked] = []

    def outcome_of(each: bytes) -> tuple[Outcome, ...]:
        asked.append(Asked(each, tuple([ask(each, qtype) for qtype in qtypes])))
        return asked[-1].outcomes

    end = model(qname, is_absolute, searching, qtypes, outcome_of)
    return Walk(tuple(asked), end)


def candidates(qname: bytes, is_absolute: bool, searching: Searching, resolver: Resolver) -> list[bytes]:
    """Return all names that a resolver may ask for in a lookup, in order."""
    if is_absolute:
        return [qname]
    below = [qname[:-1] + domain for domain in searching.domains[:MOST_DOMAINS]]
    listed = [each for each in below if len(each) <= name.MAX_NAME and each != qname]
    if _dots(qname) < searching.ndots:
        return [*listed, qname]
    return [qname] if resolver is Resolver.MUSL else [qname, *listed]


def _dots(qname: bytes) -> int:
    return max(len(name.labels_of(qname)) - 1, 0)


_OutcomeOf = Callable[[bytes], tuple[Outcome, ...]]


def _glibc(
    qname: bytes, is_absolute: bool, searching: Searching, _qtypes: Sequence[int], outcome_of: _OutcomeOf
) -> End:
    listed = candidates(qname, is_absolute, searching, Resolver.GLIBC)
    # If the name itself comes first and nothing is found, the outcome of the name itself counts.
    is_first = listed[0] == qname
    ends: list[End] = []
    while listed:
        each = listed.pop(0)
        outcome = _of_glibc(outcome_of(each))
        ends.append(_END_OF[outcome])
        if outcome is Outcome.ANSWER:
            return End.FOUND
        if each != qname and outcome in (Outcome.ERROR, Outcome.SILENCE):
            listed = [] if is_first else listed[-1:]  # skip the remaining search domains, but not the name itself
    if is_first:
        return ends[0]
    below = ends[:-1]
    return End.NO_DATA if End.NO_DATA in below else End.TRY_AGAIN if End.TRY_AGAIN in below else ends[-1]


def _of_glibc(outcomes: Sequence[Outcome]) -> Outcome:
    if Outcome.ANSWER in outcomes:
        return Outcome.ANSWER
    return next((each for each in outcomes if each is not Outcome.NODATA), Outcome.NODATA)


def _musl(qname: bytes, is_absolute: bool, searching: Searching, qtypes: Sequence[int], outcome_of: _OutcomeOf) -> End:
    for each in candidates(qname, is_absolute, searching, Resolver.MUSL):
        outcome = _of_musl(outcome_of(each), qtypes)
        if outcome is not Outcome.NXDOMAIN:
            return _END_OF[outcome]
    return End.NOT_FOUND


def _of_musl(outcomes: Sequence[Outcome], qtypes: Sequence[int]) -> Outcome:
    """Return the outcome of a name for musl, which reads the reply for AAAA first and stops at a failure."""
    by_type = dict(zip(qtypes, outcomes, strict=True))
    in_order = [by_type.pop(each) for each in (AAAA, A) if each in by_type] + list(by_type.values())
    for outcome in in_order:
        if outcome not in (Outcome.ANSWER, Outcome.NODATA):
            return outcome
    return Outcome.ANSWER if Outcome.ANSWER in in_order else Outcome.NODATA


def _go(qname: bytes, is_absolute: bool, searching: Searching, _qtypes: Sequence[int], outcome_of: _OutcomeOf) -> End:
    end = End.NOT_FOUND
    for each in candidates(qname, is_absolute, searching, Resolver.GO):
        outcomes = outcome_of(each)
        if Outcome.ANSWER in outcomes:
            return End.FOUND
        failures = [each for each in outcomes if each not in (Outcome.NODATA, Outcome.NXDOMAIN)]
        if failures or each == qname:  # the application gets the error of the name itself
            end = _END_OF[failures[0]] if failures else End.NOT_FOUND
    return end


_END_OF = {
    Outcome.ANSWER: End.FOUND,
    Outcome.NODATA: End.NO_DATA,
    Outcome.NXDOMAIN: End.NOT_FOUND,
    Outcome.SERVFAIL: End.TRY_AGAIN,
    Outcome.ERROR: End.FAILED,
    Outcome.SILENCE: End.TRY_AGAIN,
}
_MODELS = {Resolver.GLIBC: _glibc, Resolver.MUSL: _musl, Resolver.GO: _go}

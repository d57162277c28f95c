"""Replays recent questions against two states of the table, and finds the questions that are answered differently.

Each question is answered once for each class of clients in each state, by the same code as in `explain`. No upstream
is asked. A forwarded question is the same in both states if it goes to the same servers, with the same rules.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from pydns.cli.forwarding import Step
from pydns.cli.reasons import Reply, Witness
from pydns.cli.rehearsal import Rehearsed
from pydns.config.model import AnyServer, Config, ServersFile, ServerSpec
from pydns.dns.address import parse_range
from pydns.dns.networks import Networks
from pydns.dns.rrset import AXFR, CLASS_IN, IXFR, OPT
from pydns.ring.queries import Query, question_end
from pydns.serve.access import rules_of
from pydns.table.client_classes import find_classes
from pydns.table.reader import Reader

MOST = 50_000  # the largest number of questions that are answered
_BATCH = 500  # questions that are answered in one transaction
_UNANSWERED = frozenset([AXFR, IXFR, OPT])  # types that get an error from every configuration


class Question(NamedTuple):
    """A question, and who asked it."""

    qname: bytes  # in lower case
    qtype: int
    client: bytes  # one of the clients with the same class
    queries: int
    clients: int


class Change(NamedTuple):
    """A question that the two states answer differently."""

    question: Question
    before: Reply
    after: Reply


class Replay(NamedTuple):
    """The result."""

    queries: int  # those that were compared
    questions: int
    forwarded: int  # questions that upstreams answer in at least one state
    changes: list[Change]  # the most frequent question first
    left_out: dict[str, int]  # reason -> number of queries that weren't compared


def replay(reader: Reader, before: Rehearsed, after: Rehearsed, queries: Iterable[Query]) -> Replay:
    """Return the questions that the two states answer differently.

    Both states have the cluster's records from the table of `reader`.
    """
    found, left_out = _questions(reader, before.config, after.config, queries)
    found.sort(key=lambda each: (-each.queries, each.qname, each.qtype, each.client))
    for question in found[MOST:]:
        left_out[f"beyond the {MOST:,} most frequent questions"] += question.queries
    del found[MOST:]
    changes: list[Change] = []
    forwarded = 0
    for each in _answers(reader, (before, after), found, has_reasons=False):
        forwarded += each.before.path is not None or each.after.path is not None
        if compared(each.before) != compared(each.after):
            changes.append(each)
    return Replay(sum(each.queries for each in found), len(found), forwarded, _merged(changes), dict(left_out))


def with_reasons(reader: Reader, before: Rehearsed, after: Rehearsed, changes: Sequence[Change]) -> list[Change]:
    """Answer the questions of the changes again from the newest commit, with the reasons of each reply."""
    return list(_answers(reader, (before, after), [each.question for each in changes], has_reasons=True))


def _answers(
    reader: Reader, states: tuple[Rehearsed, Rehearsed], questions: Sequence[Question], *, has_reasons: bool
) -> Iterator[Change]:
    """Yield each question with its reply in each state. The two replies are from the same commit."""
    left = iter(questions)
    tables = [each.over(reader) for each in states]
    witnesses: list[Witness] = []
    while batch := list(islice(left, _BATCH)):
        with reader.transaction() as transaction:
            if not witnesses:
                witnesses = [Witness(each, each.over(transaction), has_reasons=has_reasons) for each in tables]
            else:
                for table, witness in zip(tables, witnesses, strict=True):
                    witness.turn_to(table.over(transaction))
            for each in batch:
                yield Change(each, *[witness.reply_of(each.client, each.qname, each.qtype) for witness in witnesses])


def compared(reply: Reply) -> tuple[Any, ...]:
    """Return what a client notices of a reply. The order of records has no meaning."""
    path = reply.path
    upstream = None
    if path is not None:
        steps = [(_servers(each), each.next, each.failover) for each in path.steps]
        upstream = path.qname, path.qtype, steps, path.derivation, path.leads
    return reply.said, sorted(reply.records), sorted(reply.others), reply.kept_s, reply.reason, upstream


def _servers(step: Step) -> Sequence[object] | frozenset[object]:
    servers = [_identity(each) for each in step.servers]
    return servers if step.is_in_order else frozenset(servers)


def _identity(server: AnyServer) -> object:
    """Return what decides which server answers."""
    assert not isinstance(server, ServersFile)  # the servers in such a file have replaced it
    host = server.ip if isinstance(server, ServerSpec) else server.qname
    return host, server.port, server.transport, server.server_name, server.path


def _merged(changes: Iterable[Change]) -> list[Change]:
    """Combine the changes of clients whose answers to a question change in the same way."""
    found: dict[str, Change] = {}
    for each in changes:
        question = each.question
        key = repr((question.qname, question.qtype, compared(each.before), compared(each.after)))
        if key in found:
            known = found[key].question
            question = known._replace(
                queries=known.queries + question.queries, clients=known.clients + question.clients
            )
        found[key] = each._replace(question=question)
    return sorted(found.values(), key=lambda each: -each.question.queries)


def _questions(
    reader: Reader, before: Config, after: Config, queries: Iterable[Query]
) -> tuple[list[Question], Counter[str]]:
    """Return the different questions, and for each reason the number of queries that it leaves out."""
    left_out: Counter[str] = Counter()
    is_class_same = (before.acl, before.chaos) == (after.acl, after.chaos)
    asked: dict[tuple[bytes, int], Counter[bytes]] = {}
    for query in queries:
        qname, qtype = query.facts.qname.lower(), query.facts.qtype
        if not qname:  # an invalid question gets an error from every configuration
            continue
        end = question_end(query.message)
        if qtype in _UNANSWERED or int.from_bytes(query.message[end - 2 : end]) != CLASS_IN:
            if not is_class_same:
                left_out["zone transfers, and classes other than IN"] += 1
            continue
        asked.setdefault((qname, qtype), Counter())[query.client] += 1
    classes = _client_classes(reader, (before, after), {client for each in asked.values() for client in each})
    found: list[Question] = []
    for (qname, qtype), clients in asked.items():
        grouped: dict[Hashable, Question] = {}
        for client, count in clients.items():
            known = grouped.get(classes[client])
            if known is None:
                grouped[classes[client]] = Question(qname, qtype, client, count, 1)
            else:
                grouped[classes[client]] = known._replace(queries=known.queries + count, clients=known.clients + 1)
        found += grouped.values()
    return found, left_out


def _client_classes(reader: Reader, configs: Sequence[Config], addresses: Iterable[bytes]) -> dict[bytes, Hashable]:
    """Return a class for each address. In each state, all clients of a class get the same answers."""
    rules = [rule for each in configs for rule in rules_of(each)]
    networks = [Networks(map(parse_range, each.dns64.clients)) for each in configs if each.dns64 is not None]
    # The condition of a view may be about any part of an address.
    has_views = any(each.views for each in configs)
    with reader.transaction() as transaction:
        names = transaction.cursor(reader.names)
        return {
            address: (
                find_classes(names, address),
                tuple([rule.is_for_client(address) for rule in rules]),
                tuple([address in each for each in networks]),
                address if has_views else None,
            )
            for address in addresses
        }

"""`pydns diff --live` prints what two workers answer differently, for random clusters and pairs of configurations.

    python -m tests.replayed 10000           # that many questions, from a new seed
    python -m tests.replayed 10000 7         # the questions of seed 7

One worker has the first configuration of a pair, another one the second, and both have the same cluster. Each question
goes to both. `pydns.cli.diff` gets the table of the first worker and the second configuration. It must find the same
questions with the same answers. Upstreams refuse everything, so of two forwarded questions only the first query to an
upstream is compared. The first fault is printed with its seed.
"""

import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import dns.message
import dns.rdatatype
import msgspec
import yaml

from pydns.cli.reasons import FORWARDED
from pydns.cli.rehearsal import OF_CLUSTER, Rehearsal
from pydns.cli.replay import replay
from pydns.config.inputs import read_file
from pydns.config.model import Config, PlainZonal, ServerSpec, ZoneText
from pydns.config.read import Accepted
from pydns.dns import name
from pydns.dns.address import parse_address
from pydns.ring.queries import Query, Source, read
from pydns.table.status import Status, ZoneStatus, encode
from tests.explained import (
    CLIENTS,
    SOA,
    TYPES,
    World,
    asked,
    chosen,
    owners_of,
    random_config,
    random_qname,
    random_world,
    statics_of,
    told,
)
from tests.serve.simulated import Worker
from tests.subject import load

QUESTIONS = 250  # questions to each pair, by all clients
_NAMESERVER = "192.0.2.99"
_APEX = "@ 60 SOA ns admin {} 2 3 4 {}\n@ 60 NS ns\n"
_ZONES = (
    ("corp.example.zone", _APEX.format(1, 30) + "www 60 A 192.0.2.1\nsub 60 NS ns.sub\nns.sub 60 A 192.0.2.2\n"),
    ("corp.example.zone", _APEX.format(1, 30) + "www 60 A 192.0.2.1\nsub 60 NS ns.sub\nns.sub 60 A 192.0.2.3\n"),
    ("corp.example.zone", _APEX.format(2, 20) + "www 60 CNAME web.a.svc.cluster.local.\n*.wild 60 TXT x\n"),
    ("k8s.example.zone", _APEX.format(1, 30) + "www 60 A 192.0.2.1\n"),  # an external zone in some configurations
    ("x.cluster.local.zone", _APEX.format(1, 30) + "www 60 A 192.0.2.1\n"),  # never served
    ("96.10.in-addr.arpa.zone", _APEX.format(1, 30) + "9.9 60 PTR www.example.com.\n"),
)
_IN_ZONES = (
    "www.corp.example.",
    "x.wild.corp.example.",
    "x.sub.corp.example.",
    "none.corp.example.",
    "www.k8s.example.",
    "none.k8s.example.",
    "www.x.cluster.local.",
    "9.9.96.10.in-addr.arpa.",
    "8.9.96.10.in-addr.arpa.",
    "ipv4only.arpa.",
)

Question = tuple[str, str]  # name, type
Answer = tuple[object, ...]


class Fault(NamedTuple):
    """A question whose answers the workers and the verb count differently, before and after the change."""

    seed: int
    question: Question
    workers: dict[tuple[Answer, Answer], int]
    printed: dict[tuple[Answer, Answer], int]
    world: str


def faults(seeds: Sequence[int], count: int) -> Iterator[Fault]:
    """Yield what is wrong about `count` questions to the worlds of the seeds."""
    left = count
    for seed in seeds:
        if left <= 0:
            return
        yield from _faults(seed, min(left, QUESTIONS))
        left -= QUESTIONS


def _faults(seed: int, count: int) -> Iterator[Fault]:
    random = Random(seed)
    # Without these keys, all records of the cluster have one TTL.
    world = random_world(random, without=("external", "domains", "zonal") if random.random() < 0.4 else ())
    first, other = _config(world.config), _config(_changed(random, world.config))
    first, other = (msgspec.structs.replace(each, zone_files=_zone_files(random)) for each in (first, other))
    of_cluster = {field: getattr(first, field) for field in OF_CLUSTER}
    has_one_ttl = not (first.external or first.domains or first.zonal.plain is not PlainZonal.OFF)
    if other.ttl_s is not None and has_one_ttl:
        of_cluster["ttl_s"] = other.ttl_s
    second = msgspec.structs.replace(other, **of_cluster)
    shown = yaml.safe_dump([world._asdict(), repr(other)])
    with tempfile.TemporaryDirectory() as folder:
        nameservers = random.choice([(), (_NAMESERVER,)])
        workers = _workers(Path(folder), world, nameservers, first, second)
        try:
            owners = sorted({each for worker in workers for each in owners_of(worker)})
            questions = sorted({_question(random, owners) for _ in range(count // len(CLIENTS))})
            resolv_conf = Path(folder, "resolv.conf")
            resolv_conf.write_text("".join([f"nameserver {each}\n" for each in nameservers]))
            printed, unknown = _printed(workers[0], other, resolv_conf, questions)
            differing = any(getattr(other, field) != of_cluster[field] for field in OF_CLUSTER)
            assert bool(unknown) == differing, (seed, unknown)
            for question in questions:
                found = printed[question]
                wanted = _by_workers(workers, question)
                for answers in list(found):  # other rules change the answer of the same upstream
                    if answers[0] == answers[1] and answers[0][0] == FORWARDED:
                        del found[answers]
                if found != wanted:
                    yield Fault(seed, question, wanted, found, shown)
        finally:
            for worker in workers:
                worker.close()


def _by_workers(workers: Sequence[Worker], question: Question) -> dict[tuple[Answer, Answer], int]:
    """Return the answers that differ, each with its number of clients."""
    before, after = ([_hashable(asked(worker, each, *question)) for each in CLIENTS] for worker in workers)
    return dict(Counter([(one, other) for one, other in zip(before, after, strict=True) if one != other]))


def _hashable(answer: Answer) -> Answer:
    return tuple([tuple(each) if isinstance(each, list) else each for each in answer])


def _zone_files(random: Random) -> tuple[ZoneText, ...]:
    chosen = dict([*random.choices(_ZONES, k=random.randrange(3)), *random.choices(_ZONES[:3], k=random.randrange(2))])
    return tuple([ZoneText(file, text=text) for file, text in chosen.items()])


def _config(keys: dict[str, Any]) -> Config:
    found = read_file("config.yaml", yaml.safe_dump(keys).encode())
    assert isinstance(found, Accepted), (found, keys)
    return found.config


def _changed(random: Random, config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with some keys of another one. Often, the cluster's keys stay the same."""
    fresh = random_config(random)
    keys = sorted(config.keys() | fresh.keys())
    if random.random() < 0.7:
        keys = [key for key in keys if key not in ("external", "zonal", "domains", "pods")]
    changed = dict(config)
    for key in keys:
        if random.random() < 0.4:
            changed.pop(key, None)
            if key in fresh:
                changed[key] = fresh[key]
    if random.random() < 0.4:
        changed["ttl"] = random.choice((5, 30, 400))
    if "dns64" in changed and changed.get("families") == "ipv4":
        del changed["families"]
    return changed


def _workers(folder: Path, world: World, nameservers: Sequence[str], *configs: Config) -> list[Worker]:
    directory = folder / "zones"
    directory.mkdir()
    zones = {}
    for file, text in world.zones.items():
        (directory / file).write_text(text)
        zones[str(directory / file)] = text
    status = encode(Status(zones=tuple([ZoneStatus(file=file, zone="example.org.") for file in zones])))
    made = []
    for number, config in enumerate(configs):
        upstreams = tuple(map(ServerSpec, nameservers)) if config.upstreams is None else config.upstreams
        effective = msgspec.structs.replace(config, upstreams=upstreams, zone_files=())
        state_dir = folder / str(number)
        zone = load(world.cluster, config={**world.config, **({} if config.ttl_s is None else {"ttl": config.ttl_s})})
        statics = statics_of(zones, config)
        made.append(Worker(state_dir, effective, [], SOA, zone=zone, statics=statics, accepted=config, status=status))
    return made


def _question(random: Random, owners: Sequence[str]) -> Question:
    qname = random.choice(_IN_ZONES) if random.random() < 0.4 else random_qname(random, owners)
    return qname.lower(), random.choice(TYPES)


def _printed(
    worker: Worker, config: Config, resolv_conf: Path, questions: Sequence[Question]
) -> tuple[dict[Question, dict[tuple[Answer, Answer], int]], tuple[str, ...]]:
    """Return the answers that change, each with its number of queries, and what can't be compared."""
    rehearsal = Rehearsal(worker.table, resolv_conf)
    wanted = rehearsal.want(config)
    before, after = rehearsal.check(), rehearsal.rehearse(wanted.config)
    queries = [_query(client, *question) for question in questions for client in CLIENTS]
    found: dict[Question, dict[tuple[Answer, Answer], int]] = {question: {} for question in questions}
    for change in replay(worker.table, before, after, queries).changes:
        asked_for = change.question
        key = name.to_text(asked_for.qname), dns.rdatatype.to_text(dns.rdatatype.RdataType.make(asked_for.qtype))
        answers = _hashable(told(change.before)), _hashable(told(change.after))
        found[key][answers] = found[key].get(answers, 0) + asked_for.queries
    return found, (*wanted.unknown, *before.unknown, *after.unknown)


def _query(client: str, qname: str, qtype: str) -> Query:
    message = dns.message.make_query(qname, qtype).to_wire()
    return Query(0.0, 0.0, parse_address(client), False, 0, read(message), Source.TABLE, "", message)


def main(arguments: Sequence[str]) -> int:
    """Compare as many questions as the first argument says, and print the first fault."""
    count, seeds = chosen(arguments, QUESTIONS)
    for each in faults(seeds, count):
        print(f"seed {each.seed}: {' '.join(each.question)}", each.world, sep="\n")
        print(f"workers {each.workers}", f"printed {each.printed}", sep="\n")
        return 1
    print(f"{count} questions from seed {seeds.start} on: no fault")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Messages from a seed, and the results of pydns for them. The same seed gives the same results in every process.

This module knows neither whether pydns is compiled, nor which results are right.
"""

import random
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import dns.message
import dns.rcode
import dns.rrset
import yaml

from pydns.config.inputs import read_file
from pydns.config.model import Config
from pydns.config.read import Accepted
from pydns.dns.message import Rcode, error_reply, parse_query
from pydns.dns.response import Response, parse_response, rotated, rotation, uncompressed
from pydns.serve.extras import Extras
from pydns.serve.rules import Rules
from tests.hostile_messages import mutated, queries
from tests.running import query
from tests.subject import InProcess, load, load_static
from tests.upstream.world import Server, World

_CASES = Path(__file__).parents[1] / "cases"
_FILES = ("services", "headless", "external-name", "pods-verified", "reverse", "zones", "rules", "zonal")
_CLIENTS = ("127.0.0.1", "10.1.0.7", "10.244.1.1", "fd00::1")
_OPTS = (b"", b"", bytes.fromhex("00 0029 04d0 00000000 0000"), bytes.fromhex("00 0029 0200 00008000 0000"))
_TYPES = (1, 28, 33, 12, 2, 6, 5, 15, 16, 64, 65, 43, 255)
_RECORDS = (
    "www.example. 300 IN A 192.0.2.1", "www.example. 300 IN A 192.0.2.2", "www.example. 60 IN AAAA 2001:db8::1",
    "www.example. 20 IN CNAME cdn.example.", "cdn.example. 30 IN CNAME edge.example.net.",
    "edge.example.net. 5 IN A 192.0.2.3", "www.example. 300 IN MX 10 mail.example.",
    'www.example. 300 IN TXT "text" "more"', "www.example. 300 IN SRV 1 2 443 host.example.",
    "example. 300 IN SOA ns.example. host.example. 1 2 3 4 60", "example. 300 IN NS ns.example.",
    "www.example. 300 IN HTTPS 1 . alpn=h2", "a.example. 300 IN NSEC z.example. A",
    "example. 300 IN DNAME example.org.",
)  # fmt: skip


def results(seed: int) -> Iterator[str]:
    """Yield a line for each of infinitely many messages: the message, and the result of pydns for it."""
    chance = random.Random(seed)
    kinds = [_queries(chance)] * 10 + [_replies(chance)] * 9 + [_forwarded(chance)]
    while True:
        yield next(chance.choice(kinds))


def _result(function: Callable[..., object], *arguments: object) -> object:
    """Return the result of a call, or the type of its exception."""
    try:
        result = function(*arguments)
    except Exception as error:
        return type(error).__name__
    return sorted(result) if isinstance(result, frozenset) else result


def _queries(chance: random.Random) -> Iterator[str]:
    """Yield replies to queries. Some queries are like those of ordinary clients, others have random changes."""
    subjects = [_subject(stem, offered) for stem in _FILES for offered in (False, True)]
    hostile = queries()
    while True:
        subject, asked = chance.choice(subjects)
        message = chance.choice(asked if chance.random() < 0.7 else hostile)
        if chance.random() < 0.5:
            message = mutated(message, chance)
        tcp, client = chance.random() < 0.2, chance.choice(_CLIENTS)
        reply = _result(_respond, subject, message, tcp, client)
        parsed, refusal = _result(parse_query, message), _result(error_reply, message, Rcode.REFUSED)
        yield f"query {message.hex()} {tcp} {client}: {reply!r} {parsed!r} {refusal!r}"


def _respond(subject: InProcess, message: bytes, tcp: bool, client: str) -> object:
    return subject.respond(message, tcp=tcp, client=client)


def _subject(stem: str, offered: bool) -> tuple[InProcess, list[bytes]]:
    """Return a responder with the cluster of a file of cases, and queries for the names in the file.

    `offered` says whether the responder offers recursion.
    """
    file: dict[str, Any] = yaml.safe_load((_CASES / f"{stem}.yaml").read_text())
    flags, config = file.get("flags", []), file.get("config", {})
    zone = load(file["cluster"], flags, file.get("listen", "127.0.0.1"), config)
    # The object stays in a list, so the folder exists until the process ends.
    folder = tempfile.TemporaryDirectory()
    _FOLDERS.append(folder)
    subject = InProcess(Path(folder.name), zone, statics=load_static(file.get("zones", {}), (), flags, config))
    subject.responder.commit.rules = Rules(_config(config))
    subject.responder.configure(offered, Extras())
    origin = file.get("apexes", ["cluster.local."])[0]
    names = {case["ask"].split()[0] for case in file["cases"] if "ask" in case}
    asked = []
    for qname in sorted(each if each.endswith(".") else f"{each}.{origin}" for each in names):
        for qtype in _TYPES:
            for opt in _OPTS:
                plain = query(qname, qtype)
                asked.append(plain[:11] + bytes([bool(opt)]) + plain[12:] + opt)
    return subject, asked


_FOLDERS: list[tempfile.TemporaryDirectory[str]] = []  # these folders are removed when the process ends


def _config(written: dict[str, Any]) -> Config:
    read = read_file("config.yaml", yaml.safe_dump(written).encode())
    assert isinstance(read, Accepted), read
    return read.config


def _replies(chance: random.Random) -> Iterator[str]:
    """Yield what pydns reads from replies of upstreams. Most replies have random changes."""
    # making a message with dnspython takes longer than everything else, so each message is used several times
    exchanges = []
    for qtype in (1, 28, 5, 16, 33, 65, 255):
        question = query("www.example.", qtype)[12:]
        exchanges += [(question, _reply_packet(chance, question)) for _ in range(300)]
    while True:
        asked, packet = chance.choice(exchanges)
        if chance.random() < 0.8:
            packet = mutated(packet, chance)
        response = _result(parse_response, packet, asked)
        further: list[object] = []
        if isinstance(response, Response):
            answer = response.answer
            further = [_result(uncompressed, asked, answer), _result(uncompressed, asked, answer, asked[:-4])]
            places = rotation(answer, response.ttl_offsets)
            further += [rotated(answer.records, places, chance.randrange(4))] if places else []
        yield f"reply {packet.hex()} to {asked.hex()}: {response!r} {further!r}"


def _reply_packet(chance: random.Random, asked: bytes) -> bytes:
    message = dns.message.from_wire(b"\0\1\x81\x80\0\1" + bytes(6) + asked)
    message.set_rcode(dns.rcode.from_text(chance.choice(("NOERROR", "NOERROR", "NOERROR", "NXDOMAIN", "SERVFAIL"))))
    for section in message.sections[1:]:
        for text in chance.sample(_RECORDS, chance.choice((0, 0, 1, 2, 3, 4))):
            owner, ttl_s, rclass, rtype, rdata = text.split(" ", 4)
            section.append(dns.rrset.from_text(owner, int(ttl_s), rclass, rtype, rdata))
    if chance.random() < 0.2:
        message.use_edns(0)
    return message.to_wire()


def _forwarded(chance: random.Random) -> Iterator[str]:
    """Yield answers of a forwarder with three servers. They send replies with random changes, late replies, or none."""
    for seed in count():
        forger = random.Random(seed)

        def forge(reply: bytes, forger: random.Random = forger) -> bytes:
            return mutated(reply, forger) if forger.random() < 0.3 else reply

        servers = [Server(forges=forge), Server(delay_s=0.2, lost=5), Server(silent_about=b"x", knows_edns=False)]
        world = World(servers, seed=seed)
        for number in range(200):
            qname_text = f"{chance.choice('abcxyz')}{chance.randrange(40)}.example"
            client = world.ask(qname_text, number, rtype=chance.choice((1, 28)), flags=chance.choice((0, 1, 4)))
            world.run(chance.choice((0.0, 0.001, 0.3, 2.0)))
            sent = len(world.packets), world.packets[-1:]
            at, answer = world.replies.get(client, (0.0, None))
            if answer is not None:  # compiled code changes an `Rcode` to an int if the annotation is int
                answer = answer._replace(rcode=int(answer.rcode))
            yield f"forwarded {qname_text}: {at} {answer!r} {sent!r} {world.cache.ready.answers!r}"

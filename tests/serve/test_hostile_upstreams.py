"""A running pydns gets thousands of hostile packets from an upstream's address: it answers, and uses none of them."""

import random
import struct
import time
from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest

from pydns.dns import name
from tests.forwarding import Fake, Start, config, flood, lines, told
from tests.upstream import world

FORGED = world.Server(address=b"\6\6\6\6")
OURS = "web.shop.svc.cluster.local"
Mutation = Callable[[bytes, random.Random], bytes]


def flips(reply: bytes, chance: random.Random) -> bytes:
    octets = bytearray(reply)
    for _ in range(chance.randint(1, 8)):
        octets[chance.randrange(2, len(octets))] ^= 1 << chance.randrange(8)
    return bytes(octets)


def cuts(reply: bytes, chance: random.Random) -> bytes:
    return reply[: chance.randrange(len(reply))]


def cuts_question(reply: bytes, chance: random.Random) -> bytes:
    return reply[: chance.randrange(len(reply) - 16)]


def counts(reply: bytes, chance: random.Random) -> bytes:
    return reply[:4] + chance.randbytes(8) + reply[12:]


def noise(reply: bytes, chance: random.Random) -> bytes:
    return reply[:12] + chance.randbytes(chance.randrange(1200))


def noise_after_question(reply: bytes, chance: random.Random) -> bytes:
    return reply[:-16] + chance.randbytes(chance.randrange(1200))


def pointers(reply: bytes, chance: random.Random) -> bytes:
    """Return a reply with a chain of compression pointers of the maximal length, used by as many records as fit."""
    question_end = len(reply) - 16
    owner_of_first = b"\xc0\x0c" + struct.pack("!HHIH", 16, 1, 300, 1022)
    begin = question_end + len(owner_of_first)
    chain = b"".join([(0xC000 | at).to_bytes(2) for at in range(begin - 2, begin + 1020, 2)])
    last = (0xC000 | begin + 1020).to_bytes(2) + struct.pack("!HHIH", 1, 1, 300, 4) + b"\6\6\6\6"
    records = owner_of_first + chain[:1022] + last * 180
    return reply[:6] + struct.pack("!3H", 181, 0, 0) + reply[12:question_end] + records


def loops(reply: bytes, chance: random.Random) -> bytes:
    end = len(reply) - 16
    return reply[:end] + (0xC000 | end + chance.choice([0, 1, 2, 300])).to_bytes(2) + reply[end + 2 :]


def aliases(reply: bytes, chance: random.Random) -> bytes:
    """Return a reply with CNAMEs in a circle, or to many names."""
    names = [name.from_text(f"c{chance.randrange(8)}.example.com") for _ in range(60)]
    records = b"".join([a + struct.pack("!HHIH", 5, 1, 300, len(b)) + b for a, b in pairwise(names)])
    return reply[:6] + struct.pack("!3H", len(names) - 1, 0, 0) + reply[12:-16] + records


def another_question(reply: bytes, chance: random.Random) -> bytes:
    other = name.from_text("bank.example.org")
    return reply[:12] + other + b"\0\1\0\1" + reply[-16:]


def more_names(reply: bytes, chance: random.Random) -> bytes:
    """Return the answer with additional records of other names: of a bank, and of the cluster."""
    records = b"".join(
        [name.from_text(each) + struct.pack("!HHIH", 1, 1, 300, 4) + b"\6\6\6\6" for each in ("bank.example.org", OURS)]
    )
    return reply[:6] + struct.pack("!3H", 3, 0, 0) + reply[12:] + records


def query(reply: bytes, chance: random.Random) -> bytes:
    return reply[:2] + bytes([reply[2] & 0x7F]) + reply[3:]


# The mutations in FALSE can't come from the upstream. The mutations in ODD may come from the upstream, because these
# replies repeat the question in its random case.
FALSE: list[Mutation] = [cuts_question, noise, another_question, query]
ODD: list[Mutation] = [flips, cuts, counts, noise_after_question, aliases, more_names, pointers, loops]


def mutates(mutations: list[Mutation], each: int) -> Callable[[bytes, str], Iterable[bytes]]:
    """Return the script of a server that sends `each` mutated replies, then the right reply."""
    chance = random.Random(1)

    def script(packet: bytes, _: str) -> Iterable[bytes]:
        forged = world.reply_to(packet, FORGED)
        for _number in range(each):
            yield chance.choice(mutations)(forged, chance)
        yield world.reply_to(packet, world.Server())

    return script


def forges(each: int) -> Callable[[bytes, str], Iterable[bytes]]:
    """Return the script of a server that sends `each` replies with wrong ids, then the right reply."""
    chance = random.Random(1)

    def script(packet: bytes, _: str) -> Iterable[bytes]:
        forged = world.reply_to(packet, FORGED)
        own = int.from_bytes(packet[:2])
        for number in range(each):
            yield (own + chance.randrange(1, 0x10000) & 0xFFFF).to_bytes(2) + forged[2:]
            if number % 100 == 99:
                time.sleep(0.001)  # a pause, so that the kernel's buffer has space for the right reply
        yield world.reply_to(packet, world.Server())

    return script


@pytest.mark.parametrize("mutations", [FALSE, ODD], ids=["false", "odd"])
def test_mutated_replies_affect_only_their_own_name(start: Start, fake: Fake, mutations: list[Mutation]) -> None:
    hostile, good = fake(mutates(mutations, 40)), fake(lambda packet, _: [world.reply_to(packet, world.Server())])
    settings = config(good)
    settings["routes"] = {"example.com": {"servers": [f"127.0.0.1:{hostile.port}"]}}
    server = start(settings)
    victims = [f"v{number}.example.com" for number in range(300)]
    others = [f"n{number}.example.org" for number in range(300)]
    found = flood(server, [each for pair in zip(victims, others, strict=True) for each in pair], over_s=2.0)
    assert len(found) == 600
    right = [*others, *victims] if mutations is FALSE else others
    assert {lines(found[qname].message)[0].split()[-1] for qname in right} == {"1.2.3.4"}
    assert lines(told(server, "bank.example.org")) == ["bank.example.org. 300 IN A 1.2.3.4"]
    assert lines(told(server, OURS)) == [f"{OURS}. 5 IN A 10.96.0.10"]
    log = server.stop()
    assert "level=error" not in log, log


def test_replies_with_wrong_ids_are_ignored(start: Start, fake: Fake) -> None:
    server = start(config(fake(forges(1000))))
    victims = [f"v{number}.example.com" for number in range(20)]
    for _ in ("from the upstream", "from the cache"):
        found = flood(server, [*victims, OURS], over_s=0.5)
        assert {qname: lines(each.message)[0].split()[-1] for qname, each in found.items()} == {
            **dict.fromkeys(victims, "1.2.3.4"),
            OURS: "10.96.0.10",
        }
    log = server.stop()
    assert "level=error" not in log, log

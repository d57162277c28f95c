"""Clients ask a running pydns for names outside the cluster. The upstreams are scripted, silent or hostile."""

import socket
import ssl
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest
import trustme

from tests.fakes.upstream import Script
from tests.forwarding import A, Fake, Start, answers, ask, config, errors, lines, told, validating
from tests.running import query
from tests.upstream import world
from tests.waiting import PATIENCE_S, until

WWW = "www.example.com. 300 IN A 1.2.3.4"


def test_cnames_are_followed_through_table_and_upstreams(start: Start, fake: Fake) -> None:
    server = start(config(fake()))
    cases = {
        "wWw.example.com": ("NOERROR", ["wWw.example.com. 300 IN A 1.2.3.4"], "QR RD RA"),
        "nx.example.com": ("NXDOMAIN", [], "QR RD RA"),
        "fails.example.com": ("SERVFAIL", [], "QR RD RA"),
        "ext.shop.svc.cluster.local": (
            "NOERROR",
            ["ext.shop.svc.cluster.local. 5 IN CNAME www.example.com.", WWW],
            "QR AA RD RA",
        ),
        "gone.shop.svc.cluster.local": (
            "NXDOMAIN",
            ["gone.shop.svc.cluster.local. 5 IN CNAME nx.example.com."],
            "QR AA RD RA",
        ),
        "broken.shop.svc.cluster.local": (
            "SERVFAIL",
            ["broken.shop.svc.cluster.local. 5 IN CNAME fails.example.com."],
            "QR AA RD RA",
        ),
        "alias.example.com": ("NOERROR", ["alias.example.com. 300 IN CNAME www.example.com.", WWW], "QR RD RA"),
        "dangling.example.com": ("NXDOMAIN", ["dangling.example.com. 300 IN CNAME nx.example.com."], "QR RD RA"),
        "inward.example.com": (
            "NOERROR",
            [
                "inward.example.com. 300 IN CNAME web.shop.svc.cluster.local.",
                "web.shop.svc.cluster.local. 5 IN A 10.96.0.10",
            ],
            "QR RD RA",
        ),
        "circle.example.com": (
            "NOERROR",
            [
                "circle.example.com. 300 IN CNAME circle2.example.com.",
                "circle2.example.com. 300 IN CNAME circle.example.com.",
            ],
            "QR RD RA",
        ),
        "web.shop.svc.cluster.local": ("NOERROR", ["web.shop.svc.cluster.local. 5 IN A 10.96.0.10"], "QR AA RD RA"),
        "none.shop.svc.cluster.local": ("NXDOMAIN", [], "QR AA RD RA"),
        # No record here, so the query falls through to the upstream.
        "8.8.8.8.in-addr.arpa": ("NOERROR", ["8.8.8.8.in-addr.arpa. 300 IN A 1.2.3.4"], "QR RD RA"),
        "0.96.10.in-addr.arpa": ("NOERROR", [], "QR AA RD RA"),  # NODATA: names of the cluster exist below it
    }
    for tcp in (False, True):
        for qname, wanted in cases.items():
            for _ in ("from upstream", "from the cache"):
                reply = told(server, qname, tcp=tcp)
                got = (dns.rcode.to_text(reply.rcode()), lines(reply), dns.flags.to_text(reply.flags))
                assert got == wanted, qname


def test_a_query_without_rd_is_not_forwarded(start: Start, fake: Fake) -> None:
    upstream = fake()
    server = start(config(upstream))
    told(server, "www.example.com")
    message = dns.message.make_query("www.example.com", "A", use_edns=0)
    message.flags &= ~dns.flags.RD
    reply = dns.message.from_wire(ask(server, message.to_wire(), tcp=False))
    assert (dns.rcode.to_text(reply.rcode()), errors(reply)) == ("REFUSED", [20])
    assert dns.flags.to_text(reply.flags) == "QR RA"


def test_upstreams_get_do_and_cd_but_clients_get_no_options_and_no_ad(start: Start, fake: Fake) -> None:
    def with_ad(packet: bytes, how: str) -> list[bytes]:
        return [reply[:3] + bytes([reply[3] | 0x20]) + reply[4:] for reply in answers(packet, how)]

    upstream = fake(with_ad)
    server = start(config(upstream))
    message = dns.message.make_query("www.example.com", "A", want_dnssec=True)
    message.flags |= dns.flags.CD
    reply = dns.message.from_wire(ask(server, message.to_wire(), tcp=False))
    assert dns.flags.to_text(reply.flags) == "QR RD RA CD"
    assert reply.edns == 0 and reply.ednsflags & dns.flags.DO
    asked = next(each for each in (dns.message.from_wire(p) for p, _ in upstream.asked) if each.flags & dns.flags.CD)
    assert asked.ednsflags & dns.flags.DO
    assert told(server, "www.example.com").edns == -1


def test_the_ad_bit_of_a_trusted_upstream_reaches_clients_that_understand_it(start: Start, fake: Fake) -> None:
    server = start(config(fake(validating)) | {"dnssec": {"trust_ad": ["127.0.0.1"]}})

    def has_ad(qname: str, *, ad: bool = False, do: bool = False, tcp: bool = False) -> bool:
        message = dns.message.make_query(qname, "A", want_dnssec=do)
        message.flags |= dns.flags.AD if ad else 0
        return bool(dns.message.from_wire(ask(server, message.to_wire(), tcp=tcp)).flags & dns.flags.AD)

    for tcp in (False, True):
        for _ in range(4):
            for qname in ("www.example.com", "nx.example.com", "alias.example.com", "dangling.example.com"):
                assert not has_ad(qname, tcp=tcp), qname
                assert has_ad(qname, ad=True, tcp=tcp), qname
                assert has_ad(qname, do=True, tcp=tcp), qname
            for qname in ("ext.shop.svc.cluster.local", "inward.example.com", "web.shop.svc.cluster.local"):
                assert not has_ad(qname, ad=True, do=True, tcp=tcp), f"{qname}: records of ours aren't validated"


def large(packet: bytes, how: str) -> list[bytes]:
    asked = packet[12 : packet.index(b"\0", 12) + 5]
    if how == "udp":
        return [packet[:2] + b"\x83\x80\0\1" + bytes(6) + asked]
    record = b"\xc0\x0c\0\1\0\1\0\0\1\x2c\0\4\x0a\0\0\1"
    return [packet[:2] + b"\x81\x80\0\1\0\xc8" + bytes(4) + asked + record * 200]


def test_a_truncated_answer_is_fetched_by_tcp_and_cut_again_for_a_udp_client(start: Start, fake: Fake) -> None:
    server = start(config(fake(large)))
    over_udp = ask(server, query("big.example.com", A), tcp=False)
    assert over_udp[2] & 0x02 and over_udp[6:12] == b"\0\x1d" + bytes(4)  # 29 whole records fit into 512 octets
    assert len(over_udp) == 12 + 21 + 29 * 16
    over_tcp = ask(server, query("big.example.com", A), tcp=True)
    assert over_tcp[6:8] == b"\0\xc8" and not over_tcp[2] & 0x02


def test_a_reply_over_udp_is_as_long_as_the_client_and_the_configuration_allow(start: Start, fake: Fake) -> None:
    for options, records in (({}, 200), ({"edns": {"max_udp_size": 1232}}, 74)):
        server = start({**config(fake(large)), **options})
        for _ in ("from upstream", "from the cache"):
            message = dns.message.make_query("big.example.com", "A", use_edns=0, payload=8192)
            reply = ask(server, message.to_wire(), tcp=False)
            assert (int.from_bytes(reply[6:8]), bool(reply[2] & 0x02)) == (records, records < 200)


def silent(_: bytes, __: str) -> list[bytes]:
    return []


@pytest.mark.parametrize("bad", ["silent", "dead", "SERVFAIL", "REFUSED"])
def test_no_client_sees_an_error_while_one_of_two_upstreams_fails(start: Start, fake: Fake, bad: str) -> None:
    rcode = {"SERVFAIL": 2, "REFUSED": 5}.get(bad, 0)
    first = fake(silent if bad == "silent" else lambda packet, _: [world.reply_to(packet, world.Server(rcode=rcode))])
    if bad == "dead":
        first.close()
    server = start(config(first, fake()) | {"choice": "fastest"})
    for number in range(30):
        assert lines(told(server, f"n{number}.example.com")) == [f"n{number}.example.com. 300 IN A 1.2.3.4"]


def test_with_every_upstream_down_known_names_are_answered_and_others_fail_at_once(start: Start, fake: Fake) -> None:
    upstream = fake(lambda packet, _: [world.reply_to(packet, world.Server(ttl_s=1))])
    server = start(config(upstream))
    told(server, "seen.example.com")
    upstream.close()
    until(lambda: errors(told(server, "seen.example.com", use_edns=0)))
    reply = told(server, "seen.example.com", use_edns=0)
    assert (lines(reply), errors(reply)) == (["seen.example.com. 30 IN A 1.2.3.4"], [3])
    began = time.monotonic()
    reply = told(server, "unseen.example.com", use_edns=0)
    assert (dns.rcode.to_text(reply.rcode()), errors(reply)) == ("SERVFAIL", [23])
    assert time.monotonic() - began < 3  # well before the deadline of 4 s


def forge(packet: bytes, how: str) -> Iterable[bytes]:
    """Yield many wrong replies, then the right answer."""
    good = answers(packet, how)[0]
    for number in range(200):
        yield bytes([good[0] ^ 1, number]) + good[2:]
    yield good[:13] + b"x" + good[14:]  # a different question
    yield good[:12]
    yield b""
    yield packet
    yield good


UNUSABLE: list[Callable[[bytes], bytes]] = [
    lambda good: good[:-3],
    lambda good: good[:6] + b"\xff\xff" + good[8:],
]


@pytest.mark.parametrize("damage", UNUSABLE, ids=["cut", "counts"])
def test_a_reply_that_cannot_be_used_fails_at_once_and_is_logged(
    start: Start, fake: Fake, damage: Callable[[bytes], bytes]
) -> None:
    server = start(config(fake(lambda packet, how: [damage(answers(packet, how)[0])])))
    began = time.monotonic()
    assert told(server, "www.example.com").rcode() == dns.rcode.SERVFAIL
    assert time.monotonic() - began < 3  # well before the deadline of 4 s
    assert "answer of upstream can't be used" in server.stop()


def test_octets_after_the_end_of_a_reply_are_ignored(start: Start, fake: Fake) -> None:
    server = start(config(fake(lambda packet, how: [answers(packet, how)[0] + b"\xc0\x0c" * 7])))
    assert lines(told(server, "WWW.Example.Com")) == ["WWW.Example.Com. 300 IN A 1.2.3.4"]


@pytest.mark.parametrize("script", [forge, lambda p, h: [r[:12] + r[12:].lower() for r in answers(p, h)]])
def test_forgeries_and_lower_case_do_not_affect_the_client(start: Start, fake: Fake, script: Script) -> None:
    server = start(config(fake(script)))
    assert lines(told(server, "WWW.Example.Com")) == ["WWW.Example.Com. 300 IN A 1.2.3.4"]


def test_a_tcp_upstream_answers_out_of_order_over_one_connection(start: Start, fake: Fake) -> None:
    held: list[bytes] = []

    def reverses(packet: bytes, how: str) -> list[bytes]:
        if len(dns.message.from_wire(packet).question[0].name.labels) < 3:
            return answers(packet, how)
        held.append(packet)
        return [reply for each in reversed(held) for reply in answers(each)] if len(held) == 3 else []

    upstream = fake(reverses)
    server = start(config(upstream, transport="tcp"))
    with socket.create_connection(server.address[:2], timeout=PATIENCE_S) as connection:
        for number in (1, 2, 3):
            message = query(f"n{number}.example.com", A, number)
            connection.sendall(len(message).to_bytes(2) + message)
        stream = connection.makefile("rb")
        replies = [stream.read(int.from_bytes(stream.read(2))) for _ in range(3)]
    assert [reply[1] for reply in replies] == [3, 2, 1]
    assert upstream.connections == 1 and {how for _, how in upstream.asked} == {"tcp"}


def trickle(connection: socket.socket) -> None:
    connection.recv(4096)
    for octet in b"\0\x40" + bytes(60):
        connection.sendall(bytes([octet]))
        time.sleep(0.2)


def half(connection: socket.socket) -> None:
    connection.recv(4096)
    connection.sendall(b"\0\x40\0\1")


@pytest.mark.parametrize("stream", [trickle, half])
def test_a_tcp_upstream_that_does_not_finish_is_asked_again_over_a_second_connection(
    start: Start, fake: Fake, stream: Callable[[socket.socket], None]
) -> None:
    server = start(config(fake(stream=stream), fake(), transport="tcp"))
    assert lines(told(server, "www.example.com")) == [WWW]


def test_questions_of_a_closed_connection_are_asked_over_the_next_one(start: Start, fake: Fake) -> None:
    def one_answer(connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            for number in range(3):
                message = stream.read(int.from_bytes(stream.read(2)))
                if not message:
                    return
                if len(dns.message.from_wire(message).question[0].name.labels) > 2 and number > 1:
                    return
                reply = answers(message)[0]
                connection.sendall(len(reply).to_bytes(2) + reply)

    upstream = fake(stream=one_answer)
    server = start(config(upstream, transport="tcp"))
    for number in range(5):
        assert lines(told(server, f"n{number}.example.com"))
    assert upstream.connections > 1


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.mark.parametrize(("server_name", "trusted"), [("dns.example", True), (None, False), ("other.example", False)])
def test_a_tls_upstream_must_prove_its_name(
    start: Start,
    fake: Fake,
    authority: trustme.CA,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    server_name: str | None,
    trusted: bool,
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("dns.example").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

    def closes_after_two(connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            for _ in range(2):
                message = stream.read(int.from_bytes(stream.read(2)))
                if not message:
                    return
                reply = answers(message)[0]
                connection.sendall(len(reply).to_bytes(2) + reply)

    upstream = fake(tls=context, stream=closes_after_two)
    named = {"server_name": server_name} if server_name else {}
    server = start(config(upstream, transport="tls", **named))
    reply = told(server, "www.example.com")
    assert lines(reply) == ([WWW] if trusted else [])
    if trusted:
        for number in range(3):
            assert lines(told(server, f"n{number}.example.com"))
        assert upstream.resumed > 0


def test_a_server_known_by_name_is_resolved_by_the_table(start: Start, fake: Fake) -> None:
    upstream = fake(lambda packet, _: [world.reply_to(packet, world.Server(address=bytes([127, 0, 0, 1])))])
    server = start(config(upstream) | {"routes": {"corp": {"servers": [f"ns.example.com:{upstream.port}"]}}})
    until(lambda: lines(told(server, "db.corp")))


def test_an_upstream_that_forwards_to_us_is_detected_and_logged(start: Start, fake: Fake) -> None:
    address: list[tuple[str, int]] = []

    def to_pydns(packet: bytes, how: str) -> list[bytes]:
        # The query has a new id and its name is in lower case, as from a forwarder.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(1)
            sock.connect(address[0])
            end = packet.index(b"\0", 12)
            sock.send(b"zz" + packet[2:12] + packet[12:end].lower() + packet[end:])
            return [packet[:2] + (reply := sock.recv(4096))[2:12] + packet[12 : end + 5] + reply[end + 5 :]]

    upstream = fake(lambda packet, how: to_pydns(packet, how) if address else [])
    server = start(config(upstream))
    address.append(server.address[:2])

    def is_detected() -> bool:
        reply = told(server, f"{time.monotonic_ns()}.example.com", use_edns=0)
        return (dns.rcode.to_text(reply.rcode()), errors(reply)) == ("SERVFAIL", [22])

    until(is_detected)
    assert server.stop().count(f'event="upstream sends our queries back to us" upstream=127.0.0.1:{upstream.port}') == 1

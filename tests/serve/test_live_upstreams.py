"""Upstreams and routes change while pydns runs. The tests check what clients and upstreams see."""

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dns.flags
import dns.rcode
import pytest
import yaml

from pydns.config.model import Route, ServerSpec, load
from pydns.dns import name
from pydns.table.reader import Reader
from tests.config.test_inputs import DOCUMENTED
from tests.fakes.upstream import FakeUpstream, Script
from tests.forwarding import CLUSTER, Fake, config, lines, told, validating
from tests.running import Server as Process
from tests.subject import Server
from tests.upstream import world
from tests.waiting import until


def has(address: str, after_s: float = 0.0) -> Script:
    """Return the script of a server that returns this address for every name after `after_s`."""
    answer = world.Server(address=bytes(map(int, address.split("."))))

    def script(packet: bytes, _: str) -> list[bytes]:
        time.sleep(after_s)
        return [world.reply_to(packet, answer)]

    return script


def place(upstream: FakeUpstream) -> str:
    return f"127.0.0.1:{upstream.port}"


class Live:
    """A pydns with a configuration file."""

    def __init__(self, tmp_path: Path, config: Mapping[str, Any]) -> None:
        self._file = tmp_path / "config.yaml"
        self.configure(config)
        self.server = Server(CLUSTER, ["--config", str(self._file)])

    def configure(self, config: Mapping[str, Any]) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(yaml.safe_dump(dict(config)))
        new.replace(self._file)

    def ask(self, qname: str) -> str:
        """Return the address, or the rcode if there is no address."""
        reply = told(self.server, qname)
        return lines(reply)[-1].split()[-1] if reply.answer else dns.rcode.to_text(reply.rcode())

    def wait_for(self, domain: str, wanted: str) -> None:
        """Ask for new names below a domain until they have the wanted address."""
        until(lambda: self.ask(f"n{time.monotonic_ns()}.{domain}") == wanted)


@contextmanager
def asking(live: Live, domain: str) -> Iterator[set[str]]:
    """Let four clients ask for new names all the time, and collect the answers."""
    found: set[str] = set()
    stop = threading.Event()

    def ask_on(client: int) -> None:
        number = 0
        while not stop.is_set():
            found.add(live.ask(f"x{client}-{number}.{domain}"))
            number += 1

    threads = [threading.Thread(target=ask_on, args=(client,)) for client in range(4)]
    for each in threads:
        each.start()
    try:
        yield found
    finally:
        stop.set()
        for each in threads:
            each.join()


def test_upstreams_change_without_a_lost_query(fake: Fake, tmp_path: Path) -> None:
    # Replies are in flight at any time, because each client waits for one.
    first, second = fake(has("192.0.2.1", 0.02)), fake(has("192.0.2.2", 0.02))
    live = Live(tmp_path, {"upstreams": [place(first)]})
    try:
        with asking(live, "example.com") as told:
            for _ in range(2):
                live.configure({"upstreams": [place(second)]})
                live.wait_for("example.org", "192.0.2.2")
                live.configure({"upstreams": [place(first)]})
                live.wait_for("example.org", "192.0.2.1")
            # More than 100, because a few queries are sent twice.
            until(lambda: len(first.asked) + len(second.asked) > 110)
        assert set(told) == {"192.0.2.1", "192.0.2.2"}
        asked = Counter(packet[12:].lower() for each in (first, second) for packet, _ in each.asked)
        assert len(asked) > 100
        again = [question for question, times in asked.items() if times > 1]
        # Two are allowed, because on a busy machine a reply may take longer than the timeout.
        assert len(again) <= 2, "replies were lost"
    finally:
        live.server.close()


def test_answers_of_unchanged_routes_stay_cached_and_others_are_fetched_anew(fake: Fake, tmp_path: Path) -> None:
    default, acme, corp, new = (fake(has(f"192.0.2.{number}")) for number in (1, 2, 3, 4))
    config = {
        "upstreams": [place(default)],
        "routes": {"acme.local": {"servers": [place(acme)]}, "corp": {"servers": [place(corp)]}},
    }
    live = Live(tmp_path, config)
    try:
        names = {"www.example.com": "192.0.2.1", "www.acme.local": "192.0.2.2", "www.corp": "192.0.2.3"}
        # Answers come from the upstream, from the cache, then from the responder's precompiled answers.
        for _ in range(3):
            assert {qname: live.ask(qname) for qname in names} == names
        config["routes"] = {"acme.local": {"servers": [place(new)]}, "corp": {"servers": [place(corp)]}}
        live.configure(config)
        live.wait_for("acme.local", "192.0.2.4")
        before = [len(each.asked) for each in (default, corp)]
        assert {qname: live.ask(qname) for qname in names} == names | {"www.acme.local": "192.0.2.4"}
        assert [len(each.asked) for each in (default, corp)] == before
        config["routes"] = {"corp": {"servers": [place(corp)], "except": ["www.corp"]}}
        live.configure(config)
        live.wait_for("acme.local", "192.0.2.1")
        asked = len(corp.asked)
        assert {qname: live.ask(qname) for qname in names} == dict.fromkeys(names, "192.0.2.1")
        assert len(corp.asked) == asked
    finally:
        live.server.close()


def test_the_configuration_key_for_the_ad_bit_also_affects_cached_answers(fake: Fake, tmp_path: Path) -> None:
    plain = config(fake(validating))
    live = Live(tmp_path, plain)

    def has_ad() -> bool:
        return bool(told(live.server, "www.example.com", want_dnssec=True).flags & dns.flags.AD)

    try:
        assert not has_ad()
        live.configure(plain | {"dnssec": {"trust_ad": ["127.0.0.1"]}})
        until(has_ad, 30)
        live.configure(plain)
        until(lambda: not has_ad(), 30)
    finally:
        live.server.close()


def test_names_are_refused_while_there_are_no_upstreams(fake: Fake, tmp_path: Path) -> None:
    upstream = fake(has("192.0.2.1"))
    live = Live(tmp_path, {"upstreams": [place(upstream)]})
    try:
        assert live.ask("www.example.com") == "192.0.2.1"
        live.configure({})  # now the upstreams come from resolv.conf, which has none in this test
        live.wait_for("example.com", "REFUSED")
        assert live.ask("www.example.com") == "REFUSED"
        assert live.ask("web.shop.svc.cluster.local") == "10.96.0.10"
        live.configure({"upstreams": [place(upstream)]})
        live.wait_for("example.com", "192.0.2.1")
        assert live.ask("www.example.com") == "192.0.2.1"
    finally:
        live.server.close()


def test_an_upstream_name_is_resolved_by_other_upstreams_and_excepted_names_are_refused(
    fake: Fake, tmp_path: Path
) -> None:
    named, other = fake(has("192.0.2.2")), fake(has("127.0.0.1"))
    by_name = f"ns.example.org:{named.port}"
    live = Live(tmp_path, {"choice": "in_order", "upstreams": [by_name, place(other)], "except": ["corp.example"]})
    try:
        live.wait_for("example.com", "192.0.2.2")
        assert live.ask("www.corp.example") == "REFUSED"
        assert live.ask("corp.example.com") == "192.0.2.2"
    finally:
        live.server.close()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_questions_are_sent_from_the_configured_source_address(fake: Fake, tmp_path: Path, transport: str) -> None:
    upstream = fake(has("192.0.2.1"))
    how = {"address": f"127.0.0.1:{upstream.port}", "transport": transport, "source": "127.0.0.77"}
    live = Live(tmp_path, {"upstreams": [how]})
    try:
        live.wait_for("example.com", "192.0.2.1")
        assert upstream.peers == {"127.0.0.77"}
    finally:
        live.server.close()


def test_the_example_of_the_kubernetes_documentation_works(fake: Fake, manifests: Path, tmp_path: Path) -> None:
    written = tmp_path / "kube-dns.yaml"
    written.write_bytes(DOCUMENTED)
    stub, *others = (fake(has(address)) for address in ("192.0.2.1", "192.0.2.2", "192.0.2.2"))
    ips = "1.2.3.4", "8.8.8.8", "8.8.4.4"
    here = [f"{ip}={each.port}" for ip, each in zip(ips, (stub, *others), strict=True)]
    state_dir = tmp_path / "state"
    flags = ["--config", str(written)]
    command = [sys.executable, "-m", "tests.offline", *here]
    server = Process(["--manifests", str(manifests)], state_dir, flags=flags, command=command)
    try:
        reader = Reader(state_dir)
        with reader.transaction() as transaction:
            in_force = load(reader.config(transaction))
        reader.close()
        assert in_force.upstreams == (ServerSpec("8.8.8.8"), ServerSpec("8.8.4.4"))
        assert in_force.routes == (Route(name.from_text("acme.local"), (ServerSpec("1.2.3.4"),)),)
        until(lambda: server.ask("www.acme.local") == "192.0.2.1")
        assert {server.ask(f"n{number}.acme.local") for number in range(10)} == {"192.0.2.1"}
        for number in range(100):
            assert server.ask(f"n{number}.example.com") == "192.0.2.2"
        assert all(each.asked for each in others), "each is asked whether it leads back here"
        assert f"{written}: accepted" in server.status()
    finally:
        server.end()

"""An hour in which the API server fails in every way that we know of.

It takes a few seconds, because the clock is only a number. Reflectors, zone, table and responder are the real code. The
API server is `tests.fakes.cluster`. A `Wire` connects each reflector to the API server. The wire withholds, fails or
cuts requests and events, as the server's current mood demands. Objects change all the time.

A deleted name never comes back, unless a backup is restored. This makes it possible to judge the answers: if a name was
answered while it existed, and has existed ever since, then the name must not be denied.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from pydns.dns.message import Rcode
from pydns.dns.rrset import A
from pydns.kube.audit import Audit
from pydns.kube.events import Apply, Init, InitDone
from pydns.kube.kinds import Kind
from pydns.kube.objects import parse
from pydns.kube.producer import ZoneOptions
from pydns.kube.reflector import FIGURES, Failure, ListPage, Reflector, Step, Wait, Watch
from pydns.kube.zone import Zone
from pydns.metrics.meter import Meter
from pydns.process.block import share
from pydns.serve.fast import Responder
from pydns.serve.port import UDP_LIMIT, Port
from pydns.table.layout import ANSWERS, FACTS, NAMES
from pydns.table.reader import Reader
from pydns.table.writer import Writer
from tests.fakes.cluster import Change, Cluster, Expired, Json, change_line, event_line, selector, status_body
from tests.kube.written import Written, written

KINDS = (Kind.NAMESPACE, Kind.SERVICE, Kind.ENDPOINT_SLICE)
EVERYTHING = selector("", "")
HTML = b"<html><body>503 from the proxy</body></html>\n"
BOOKMARK_S = 60
WELL_S = 150  # seconds between two troubles: enough for the longest pause of a reflector
RECOVERED_S = 75.0  # current data is at most this old: slightly older than the period of bookmarks
STEP_S = 1


class Mood(NamedTuple):
    """How the API server behaves for some time, and whether it confirms any data during that time."""

    name: str
    seconds: int
    is_mute: bool = False


WELL = Mood("well", WELL_S)
TROUBLES = (
    Mood("refuses connections", 90, True),
    Mood("500", 60, True),
    Mood("429", 90, True),
    Mood("HTML with 200", 60, True),
    Mood("HTML with 502", 60, True),
    Mood("deaf", 100, True),  # connections stay open, but nothing arrives until the mood ends
    Mood("deaf for longer than a watch lasts", 800, True),
    Mood("cuts watches", 120),
    Mood("410 in streams", 90),
    Mood("500 in streams", 60),
    Mood("loses events", 90),
    Mood("restored from a backup", 1),
)


class Server:
    """The cluster behind the wires, its mood, and the changes of its objects."""

    def __init__(self, random: Random) -> None:
        self.cluster = Cluster()
        self.mood = WELL
        self._random = random
        self._count = 0  # how many names and addresses have been used so far
        self._plain: list[str] = []
        self._headless: list[str] = []
        self.backup = self._back_up()
        for each in ("shop", "bank"):
            self.cluster.apply("Namespace", {"metadata": {"name": each}})
        for _ in range(6):
            self.create_plain()
            self.create_headless()

    def _back_up(self) -> tuple[object, list[str], list[str]]:
        return self.cluster.backup(), list(self._plain), list(self._headless)

    def back_up(self) -> None:
        self.backup = self._back_up()

    def restore(self) -> None:
        stored, plain, headless = self.backup
        self.cluster.restore(stored)  # type: ignore[arg-type]  # `stored` comes from `Cluster.backup`
        self._plain, self._headless = list(plain), list(headless)

    def change(self) -> None:
        """Change one object."""
        self._random.choice(
            [
                self.create_plain,
                self.create_headless,
                self.move,
                self.roll,
                self.roll,
                self.delete_plain,
                self.delete_headless,
            ]
        )()

    def create_plain(self) -> None:
        self._plain.append(f"web-{self._next()}")
        self._apply_service(self._plain[-1], self._address())

    def create_headless(self) -> None:
        self._headless.append(f"db-{self._next()}")
        self._apply_service(self._headless[-1], "None")
        self._apply_slice(self._headless[-1])

    def move(self) -> None:
        """Give a Service a new address."""
        self._apply_service(self._random.choice(self._plain), self._address())

    def roll(self) -> None:
        """Replace all endpoints of a Service in one event.

        With two events, one event could be lost, and then no client would get a right answer.
        """
        self._apply_slice(self._random.choice(self._headless))

    def delete_plain(self) -> None:
        if len(self._plain) > 4:
            self.cluster.delete("Service", "shop", self._plain.pop(self._random.randrange(len(self._plain))))

    def delete_headless(self) -> None:
        if len(self._headless) > 4:
            name = self._headless.pop(self._random.randrange(len(self._headless)))
            self.cluster.delete("Service", "shop", name)
            self.cluster.delete("EndpointSlice", "shop", f"{name}-1")

    def _apply_service(self, name: str, address: str) -> None:
        metadata = {"namespace": "shop", "name": name}
        spec: Json = {"clusterIP": address, "clusterIPs": [address], "ports": [{"name": "http", "port": 80}]}
        self.cluster.apply("Service", {"metadata": metadata, "spec": spec})

    def _apply_slice(self, service: str) -> None:
        labels = {"kubernetes.io/service-name": service}
        endpoints = [
            {"addresses": [self._address()], "hostname": f"pod-{self._next()}", "conditions": {"ready": True}}
            for _ in range(self._random.randint(1, 3))
        ]
        self.cluster.apply(
            "EndpointSlice",
            {
                "metadata": {"namespace": "shop", "name": f"{service}-1", "labels": labels},
                "addressType": "IPv4",
                "endpoints": endpoints,
                "ports": [{"name": "http", "port": 80}],
            },
        )

    def _next(self) -> int:
        self._count += 1
        return self._count

    def _address(self) -> str:
        number = self._next()
        return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


class Wire:
    """One kind: its reflector, and either the open watch with the events in flight or a pending request."""

    def __init__(self, kind: Kind, server: Server, random: Random, *, watch_list: bool) -> None:
        self.kind = kind
        self.reflector = Reflector(kind, random, watch_list=watch_list)
        self.audit: Audit | None = None
        self._server = server
        self._random = random
        self._coming: bytes | None = None  # None means that no watch is open
        self._ends = 0.0  # the time at which the server ends the watch
        self._silence_s = 0.0
        self._heard = 0.0
        self._hangs_until: float | None = None

    def changed(self, change: Change) -> None:
        if self._coming is not None and change.kind == self.kind.value:
            self._coming += change_line(change, EVERYTHING)

    def step(self, now: float) -> Iterator[Step]:
        """Simulate one second."""
        if self._hangs_until is not None:
            if now < self._hangs_until:
                return
            self._hangs_until = None
            yield self.reflector.on_failure(Failure.TIMEOUT, "no answer", now)
        if self._coming is not None:
            yield from self._read(now)
        for _ in range(3):  # there may be several pages, or a watch that begins directly after a listing
            if self._coming is None and self._hangs_until is None:
                yield from self._perform(now)

    def bookmark(self) -> None:
        if self._coming is not None:
            self._coming += self._server.cluster.bookmark(self.kind.value)

    def cut(self, now: float) -> Iterator[Step]:
        """Cut an open watch after half of the events in flight."""
        if self._coming is not None:
            arrived, self._coming = self._coming[: len(self._coming) // 2], None
            step = self.reflector.on_data(arrived, now)
            yield step
            if not step.over:
                yield self.reflector.on_failure(Failure.CONNECTION, "reset", now)

    def fail_in_stream(self, code: int) -> None:
        if self._coming is not None:
            self._coming += event_line("ERROR", status_body(code, "Expired" if code == 410 else "", "no"))

    def lose(self, now: float) -> Iterator[Step]:
        """Cut an open watch before any event in flight arrives."""
        if self._coming is not None:
            self._coming = b""
        yield from self.cut(now)

    def end_audit(self, now: float) -> Iterator[Step]:
        audit, self.audit = self.audit, None
        if audit is not None:
            step = self.reflector.end_audit(audit, now)
            yield step
            if step.over and self._coming is not None:
                self._coming = None
                yield self.reflector.on_failure(Failure.CLOSED, "interrupted", now)

    def begin_audit(self) -> None:
        audit = self.reflector.begin_audit()
        if audit is None:
            return
        if self._server.mood.is_mute:
            self.reflector.audit_failed("500")
            return
        while (page := audit.next_request()) is not None:
            listed = self._server.cluster.list_page(self.kind.value, page.limit, page.continue_, metadata_only=True)
            audit.on_page(listed)
        self.audit = audit

    def _read(self, now: float) -> Iterator[Step]:
        assert self._coming is not None
        if self._server.mood.name.startswith("deaf"):
            if now - self._heard > self._silence_s:
                self._coming = None
                yield self.reflector.on_failure(Failure.TIMEOUT, "silence", now)
            return
        if self._coming:
            arrived, self._coming = self._coming, b""
            self._heard = now
            step = self.reflector.on_data(arrived, now)
            yield step
            if step.over:
                self._coming = None
                return
        if now >= self._ends:
            self._coming = None
            yield self.reflector.on_failure(Failure.CLOSED, "a watch ended", now)

    def _perform(self, now: float) -> Iterator[Step]:
        request = self.reflector.next_request(now)
        if isinstance(request, Wait):
            return
        match self._server.mood.name:
            case "refuses connections":
                yield self.reflector.on_failure(Failure.CONNECTION, "refused", now)
            case "500":
                yield self.reflector.on_status(500, status_body(500, "InternalError", "no"), None, now)
            case "429":
                yield self.reflector.on_status(429, status_body(429, "TooManyRequests", "no", 7), "7", now)
            case "HTML with 502":
                yield self.reflector.on_status(502, HTML, None, now)
            case "HTML with 200" if isinstance(request, ListPage):
                yield self.reflector.on_page(HTML, now)
            case "HTML with 200":
                yield self.reflector.on_open(now)
                yield self.reflector.on_data(HTML, now)
            case "deaf" | "deaf for longer than a watch lasts":
                self._hangs_until = now + FIGURES.answer_s
            case _ if isinstance(request, ListPage):
                yield self._list(request, now)
            case _:
                yield self._watch(request, now)

    def _list(self, request: ListPage, now: float) -> Step:
        try:
            body = self._server.cluster.list_page(self.kind.value, 5, request.continue_)
        except Expired as error:
            return self.reflector.on_status(410, status_body(410, "Expired", str(error)), None, now)
        return self.reflector.on_page(body, now)

    def _watch(self, request: Watch, now: float) -> Step:
        self._ends, self._silence_s, self._heard = now + request.timeout_s, request.silence_s, now
        cluster = self._server.cluster
        try:
            if request.send_initial_events:
                lines: Iterable[bytes] = cluster.initial_events(self.kind.value, EVERYTHING)
            else:
                changes = cluster.changes_since(self.kind.value, int(request.resource_version))
                lines = [change_line(change, EVERYTHING) for change in changes]
            self._coming = b"".join(lines)
        except Expired as error:
            self._coming = event_line("ERROR", status_body(410, "Expired", str(error)))
        return self.reflector.on_open(now)


class Table(Reader):
    """A table in the same process as its writer: a process may open an LMDB file only once."""

    def __init__(self, writer: Writer) -> None:
        self._environment = writer._environment
        self.answers, self.names, self._facts_db = map(self._environment.open_db, (ANSWERS, NAMES, FACTS))


class Dns:
    """Zone, table and responder. They get events in the same way as from the controller."""

    def __init__(self, state_dir: Path) -> None:
        self.zone = Zone(ZoneOptions())
        self._writer = Writer(state_dir, self.zone.facts(serial=0, synced=False))
        self._table: Table | None = None  # None until the first sync, when the file is opened again

    def take(self, steps: Iterable[Step]) -> None:
        for step in steps:
            for event in step.events:
                self.zone.apply(event)

    def publish(self) -> bool:
        """Write the changes to the table. Return whether there were any."""
        facts = self.zone.facts(serial=self.zone.resource_version, synced=True)
        if self._table is not None:
            changes = self.zone.flush()
            if changes:
                self._writer.commit(changes, facts)
            return bool(changes)
        if not self.zone.synced().issuperset(KINDS):
            return False
        self._writer.replace(self.zone.contents, facts)
        self._table = Table(self._writer)
        self._responder = Responder(self._table)
        self._port = Port("udp", UDP_LIMIT, Meter(share(1)[0]).tallies[0])
        return True

    def denied(self, qnames: Iterable[bytes]) -> set[bytes]:
        """Return the names that get NXDOMAIN."""
        assert self._table is not None
        found = set()
        with self._table.transaction() as transaction:
            for qname in qnames:
                query = b"\0\1\1\0\0\1\0\0\0\0\0\0" + qname + A.to_bytes(2) + b"\0\1"
                reply = self._responder.respond(query, transaction, self._port)
                assert isinstance(reply, bytes)
                if reply[3] & 15 == Rcode.NXDOMAIN:
                    found.add(qname)
        return found

    def contents(self) -> Written:
        assert self._table is not None
        with self._table.transaction() as transaction:
            return Written(dict(self._table.items(transaction)), dict(self._table.nodes(transaction)))

    def close(self) -> None:
        self._writer.close()


def fresh(cluster: Cluster) -> Written:
    """Return the contents of a new table that is made from the server's current objects."""
    zone = Zone(ZoneOptions())
    for kind in KINDS:
        zone.apply(Init(kind))
        for stored in cluster.objects[kind.value].values():
            zone.apply(Apply(parse(kind, stored.raw)))
        zone.apply(InitDone(kind))
    return written(zone)


class Hour:
    """The whole simulation, second by second."""

    def __init__(self, seed: int, state_dir: Path, *, watch_list: bool) -> None:
        self.now = 0.0
        self.random = Random(seed)
        self.server = Server(self.random)
        self.wires = [Wire(kind, self.server, self.random, watch_list=watch_list) for kind in KINDS]
        self.server.cluster.on_change = self._changed
        self.dns = Dns(state_dir)
        self.served: set[bytes] = set()  # names that were answered while they existed, and that have existed ever since
        self._judge_deletions()
        self.audit_due = self.audit_ends = 200.0

    def _changed(self, change: Change) -> None:
        for wire in self.wires:
            wire.changed(change)

    def data_age_s(self) -> float:
        heard = [wire.reflector.status(self.now).last_heard for wire in self.wires]
        return self.now - min(0.0 if each is None else each for each in heard)

    def spend(self, mood: Mood) -> list[float]:
        """Simulate a mood; return the age of the data for each second."""
        self.server.mood = mood
        ages = []
        # The process of the API server or of the proxy has exited.
        if mood.is_mute and not mood.name.startswith("deaf"):
            for wire in self.wires:
                self.dns.take(wire.cut(self.now))
        if mood.name == "restored from a backup":
            for wire in self.wires:
                self.dns.take(wire.lose(self.now))
            self.server.restore()
            self._judge_deletions()
        until = self.now + mood.seconds
        while self.now < until:
            self.now += STEP_S
            self._misbehave(mood)
            if self.random.random() < 0.15:
                self.server.change()
                self._judge_deletions()
            for wire in self.wires:
                self.dns.take(wire.step(self.now))
            self._audit()
            if self.dns.publish():
                self._judge_answers()
            ages.append(self.data_age_s())
        return ages

    def _misbehave(self, mood: Mood) -> None:
        for wire in self.wires:
            match mood.name:
                case "cuts watches" if self.random.random() < 0.1:
                    self.dns.take(wire.cut(self.now))
                case "410 in streams" if self.random.random() < 0.05:
                    self.server.cluster.compact()
                    wire.fail_in_stream(410)
                case "500 in streams" if self.random.random() < 0.05:
                    wire.fail_in_stream(500)
            if self.now % BOOKMARK_S == 0:
                wire.bookmark()
        if mood.name == "loses events" and self.random.random() < 0.2:
            self.server.cluster.drop_next_events(self.random.randint(1, 3))

    def _audit(self) -> None:
        if self.now >= self.audit_due:
            self.audit_due = self.now + FIGURES.audit_s * self.random.uniform(0.75, 1.25)
            self.audit_ends = self.now + FIGURES.audit_confirm_s
            for wire in self.wires:
                wire.begin_audit()
        elif any(wire.audit for wire in self.wires) and self.now >= self.audit_ends:
            for wire in self.wires:
                self.dns.take(wire.end_audit(self.now))

    def _judge_deletions(self) -> None:
        self.existing = frozenset(key[:-4] for key in fresh(self.server.cluster).answers if key[0])
        self.served &= self.existing

    def _judge_answers(self) -> None:
        denied = self.dns.denied(self.existing)
        assert not denied & self.served, (self.now, self.server.mood.name, denied & self.served)
        self.served |= self.existing - denied


@pytest.mark.parametrize(("seed", "watch_list"), [(1, True), (2, False), (3, True)])
def test_no_existing_name_is_denied_while_the_api_server_misbehaves_for_an_hour(
    seed: int, watch_list: bool, tmp_path: Path
) -> None:
    hour = Hour(seed, tmp_path, watch_list=watch_list)
    troubles = list(TROUBLES)
    hour.random.shuffle(troubles)
    hour.spend(WELL)
    hour.server.back_up()
    for trouble in troubles:
        ages = hour.spend(trouble)
        if trouble.is_mute:
            # Only an audit that was in flight may have confirmed data during the trouble.
            assert ages[-1] >= trouble.seconds - STEP_S - FIGURES.audit_confirm_s, trouble
        assert hour.spend(WELL)[-1] <= RECOVERED_S, trouble
    while hour.now < 3600:
        hour.spend(WELL)

    hour.spend(Mood("well", 700))  # enough time for two audits
    assert len(hour.served) > 30
    assert hour.dns.contents() == fresh(hour.server.cluster)
    hour.dns.close()

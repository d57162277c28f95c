"""The ring of a worker keeps replies in memory. Other processes can read it, and it survives restarts."""

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pydns.config.model import Config
from pydns.dns.address import parse_address
from pydns.log import Log
from pydns.metrics.meter import Tally
from pydns.metrics.totals import Totals
from pydns.process.ring_files import RingError, Rings
from pydns.ring import layout
from pydns.ring.layout import Origin, file_name
from pydns.ring.queries import Query, Source
from pydns.serve.port import UDP_LIMIT, Mark, Port
from pydns.serve.query_ring import QueryRing
from tests.running import query

ON = Config(recent_queries_mib=1)
OFF = Config(recent_queries_mib=0)
WEB = query("web.example")


def reply_to(message: bytes, number: int = 1) -> bytes:
    return number.to_bytes(2) + b"\x85\x80" + message[4:]


class ClientPort(Port):
    """A port whose peers are addresses."""

    peers: tuple[bytes, ...] = ()

    def __init__(self) -> None:
        super().__init__("udp", UDP_LIMIT, Tally(Totals(), 0))

    def peer(self, place: int) -> bytes:
        return self.peers[place]

    def source(self, peer: Any) -> bytes:
        assert isinstance(peer, bytes)
        return peer


def new_ring(state_dir: Path, number: int = 0) -> tuple[QueryRing, int]:
    """Return a ring and its memory. The state directory gets a link to it, as from the supervisor."""
    memory = os.memfd_create("queries")
    (state_dir / file_name(number)).unlink(missing_ok=True)
    (state_dir / file_name(number)).symlink_to(f"/proc/{os.getpid()}/fd/{memory}")
    return QueryRing(memory, Log()), memory


class Worker:
    """The ring of a worker, and a reader of this ring like those in other processes."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.port = ClientPort()
        self.ring, self.memory = new_ring(state_dir)
        self.rings = Rings(state_dir)

    def start_again(self) -> None:
        self.ring.close()
        self.ring = QueryRing(self.memory, Log())
        self.ring.configure(ON)

    def close(self) -> None:
        self.ring.close()
        os.close(self.memory)

    def answer(self, *replies: bytes | None, marks: dict[int, Mark] | None = None) -> None:
        self.port.peers = tuple([parse_address(f"10.0.0.{place}") for place in range(len(replies))])
        self.port.replies, self.port.marks = list(replies), marks or {}
        self.ring.answered(self.port, [WEB] * len(replies), time.monotonic(), 0.001)

    def read(self) -> list[Query]:
        self.ring.write()  # in a worker, the event loop calls this soon after a query
        return self.rings.new()


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    made = Worker(tmp_path)
    made.ring.configure(ON)
    yield made
    made.close()


def ids(found: list[Query]) -> list[int]:
    return [int.from_bytes(each.message[:2]) for each in found]


def test_a_reader_sees_the_answered_queries(worker: Worker) -> None:
    before = time.time()
    worker.answer(reply_to(WEB, 1), reply_to(WEB, 2))
    found = worker.read()
    assert ids(found) == [1, 2]
    assert [each.client for each in found] == [parse_address("10.0.0.0"), parse_address("10.0.0.1")]
    assert all(before - 1 < each.came < time.time() + 1 for each in found)
    assert worker.read() == []
    worker.answer(reply_to(WEB, 3))
    assert ids(worker.read()) == [3]


def test_deferred_replies_are_kept_once_with_their_origin_and_server(worker: Worker) -> None:
    worker.answer(None, reply_to(WEB, 2), None, marks={0: Mark.WAITS, 2: Mark.WAITS})
    assert ids(worker.read()) == [2]
    came = time.monotonic()
    client = parse_address("2001:db8::1")
    worker.ring.replied_later(worker.port, client, reply_to(WEB, 1), came, 0.25, Origin.UPSTREAM, "10.0.0.2:53", None)
    (late,) = worker.read()
    assert (late.source, late.server, late.client, late.spent_s) == (Source.UPSTREAM, "10.0.0.2:53", client, 0.25)


def test_nothing_is_written_for_a_batch_before_its_deferred_replies(worker: Worker) -> None:
    worker.answer(None, None, marks={0: Mark.WAITS, 1: Mark.WAITS})
    assert worker.read() == []
    worker.answer(None, reply_to(WEB, 2), marks={0: Mark.WAITS, 1: Mark.RULED})
    assert [(*ids([each]), each.source) for each in worker.read()] == [(2, Source.POLICY)]


def test_many_replies_are_written_without_waiting(worker: Worker) -> None:
    for number in range(1000):
        worker.answer(reply_to(WEB, number))
        worker.ring.replied_later(worker.port, b"", reply_to(WEB, 1000 + number), 1.0, 0.25, Origin.UPSTREAM, "", None)
    found = ids(worker.rings.new())
    for begin in 0, 1000:
        written = [each for each in found if begin <= each < begin + 1000]
        assert written == list(range(begin, begin + len(written)))
        assert 700 < len(written) < 1000


def test_marks_of_a_batch_do_not_affect_the_next_batch(worker: Worker) -> None:
    worker.answer(reply_to(WEB))
    worker.port.marks[0] = Mark.RULED  # a mark of the next batch
    assert [each.source for each in worker.read()] == [Source.DENIAL]


def test_clients_of_tcp_and_of_both_families_are_kept(worker: Worker) -> None:
    clients = [parse_address(each) for each in ("10.0.0.1", "2001:db8::1", "10.0.0.2")]
    for number, client in enumerate(clients):
        port = ClientPort()
        port.protocol, port.peers, port.replies = "tcp", (client,), [reply_to(WEB, number)]
        port.tally = Tally(Totals(), 2 + (number == 1))
        worker.ring.answered(port, [WEB], time.monotonic(), 0.001)
    found = worker.read()
    assert [(each.client, each.is_stream) for each in found] == [(client, True) for client in clients]


def test_queries_without_a_reply_are_also_kept(worker: Worker) -> None:
    worker.answer(reply_to(WEB, 7), None, marks={1: Mark.RULED})
    answered, dropped = worker.read()
    assert (answered.source, dropped.source) == (Source.DENIAL, Source.NOBODY)
    assert (dropped.facts.result, dropped.facts.qname) == ("no reply", answered.facts.qname)


def test_a_reply_that_arrives_as_a_query_is_not_counted_as_a_reply_of_pydns(worker: Worker) -> None:
    worker.port.peers, worker.port.replies, worker.port.marks = (b"\x0a\0\0\1",), [None], {}
    worker.ring.answered(worker.port, [reply_to(WEB)], time.monotonic(), 0.0)
    (ignored,) = worker.read()
    assert ignored.source is Source.NOBODY


def test_a_rule_is_the_source_of_the_replies_that_it_made(worker: Worker) -> None:
    worker.answer(reply_to(WEB), reply_to(WEB), marks={1: Mark.RULED})
    assert [each.source for each in worker.read()] == [Source.DENIAL, Source.POLICY]


def test_the_newest_queries_replace_the_oldest(worker: Worker) -> None:
    for number in range(40_000):
        worker.answer(reply_to(WEB, number))
    found = ids(worker.read())
    assert found == list(range(40_000 - len(found), 40_000))
    assert 5_000 < len(found) < 40_000


def test_a_reader_that_reads_often_misses_nothing(worker: Worker) -> None:
    found = []
    for number in range(40_000):
        worker.answer(reply_to(WEB, number))
        if number % 3000 == 0:
            found += ids(worker.rings.new())
    assert found + ids(worker.read()) == list(range(40_000))


def test_a_worker_that_starts_again_continues_the_ring(worker: Worker) -> None:
    worker.answer(reply_to(WEB, 1))
    worker.start_again()
    worker.answer(reply_to(WEB, 2))
    assert ids(worker.read()) == [1, 2]
    worker.ring.close()
    assert ids(Rings(worker.state_dir).new()) == [1, 2], "the ring can be read while no worker runs"


def test_memory_with_other_content_is_initialized_again(worker: Worker) -> None:
    worker.answer(reply_to(WEB, 1))
    worker.ring.close()
    os.pwrite(worker.memory, b"another", 0)
    worker.start_again()
    worker.answer(reply_to(WEB, 2))
    assert ids(worker.read()) == [2]


def test_the_configuration_turns_the_ring_off_and_on(worker: Worker) -> None:
    worker.answer(reply_to(WEB, 1))
    worker.ring.configure(OFF)
    assert not worker.ring.is_on
    with pytest.raises(RingError, match="recent_queries_mib is 0"):
        worker.read()
    worker.ring.configure(Config(recent_queries_mib=2))
    worker.answer(reply_to(WEB, 2))
    assert ids(worker.read()) == [2]
    assert os.fstat(worker.memory).st_size == layout.HEAD + (2 << 20)
    worker.ring.configure(OFF)
    assert os.fstat(worker.memory).st_size == 0


def test_a_file_that_is_no_ring_is_skipped(worker: Worker) -> None:
    (worker.state_dir / file_name(1)).write_bytes(b"no ring")
    worker.answer(reply_to(WEB, 1))
    assert ids(worker.read()) == [1]


def test_a_link_to_something_else_is_skipped(worker: Worker) -> None:
    os.mkfifo(worker.state_dir / "pipe")
    (worker.state_dir / file_name(1)).symlink_to(worker.state_dir / "pipe")
    (worker.state_dir / file_name(2)).symlink_to("/proc/self/fd/12345")
    worker.answer(reply_to(WEB, 1))
    assert ids(worker.read()) == [1]


def test_a_lack_of_memory_turns_the_ring_off(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    worker.ring._log = lambda event, **fields: lines.append(f"{event}: {fields['reason']}")  # type: ignore[assignment]

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", fail)
    for _ in range(2):
        worker.ring.configure(Config(recent_queries_mib=2))
    assert lines == ["recent queries are not kept: No space left on device"]
    assert not worker.ring.is_on
    monkeypatch.undo()
    worker.ring.configure(ON)
    assert worker.ring.is_on

"""The controller measures which share of recent queries comes from clients without a name."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from pydns.control.clock import Clock
from pydns.control.unknown_clients import UnknownClients
from pydns.dns.address import parse_address
from pydns.table.client_names import RunningPod, compose_node, compose_pod, compose_slice, node_key, slice_key
from pydns.table.layout import FORMAT, Changes, Facts
from pydns.table.writer import Writer

WEB, DB, NODE, OTHER = map(parse_address, ("10.1.0.1", "10.1.0.2", "192.168.0.1", "10.9.9.9"))
ENTRIES = {
    slice_key("shop", "web-1"): compose_slice([(WEB, "web-0", "n1", "")]),
    # Two namespaces claim an address on different nodes, so its client is unknown.
    slice_key("a", "one"): compose_slice([(DB, "p", "n1", "")]),
    slice_key("b", "one"): compose_slice([(DB, "q", "n2", "")]),
    node_key("n1"): compose_node([compose_pod(RunningPod("shop", "agent", (), (NODE,), 1))]),
}


class Measured:
    """A measurement of the queries of some clients, with a clock that the test moves."""

    def __init__(self, state_dir: Path, entries: dict[bytes, bytes | None]) -> None:
        facts = Facts(FORMAT, b"\1c\0", [], 1, True, 5)
        self.clients: Sequence[bytes] = ()
        self.samples = 0
        self.now = 0.0
        self._writer = Writer(state_dir, facts)
        self._writer.commit(Changes({}, {b"\1c\0": b"", **entries}), facts)
        self.measured = UnknownClients(self._recent, self._writer.client_entries, Clock(lambda: self.now))

    def _recent(self) -> Sequence[bytes]:
        self.samples += 1
        return self.clients

    def share_after(self, seconds: float) -> float | None:
        for _ in range(int(seconds * 2)):
            self.measured.look()
            self.now += 0.5
        return self.measured.share

    def close(self) -> None:
        self._writer.close()


@pytest.mark.parametrize(
    ("clients", "share"),
    [
        ([], None),
        ([WEB, NODE], 0.0),
        ([OTHER], 1.0),
        ([WEB, OTHER, OTHER, OTHER], 0.75),
        ([DB, WEB], 0.5),
        ([parse_address("::ffff:10.1.0.1")], 0.0),
        ([bytes(4), WEB], 0.5),  # a connection that had closed
    ],
)
def test_the_share_is_that_of_queries_whose_client_has_no_name(
    clients: list[bytes], share: float | None, tmp_path: Path
) -> None:
    measured = Measured(tmp_path, {**ENTRIES})
    measured.clients = clients
    assert measured.share_after(10) == share
    assert measured.samples == (1 if clients else 2)
    measured.close()


def test_the_share_is_measured_every_minute_from_many_pieces(tmp_path: Path) -> None:
    many: dict[bytes, bytes | None] = {
        slice_key("z", f"s{number}"): compose_slice([(number.to_bytes(4), "p", "", "")]) for number in range(1, 500)
    }
    measured = Measured(tmp_path, {**ENTRIES, **many})
    measured.clients = [WEB, OTHER]
    assert measured.share_after(5) is None  # 10 looks, and there are 26 pieces
    assert measured.share_after(30) == 0.5
    measured.clients = [WEB]
    assert measured.share_after(20) == 0.5
    assert measured.share_after(30) == 0.0
    assert measured.samples == 2
    measured.clients = []
    assert measured.share_after(60) is None
    measured.close()


def test_there_is_no_share_if_no_client_has_a_name(tmp_path: Path) -> None:
    measured = Measured(tmp_path, {})
    measured.clients = [WEB]
    assert measured.share_after(10) is None
    measured.close()

"""pydns opens one socket for each address, also on hosts without IPv6."""

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from pydns.config.settings import HttpEndpoint, Listen
from pydns.log import Log
from pydns.process import listeners
from pydns.process.slots import Slot

FIB_TRIE = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.0
           /8 host LOCAL
        |-- 127.0.0.1
           /32 host LOCAL
        |-- 127.255.255.255
           /32 link BROADCAST
     |-- 192.0.2.9
        /24 link UNICAST
     |-- 192.0.2.2
        /32 host LOCAL
Local:
     |-- 127.0.0.1
        /32 host LOCAL
"""
IF_INET6 = """\
fe8000000000000000fc00fffe000001 04 40 20 80     eth0
00000000000000000000000000000001 01 80 10 80       lo
20010db8000000000000000000000002 04 40 00 82     eth0
"""
HERE, EVERYWHERE, EVERYWHERE_6 = Listen("127.0.0.1", 0), Listen("0.0.0.0", 0), Listen("::", 0)


@contextmanager
def opened(*listens: Listen, workers: int = 1) -> Iterator[list[Slot]]:
    slots = listeners.open_slots(listens, workers, Log())
    try:
        yield slots
    finally:
        for slot in slots:
            for sock in (*slot.udp, *slot.tcp):
                sock.close()


def hosts(slot: Slot) -> list[str]:
    return [sock.getsockname()[0] for sock in slot.udp]


def test_each_local_address_is_read_once_except_link_local_ones() -> None:
    assert listeners._ipv4_addresses(FIB_TRIE) == ["127.0.0.1", "192.0.2.2"]
    assert listeners._ipv6_addresses(IF_INET6) == ["::1", "2001:db8::2"]


def test_listening_at_all_addresses_opens_a_socket_for_each_local_address_too() -> None:
    with opened(EVERYWHERE, workers=2) as slots:
        for slot in slots:
            assert hosts(slot)[0] == "0.0.0.0"
            assert "127.0.0.1" in hosts(slot)
            assert len({sock.getsockname()[1] for sock in slot.udp}) == 1
            assert len(slot.tcp) == 1


def test_one_address_gets_one_socket() -> None:
    with opened(HERE) as slots:
        assert hosts(slots[0]) == ["127.0.0.1"]


def test_servers_that_listen_at_port_0_get_different_ports() -> None:
    # With SO_REUSEPORT alone, two of these 400 servers would have the same port in nearly every run.
    with ExitStack() as stack:
        slots = [stack.enter_context(opened(Listen("127.0.0.1", 0)))[0] for _ in range(400)]
        ports = [each.port for slot in slots for each in listeners.addresses(slot)]
        assert len(set(ports)) == len(ports) == 400


def test_unusable_or_too_many_addresses_get_no_separate_sockets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    local = ["192.0.2.77", *(f"127.0.0.{each}" for each in range(1, 99))]
    monkeypatch.setattr(listeners, "_local_addresses", lambda _: local)
    with opened(EVERYWHERE) as slots:
        assert hosts(slots[0]) == ["0.0.0.0", *local[1:16]]


@pytest.mark.parametrize("how", ["no such family", "switched off"])
def test_without_ipv6_the_wildcard_address_of_ipv6_is_left_out_and_logged(
    how: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Socket(socket.socket):
        def __init__(self, family: int, kind: int) -> None:
            if family == socket.AF_INET6 and how == "no such family":
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            super().__init__(family, kind)

        def bind(self, address: tuple[str, int]) -> None:  # type: ignore[override]
            if self.family == socket.AF_INET6:
                raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
            super().bind(address)

    monkeypatch.setattr(socket, "socket", Socket)
    with opened(HERE, EVERYWHERE_6) as slots:
        assert hosts(slots[0]) == ["127.0.0.1"]
    assert capfd.readouterr().err.count("no IPv6") == 1

    with pytest.raises(listeners.ListenError, match=r"--listen \[::\]:0: "):
        listeners.open_slots([EVERYWHERE_6], 1, Log())
    # The user chose this address, so a missing IPv6 is an error.
    with pytest.raises(listeners.ListenError, match=r"--listen \[::1\]:0: "):
        listeners.open_slots([Listen("::1", 0), HERE], 1, Log())


def test_an_endpoint_is_skipped_if_its_default_port_is_taken(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = Listen(*other.getsockname())
        endpoints = {"--health": HttpEndpoint(taken, False), "--ready": HttpEndpoint(HERE, True)}
        opened = listeners.open_http(endpoints, Log())
        assert list(opened) == ["--ready"]
        opened["--ready"].close()
        assert capfd.readouterr().err.count(f"--health {taken}: Address already in use") == 1
        with pytest.raises(listeners.ListenError, match=f"--health {taken}: "):
            listeners.open_http({"--ready": HttpEndpoint(HERE, True), "--health": HttpEndpoint(taken, True)}, Log())


def test_http_at_all_addresses_accepts_ipv4_too() -> None:
    sock = listeners.open_http({"--health": HttpEndpoint(EVERYWHERE_6, False), "--metrics": None}, Log())["--health"]
    with sock, socket.create_connection(("127.0.0.1", sock.getsockname()[1]), 2):
        pass

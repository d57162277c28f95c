"""Opens the listening sockets. The supervisor opens all sockets before the first fork.

This module imports no large module. A reply must come from the address that the query was sent to. For a wildcard
socket (0.0.0.0 or ::), the kernel must report the destination address of each query. The report costs 0.9 µs a query
(tests/bench/README.md). So each local address gets its own UDP socket, and the kernel prefers this socket. The wildcard
socket receives queries to all other addresses: addresses that are added later, that can't be bound, or that are over
the limit `_MAX_OWN`.
"""

import errno
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from ipaddress import IPv6Address
from pathlib import Path

from pydns.config.settings import HttpEndpoint, Listen
from pydns.log import Level, Log
from pydns.process.slots import IP_PKTINFO, RECEIVE_BUFFER, Slot

_BACKLOG = 1024
_PORT_TRIES = 20  # the most attempts to find a port that is free for both UDP and TCP
_MAX_OWN = 16  # maximum sockets for single addresses of an address family; a node can have hundreds of addresses
_NO_IPV6 = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}  # the errors of a kernel without IPv6, or with IPv6 switched off


class ListenError(Exception):
    """A socket can't be opened. The message of this error has the reason."""

    def __init__(self, flag: str, listen: Listen, error: OSError) -> None:
        super().__init__(f"{flag} {listen}: {error.strerror}")
        self.errno = error.errno


def open_slots(listens: Iterable[Listen], workers: int, log: Log) -> list[Slot]:
    """Open sockets for each worker. The kernel distributes clients over the workers' sockets (SO_REUSEPORT).

    On a host without IPv6, `[::]` is skipped if `listens` has other addresses. Raises `ListenError`.
    """
    slots = [Slot([], []) for _ in range(workers)]
    left_out = None
    for listen in listens:
        try:
            _refuse_taken_port(listen)
            first = _open_pair(listen)
        except ListenError as error:
            if listen.host != "::" or error.errno not in _NO_IPV6:
                raise
            left_out = error
            log("not listening", level=Level.WARNING, address=listen, reason="this host has no IPv6")
            continue
        port = first[0].getsockname()[1]
        own = [Listen(host, port) for host in _local_addresses(listen)[:_MAX_OWN]]
        for index, slot in enumerate(slots):
            udp, tcp = first if index == 0 else _bind_pair(Listen(listen.host, port))
            slot.udp.append(udp)
            slot.tcp.append(tcp)
            for each in own:
                with suppress(ListenError):  # the address has been removed meanwhile, or can't be used yet
                    slot.udp.append(_socket(each, socket.SOCK_DGRAM))
    if left_out and not slots[0].udp:
        raise left_out
    return slots


def open_http(endpoints: Mapping[str, HttpEndpoint | None], log: Log) -> dict[str, socket.socket]:
    """Return the sockets for HTTP, by the name of the flag. Raises `ListenError`.

    A socket at `[::]` accepts IPv4 too, because probes use IPv4 or IPv6. A default endpoint is skipped if its port is
    in use.
    """
    opened = {}
    for flag, endpoint in endpoints.items():
        if endpoint is None:
            continue
        try:
            opened[flag] = _http_socket(flag, endpoint.listen)
        except ListenError as error:
            if endpoint.chosen:
                for sock in opened.values():
                    sock.close()
                raise
            log("not listening", level=Level.WARNING, reason=error)
    return opened


def _http_socket(flag: str, listen: Listen) -> socket.socket:
    try:
        sock = _new(listen, socket.SOCK_STREAM, flag)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _bind(sock, listen, flag, only_v6=listen.host != "::")
    except ListenError as error:
        if listen.host != "::" or error.errno not in _NO_IPV6:
            raise
        return _http_socket(flag, Listen("0.0.0.0", listen.port))
    sock.listen(_BACKLOG)
    return sock


def addresses(slot: Slot) -> list[Listen]:
    """Return the listening addresses of a slot's sockets."""
    return [address(sock) for sock in slot.tcp]


def address(sock: socket.socket) -> Listen:
    """Return the listening address of a socket."""
    return Listen(*sock.getsockname()[:2])


def _local_addresses(listen: Listen) -> list[str]:
    """Return the local addresses if `listen` is a wildcard address. For other addresses, return an empty list."""
    with suppress(OSError):  # without /proc, replies are slower, but still correct
        if listen.host == "0.0.0.0":
            return _ipv4_addresses(Path("/proc/net/fib_trie").read_text())
        if listen.host == "::":
            return _ipv6_addresses(Path("/proc/net/if_inet6").read_text())
    return []


def _ipv4_addresses(fib_trie: str) -> list[str]:
    """Return the local addresses in the text of /proc/net/fib_trie.

    In this file, the line after an address contains the kind of the address.
    """
    found: dict[str, None] = {}
    address = ""
    for line in fib_trie.splitlines():
        words = line.split()
        if words[0] == "|--":
            address = words[1]
        elif words == ["/32", "host", "LOCAL"]:
            found[address] = None  # several tables can contain the same address
    return list(found)


def _ipv6_addresses(if_inet6: str) -> list[str]:
    """Return the addresses in the text of /proc/net/if_inet6, except link-local addresses.

    A link-local address is valid only together with a link.
    """
    found = [IPv6Address(bytes.fromhex(line.split()[0])) for line in if_inet6.splitlines()]
    return [str(each) for each in found if not each.is_link_local]


def _refuse_taken_port(listen: Listen) -> None:
    """Raise `ListenError` if another process uses the port.

    Without this check, SO_REUSEPORT would give pydns some of the queries of that process.
    """
    if listen.port:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            with _new(listen, kind) as probe:
                if kind == socket.SOCK_STREAM:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                _bind(probe, listen)


def _open_pair(listen: Listen) -> tuple[socket.socket, socket.socket]:
    for tries in range(1, _PORT_TRIES + 1):
        try:
            free = listen if listen.port else _with_free_port(listen)
            udp = _socket(free, socket.SOCK_DGRAM)
            try:
                return udp, _socket(free, socket.SOCK_STREAM)
            except ListenError:
                udp.close()
                raise
        except ListenError:
            if listen.port or tries == _PORT_TRIES:
                raise
    raise AssertionError  # the loop always returns or raises


def _with_free_port(listen: Listen) -> Listen:
    """Return the address with a port that no process uses.

    For a socket with SO_REUSEPORT, the kernel may choose a port of another server that this user runs. If so, each of
    the two servers would get some queries of the other server.
    """
    with _new(listen, socket.SOCK_DGRAM) as probe:
        _bind(probe, listen)
        found = Listen(listen.host, probe.getsockname()[1])
    _refuse_taken_port(found)
    return found


def _bind_pair(listen: Listen) -> tuple[socket.socket, socket.socket]:
    return _socket(listen, socket.SOCK_DGRAM), _socket(listen, socket.SOCK_STREAM)


def _socket(listen: Listen, kind: socket.SocketKind) -> socket.socket:
    sock = _new(listen, kind)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if kind == socket.SOCK_STREAM:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    else:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        # The kernel must report the destination address of every datagram. The option must be set before `bind`.
        if listen.host == "0.0.0.0":
            sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        elif listen.host == "::":
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    _bind(sock, listen)
    if kind == socket.SOCK_STREAM:
        sock.listen(_BACKLOG)
    return sock


def _new(listen: Listen, kind: socket.SocketKind, flag: str = "--listen") -> socket.socket:
    try:
        return socket.socket(_family(listen), kind)
    except OSError as error:
        raise ListenError(flag, listen, error) from None


def _bind(sock: socket.socket, listen: Listen, flag: str = "--listen", *, only_v6: bool = True) -> None:
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only_v6)
    try:
        sock.bind((listen.host, listen.port))
    except OSError as error:
        sock.close()
        raise ListenError(flag, listen, error) from None


def _family(listen: Listen) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in listen.host else socket.AF_INET

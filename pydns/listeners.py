"""Opens the sockets that queries come in by, all of them in the supervisor, before the first fork.

Imports nothing heavy. Knows nothing of what is done with the sockets.
"""

import socket

from pydns.serve.sockets import IP_PKTINFO, Slot
from pydns.settings import Listen

_RECEIVE_BUFFER = 4 << 20  # octets: a burst waits here; the kernel gives what net.core.rmem_max allows
_BACKLOG = 1024
_PORT_TRIES = 20  # for a port that is free for both UDP and TCP


class ListenError(Exception):
    """A socket can't be opened, and why."""


def open_slots(listens: tuple[Listen, ...], workers: int) -> list[Slot]:
    """Open each worker's own sockets; the kernel spreads clients over them (SO_REUSEPORT)."""
    slots = [Slot([], []) for _ in range(workers)]
    for listen in listens:
        _refuse_taken_port(listen)
        first = _open_pair(listen)
        port = first[0].getsockname()[1]
        for index, slot in enumerate(slots):
            udp, tcp = first if index == 0 else _bind_pair(Listen(listen.host, port))
            slot.udp.append(udp)
            slot.tcp.append(tcp)
    return slots


def addresses(slot: Slot) -> list[Listen]:
    """Return where a slot's sockets listen."""
    return [Listen(*sock.getsockname()[:2]) for sock in slot.udp]


def _refuse_taken_port(listen: Listen) -> None:
    """Fail if someone listens there already: with SO_REUSEPORT we would silently get a share of the queries."""
    if listen.port:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            with socket.socket(_family(listen), kind) as probe:
                if kind == socket.SOCK_STREAM:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                _bind(probe, listen)


def _open_pair(listen: Listen) -> tuple[socket.socket, socket.socket]:
    for _ in range(_PORT_TRIES):
        udp = _socket(listen, socket.SOCK_DGRAM)
        try:
            return udp, _socket(Listen(listen.host, udp.getsockname()[1]), socket.SOCK_STREAM)
        except ListenError:
            udp.close()
            if listen.port:
                raise
    raise ListenError(f"--listen {listen}: no port is free for both UDP and TCP")


def _bind_pair(listen: Listen) -> tuple[socket.socket, socket.socket]:
    return _socket(listen, socket.SOCK_DGRAM), _socket(listen, socket.SOCK_STREAM)


def _socket(listen: Listen, kind: socket.SocketKind) -> socket.socket:
    sock = socket.socket(_family(listen), kind)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if kind == socket.SOCK_STREAM:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    else:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        # Before it is bound: no datagram may come in without the address that it came to.
        if listen.host == "0.0.0.0":
            sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        elif listen.host == "::":
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    _bind(sock, listen)
    if kind == socket.SOCK_STREAM:
        sock.listen(_BACKLOG)
    return sock


def _bind(sock: socket.socket, listen: Listen) -> None:
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        sock.bind((listen.host, listen.port))
    except OSError as error:
        sock.close()
        raise ListenError(f"--listen {listen}: {error.strerror}") from None


def _family(listen: Listen) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in listen.host else socket.AF_INET

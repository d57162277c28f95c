"""What supervisor and workers must agree on about sockets. Imports nothing heavy: the supervisor does."""

import os
import socket
from typing import NamedTuple

# How workers recognize that an upstream leads back to one of them. Drawn in the supervisor, before it forks.
LOOP_MARK = os.urandom(8).hex().encode()
RECEIVE_BUFFER = 4 << 20  # octets: a burst waits here; the kernel gives what net.core.rmem_max allows
IP_PKTINFO = 8  # Linux; the socket module of 3.11 lacks it


class Slot(NamedTuple):
    """The sockets of a worker. They outlive it: what arrives meanwhile waits for its successor."""

    udp: list[socket.socket]  # bound, not blocking
    tcp: list[socket.socket]  # listening, not blocking

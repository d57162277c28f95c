"""The sockets of a worker, and constants that the supervisor and the workers share.

This module imports no large module.
"""

import os
import socket
from typing import NamedTuple

# Workers use this random mark to detect an upstream that forwards queries back to pydns. The supervisor creates this
# mark before it forks.
LOOP_MARK = os.urandom(8).hex().encode()
RECEIVE_BUFFER = 4 << 20  # octets, enough for bursts; net.core.rmem_max may limit the size
IP_PKTINFO = 8  # the value on Linux; the socket module of Python 3.11 lacks this constant


class Slot(NamedTuple):
    """The sockets of a worker. The sockets stay open when the worker exits, so new queries wait for the next worker."""

    udp: list[socket.socket]  # bound, non-blocking
    tcp: list[socket.socket]  # listening, non-blocking
    queries: int = -1  # the file descriptor of the memory for the worker's recent queries (`pydns.ring`)

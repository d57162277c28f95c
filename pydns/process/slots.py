"""The sockets of a worker, and constants that the supervisor and the workers share. Imports nothing heavy."""

import os
import socket
from typing import NamedTuple

# Workers recognize by this mark that an upstream leads back to one of them. The supervisor draws it before it forks.
LOOP_MARK = os.urandom(8).hex().encode()
RECEIVE_BUFFER = 4 << 20  # octets for bursts; net.core.rmem_max may limit it
IP_PKTINFO = 8  # Linux; the socket module of 3.11 lacks it


class Slot(NamedTuple):
    """The sockets of a worker. They outlive it, so queries that arrive meanwhile wait for the next worker."""

    udp: list[socket.socket]  # bound, not blocking
    tcp: list[socket.socket]  # listening, not blocking

"""Limits how many equal replies a network gets over UDP (RRL), because the addresses of clients may be forged.

The sender of a datagram can forge its address, so that the replies go to a victim. A network consists of the addresses
with one prefix, and gets a limited number of equal replies a second. Of the replies above the limit, half are dropped,
and half are sent without records and with TC set. A real client then asks again over TCP, where addresses can't be
forged.

Replies with records are equal if they have the same question. All replies without records to a network are treated as
equal, because floods ask for random names. This module knows no sockets and no clock.
"""

from array import array
from collections.abc import Callable

from pydns.dns.message import OPT_HEAD, OPT_SIZE, TC, question_end, with_flags

IPV4_PREFIX, IPV6_PREFIX = 3, 7  # octets of a network's prefix: /24 and /56, as in BIND
_SLIP = 2  # one of this many replies above the limit is sent truncated, and the others are dropped
_BURST_S = 1.0  # a network that got no replies may then get the replies of this many seconds at once
# The number of accounts in which replies are counted. The hash of the network and the question selects the account.
# Python's hash has a random key in each process, so nobody can choose questions with the same account. If two networks
# or questions share an account, their replies are limited together. All accounts take half a megabyte.
_ACCOUNTS = 1 << 16


class ResponseRate:
    """Limits the replies of one worker. Its memory doesn't grow."""

    def __init__(self, responses_per_second: int, clock: Callable[[], float]) -> None:
        self.responses_per_second = responses_per_second
        self._cost_s = 1.0 / responses_per_second
        self._clock = clock
        # account -> a time. Each reply adds its cost to the time. Replies are limited while the time is `_BURST_S`
        # ahead of the clock.
        self._paid_until = array("d", bytes(8 * _ACCOUNTS))
        self._limited = 0

    def limit(self, reply: bytes, address: bytes) -> bytes | None:
        """Return the reply if the client's network may get it. Otherwise return a truncated reply, or None.

        `address` contains the octets of the client's IP address.
        """
        now = self._clock()
        end = question_end(reply)
        what = reply[12:end].lower() if reply[6:8] != b"\0\0" else b""
        network = address[: IPV4_PREFIX if len(address) == 4 else IPV6_PREFIX]
        account = hash(network + what) % _ACCOUNTS
        paid_until = max(self._paid_until[account], now)
        if paid_until - now < _BURST_S - self._cost_s / 2:  # half the cost of a reply allows for rounding errors
            self._paid_until[account] = paid_until + self._cost_s
            return reply
        self._limited += 1
        return None if self._limited % _SLIP else _truncated(reply, end)


def _truncated(reply: bytes, end: int) -> bytes:
    """Return the reply without records and with TC set. `end` is the offset after the question."""
    opt_at = reply.rfind(OPT_HEAD, end)  # the OPT record is the last record
    size = OPT_SIZE + int.from_bytes(reply[opt_at + OPT_SIZE - 2 : opt_at + OPT_SIZE])
    has_opt = opt_at >= end and opt_at + size == len(reply)
    counts = reply[4:6] + bytes(5) + bytes([has_opt])
    return with_flags(reply[:4] + counts + reply[12:end] + (reply[opt_at:] if has_opt else b""), TC)

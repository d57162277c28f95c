"""Datagrams in batches: recvmmsg(2) and sendmmsg(2), which Python's socket module lacks.

One system call handles up to `BATCH` datagrams, and no address is converted to a Python tuple and back. These two
measures save 1.4 of the 5.2 µs that a query took (tests/bench/README.md). The kernel reads and writes buffers that are
laid out once. A slice copies a datagram from a buffer as `bytes`, or into a buffer. This module uses no event loop and
doesn't parse DNS.
"""

import ctypes
import mmap
import os
import socket
import sys
from array import array
from collections.abc import Callable, Sequence
from ctypes import addressof, byref, c_char, c_int, c_size_t, c_uint, c_void_p, sizeof
from errno import EAGAIN
from itertools import accumulate
from typing import Any

# Maximum datagrams in a batch. A smaller value lowers the throughput, a larger value makes TCP wait
# (tests/bench/README.md).
BATCH = 64
SIZE = 2048  # maximum octets of a received datagram; the kernel cuts off the rest, so a longer one is malformed
SEND_SIZE = 4096  # maximum octets of a sent datagram
NAME_LENGTHS = {socket.AF_INET: 16, socket.AF_INET6: 28}  # address family -> octets of a socket address
# octets of a socket address -> start and end of the IP address in it (ip(7), ipv6(7)).
_IP_AT = {16: (4, 8), 28: (8, 24)}

# Unused octets after each datagram. Without them, the distance between datagrams would be a power of two. Then all
# datagrams would begin in the same set of the CPU's cache.
_APART = 64
NAME_SIZE = 32  # octets reserved for a socket address
_CONTROL_SIZE = 64  # octets reserved for control messages; the destination of a datagram takes 36 octets
_NAMES = 0  # offset of the first socket address in the memory
_CONTROLS = _NAMES + BATCH * NAME_SIZE
_DATAGRAMS = _CONTROLS + BATCH * _CONTROL_SIZE

_libc = ctypes.CDLL(None, use_errno=True)
_recvmmsg, _sendmmsg = _libc.recvmmsg, _libc.sendmmsg


class _Iovec(ctypes.Structure):
    _fields_ = (("base", c_void_p), ("length", c_size_t))


class _Msghdr(ctypes.Structure):
    _fields_ = (
        ("name", c_void_p),
        ("name_length", c_uint),
        ("iovecs", c_void_p),
        ("iovec_count", c_size_t),
        ("control", c_void_p),
        ("control_length", c_size_t),
        ("flags", c_int),
    )


class _Mmsghdr(ctypes.Structure):
    _fields_ = (("header", _Msghdr), ("length", c_uint))


class _Slots:
    """Memory for a batch: datagrams, addresses and control messages, and the headers that point to them."""

    def __init__(self, size: int, name_length: int, control_length: int) -> None:
        stride = size + _APART
        self.memory = mmap.mmap(-1, _DATAGRAMS + BATCH * stride)  # unused pages cost nothing
        self.starts = range(_DATAGRAMS, _DATAGRAMS + BATCH * stride, stride)  # offsets of the datagrams
        self.headers = (_Mmsghdr * BATCH)()
        self._iovecs = (_Iovec * BATCH)()
        self.base = base = addressof(c_char.from_buffer(self.memory))
        for place in range(BATCH):
            iovec, header = self._iovecs[place], self.headers[place].header
            iovec.base, iovec.length = base + self.starts[place], size
            header.iovecs, header.iovec_count = addressof(iovec), 1
            if name_length:
                header.name, header.name_length = base + _NAMES + place * NAME_SIZE, name_length
            if control_length:
                header.control, header.control_length = base + _CONTROLS + place * _CONTROL_SIZE, control_length
        # Each of the next attributes is a sequence that contains one field of every header. Reading an element takes
        # 0.02 µs. Reading it through ctypes would take ten times as long.
        self.lengths = _column(self.headers, _Mmsghdr.length.offset, c_uint)
        self.names = _column(self.headers, _Msghdr.name.offset, c_void_p)
        self.control_lengths = _column(self.headers, _Msghdr.control_length.offset, c_size_t)
        self.sizes = _column(self._iovecs, _Iovec.length.offset, c_size_t)
        self.bases = _column(self._iovecs, _Iovec.base.offset, c_void_p)


def _column(elements: "ctypes.Array[Any]", offset: int, kind: type[Any]) -> "memoryview[int]":
    """Return a view on one field of all elements: the number of the type `kind` at the offset `offset`."""
    size = sizeof(kind)
    octets = memoryview(elements).cast("B")
    numbers = octets.cast("Q") if size == 8 else octets.cast("I")
    return numbers[offset // size :: sizeof(elements[0]) // size]


def addresses_of(names: bytes, name_length: int) -> bytes:
    """Return the IP addresses in a sequence of socket addresses, which have `NAME_SIZE` octets each.

    An IPv4 address has 4 octets in the result. IPv6 addresses are split into halves of 8 octets: first come the first
    halves of all addresses, and then the second halves.
    """
    first, end = _IP_AT[name_length]
    size = min(8, end - first)
    numbers = memoryview(names).cast("I" if size == 4 else "Q")
    return b"".join([numbers[at // size :: NAME_SIZE // size].tobytes() for at in range(first, end, size)])


class Inbox:
    """Receives datagrams in batches, each batch from one socket."""

    def __init__(self, name_length: int = 0, *, with_control: bool = False) -> None:
        """Lay out the buffers.

        `name_length` is the length of the senders' addresses, or 0 if they aren't needed. `with_control` adds space for
        control messages.
        """
        self.slots = slots = _Slots(SIZE, name_length, _CONTROL_SIZE if with_control else 0)
        self._starts = slots.starts
        self.memory, self._headers, self._lengths = slots.memory, slots.headers, slots.lengths
        self.name_length = name_length
        self._room = memoryview(array(slots.control_lengths.format, [_CONTROL_SIZE] * BATCH)) if with_control else None
        self.names = slots.names.tolist()  # where the senders' addresses are in memory, for an outbox
        first, end = _IP_AT.get(name_length, (0, 0))
        name_starts = range(_NAMES, _NAMES + BATCH * NAME_SIZE, NAME_SIZE)
        # The slices of `memory` that contain the senders' IP addresses, one for each datagram of a batch.
        self.addresses = [slice(at + first, at + end) for at in name_starts]

    def receive(self, fd: int) -> list[bytes]:
        """Return the datagrams that have arrived, at most `BATCH`. This function doesn't wait.

        If there are fewer than `BATCH` datagrams, the socket is empty. Raises OSError if the kernel reports an error of
        a datagram that was sent earlier.
        """
        if self._room is not None:
            self.slots.control_lengths[:] = self._room  # the kernel overwrites these lengths with each call
        count = _recvmmsg(fd, self._headers, BATCH, socket.MSG_DONTWAIT, None)
        if count < 0:
            error = ctypes.get_errno()
            if error == EAGAIN:
                return []
            raise OSError(error, os.strerror(error))
        memory = self.memory
        if count == 1:  # 0.3 µs less than a loop
            return [memory[_DATAGRAMS : _DATAGRAMS + self._lengths[0]]]
        return [memory[at : at + length] for at, length in zip(self._starts, self._lengths[:count], strict=False)]

    def name(self, place: int) -> bytes:
        """Return the address from which a datagram of the last batch came, in the kernel's format."""
        at = _NAMES + place * NAME_SIZE
        return self.memory[at : at + self.name_length]

    def senders(self, step: int = 1) -> list[bytes]:
        """Return the IP addresses of the senders of the last batch, or only those of every `step`th datagram.

        The result has an address for each place in a batch. For a place that no batch has used, the address consists of
        zeros.
        """
        memory = self.memory
        return [memory[at] for at in self.addresses[::step]]

    def keep(self, places: Sequence[int]) -> None:
        """Move the addresses and control messages of some datagrams to the first places.

        `places` contains the indices of these datagrams, sorted.
        """
        memory, lengths = self.memory, self.slots.control_lengths
        for to, place in enumerate(places):
            for begin, size in (_NAMES, NAME_SIZE), (_CONTROLS, _CONTROL_SIZE):
                at = begin + place * size
                memory[begin + to * size : begin + (to + 1) * size] = memory[at : at + size]
            lengths[to] = lengths[place]

    def control(self, place: int) -> bytes:
        """Return the control messages of a datagram of the last batch."""
        at = _CONTROLS + place * _CONTROL_SIZE
        return self.memory[at : at + self.slots.control_lengths[place]]


def short(words: bytes) -> bytes:
    """Return numbers below 65,536 with 2 octets each.

    In `words`, each number is a machine word, as in the second part of `Joined`.
    """
    size = sizeof(c_size_t)
    low = 0 if sys.byteorder == "little" else size // 2 - 1
    return memoryview(words).cast("H")[low :: size // 2].tobytes()


# The joined octets of all datagrams, and the lengths of the datagrams as machine words. A NamedTuple takes 0.3 µs more.
Joined = tuple[bytes, "array[int]"]


class Outbox:
    """Sends the datagrams of a batch together over one socket."""

    def __init__(self, name_length: int = 0, *, with_control: bool = False) -> None:
        """Lay out the buffers.

        `name_length` is 0 for connected sockets. `with_control` adds space for control messages.
        """
        self._slots = slots = _Slots(SEND_SIZE, name_length, _CONTROL_SIZE if with_control else 0)
        self._starts = slots.starts
        self._memory, self._headers, self._sizes, self._names = slots.memory, slots.headers, slots.sizes, slots.names
        self._own_names = slots.names.tolist()
        self._has_control = with_control
        self._kind = slots.sizes.format  # the type code of a machine word for `array`
        self._joined: _Slots | None = None  # the memory for `send_joined`
        self._count = 0
        self._fd = -1
        self._failed: Callable[[int], bool]

    def aim(self, fd: int, failed: Callable[[int], bool]) -> None:
        """Set the socket from which datagrams are sent, and the function that is called for errors.

        If the kernel rejects a datagram, `failed` gets the number of the error. If `failed` returns True, the outbox
        tries to send the datagram once more.
        """
        self._fd, self._failed = fd, failed

    def put(self, datagram: bytes, name_at: int = 0) -> None:
        """Add a datagram of at most `SEND_SIZE` octets to the batch. Send the batch if it is full.

        `name_at` is an item of `Inbox.names`, or 0 for a connected socket. The address at this place in memory must not
        change before `send` is called.
        """
        place = self._count
        at = self._starts[place]
        size = len(datagram)
        self._memory[at : at + size] = datagram
        self._sizes[place] = size
        if name_at:
            self._names[place] = name_at
        self._count = place + 1
        if place == BATCH - 1:
            self.send()

    def put_for(self, datagram: bytes, name: bytes, control: bytes) -> None:
        """Add a datagram with control messages to the batch. `name` is an address that `Inbox.name` returned."""
        place = self._count
        at = _NAMES + place * NAME_SIZE
        self._memory[at : at + len(name)] = name
        if self._has_control:
            at = _CONTROLS + place * _CONTROL_SIZE
            self._memory[at : at + len(control)] = control
            self._slots.control_lengths[place] = len(control)
        self.put(datagram, self._own_names[place])

    def answer_to(self, inbox: Inbox) -> None:
        """Lay out the buffers of `send_joined`, which sends datagrams to the senders in `inbox`."""
        self._joined = _Slots(SEND_SIZE, inbox.name_length, 0)
        self._joined.names[:] = inbox.slots.names

    def send_joined(self, datagrams: Sequence[bytes]) -> Joined:
        """Send one datagram to each sender in the inbox, in their order. Return the joined datagrams.

        This takes half as long as calling `put` for each datagram and then `send`. Each datagram has at most
        `SEND_SIZE` octets. If one of them is None, this function raises `TypeError` and sends nothing.
        """
        slots = self._joined
        assert slots is not None
        if len(datagrams) == 1 and not self._count:  # takes 1.6 µs less than the code for several datagrams
            (octets,) = datagrams
            size = len(octets)
            slots.memory[_DATAGRAMS : _DATAGRAMS + size] = octets
            slots.sizes[0] = size
            self._send(slots.headers, 1)
            return octets, array(self._kind, (size,))
        lengths = list(map(len, datagrams))
        octets = b"".join(datagrams)
        if self._count:
            self.send()
        count, start, kind = len(lengths), slots.starts[0], self._kind
        slots.memory[start : start + len(octets)] = octets
        words = array(kind, lengths)
        slots.sizes[:count] = memoryview(words)
        slots.bases[:count] = memoryview(array(kind, list(accumulate(lengths[:-1], initial=slots.base + start))))
        self._send(slots.headers, count)
        return octets, words

    def send(self) -> None:
        """Send the datagrams of the batch.

        This function doesn't wait. If the kernel's buffer is full, `failed` gets EAGAIN.
        """
        count, self._count = self._count, 0
        if count:
            self._send(self._headers, count)

    def _send(self, headers: "ctypes.Array[_Mmsghdr]", count: int) -> None:
        done = 0
        has_failed = False
        first: Any = headers
        while True:
            # The system call reports an error only if its first datagram failed.
            sent = _sendmmsg(self._fd, first, count - done, socket.MSG_DONTWAIT)
            if sent > 0:
                done += sent
                has_failed = False
            elif self._failed(ctypes.get_errno()) and not has_failed:
                has_failed = True
            else:
                done += 1
                has_failed = False
            if done >= count:
                return
            first = byref(headers, done * _SIZE_OF_HEADER)


_SIZE_OF_HEADER = sizeof(_Mmsghdr)

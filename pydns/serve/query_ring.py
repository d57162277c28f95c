"""Keeps the last queries of a worker in memory, which other processes read while the worker writes.

The ring is an observer of ports. `pydns.ring.layout` defines its format. Every query passes through this file, so
its code must be fast:

1. The worker keeps the replies as they are. Readers of the ring parse them.
2. The replies of a batch are already one string of octets, because the port has joined them to send them
   (`datagrams.Outbox.send_joined`).
3. For a batch, the worker only adds references to a list, and copies the addresses of all clients at once. Several
   batches are written together, as one record.

The worker calls `write` twice a second, so a reply waits for half a second at most until it is written. A separate
timer would wake up a worker that has little to do. If the worker is killed, the waiting replies are lost.

The memory belongs to the worker's slot. So a restarted worker keeps the queries of its predecessor. The memory isn't a
file on a disk, because the worker would have to wait while the kernel writes a page of the file. All memory is
allocated when the ring is opened. So a lack of memory is an error then, and not a SIGBUS later.
"""

import mmap
import os
import time
from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from pydns.config.model import Config
from pydns.dns.reason import Reason
from pydns.log import Level, Log
from pydns.ring import layout
from pydns.ring.layout import Origin
from pydns.serve.datagrams import BATCH, short
from pydns.serve.port import Mark, Port

_ENOUGH = layout.MOST - BATCH  # when this many replies wait, they are written at once
# A batch that waits to be written. The first values are its port, the lengths of its messages, the messages, and their
# senders. Then come the time when the messages came, the seconds until the replies were sent, and the origins.
_Waiting = tuple[Port, "array[int]", bytes, bytes, float, float, bytes]
# A deferred reply that waits to be written: the arguments of `replied_later`, without `error`.
_Later = tuple[Port, Any, bytes, float, float, Origin, str]


class QueryRing:
    """The ring of one worker."""

    def __init__(self, memory: int, log: Log) -> None:
        """`memory` is the file descriptor of the slot's memory."""
        self._descriptor = memory
        self._log = log
        self._room = 0  # how many octets of memory the configuration asks for
        self._memory: mmap.mmap | None = None
        self._size = self._written = 0
        # Two numbers in the head of the memory. Writing an aligned word is atomic, so no reader sees half a number.
        self._cursor: memoryview[int]
        self._offset: memoryview[float]
        self._waiting: list[_Waiting] = []
        self._count = 0  # how many replies are in `_waiting`
        self._later: dict[str, list[_Later]] = defaultdict(list)  # protocol -> deferred replies

    @property
    def is_on(self) -> bool:
        """Whether the configuration asks for a ring, and the ring could be opened."""
        return self._memory is not None

    def configure(self, config: Config) -> None:
        """Apply the configuration.

        This function is called twice a second, so it also adapts the ring to changes of the system's clock.
        """
        room = config.recent_queries_mib << 20
        if room != self._room:
            self._room = room
            self.close()
            self._open(room)
        if self._memory is not None:
            self._offset[0] = time.time() - time.monotonic()

    def _open(self, room: int) -> None:
        """Map the memory, or free it if `room` is 0.

        If the memory has another size or format, it is allocated again.
        """
        descriptor, size = self._descriptor, layout.HEAD + room if room else 0
        try:
            head = layout.parse_head(os.pread(descriptor, layout.HEAD, 0))
            if head is None or head.room != room or os.fstat(descriptor).st_size != size:
                os.ftruncate(descriptor, 0)
                if not room:
                    return
                os.posix_fallocate(descriptor, 0, size)
                os.pwrite(descriptor, layout.compose_head(room, time.time() - time.monotonic()), 0)
            self._memory = mmap.mmap(descriptor, size)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(descriptor, 0)
            self._log(
                "recent queries are not kept",
                level=Level.WARNING,
                reason=error.strerror,
                action="change recent_queries_mib to try again",
            )
            return
        self._size = room
        words = memoryview(self._memory)[: layout.HEAD]
        self._cursor = words[layout.WRITTEN_AT : layout.WRITTEN_AT + 8].cast("Q")
        self._offset = words[layout.OFFSET_AT : layout.OFFSET_AT + 8].cast("d")
        self._written = self._cursor[0]

    def answered(self, port: Port, messages: Sequence[bytes], came: float, spent_s: float) -> None:
        """Keep the replies to messages that came together."""
        count = len(messages)
        marks = port.marks
        origins = b""
        if port.joined is not None and not marks:
            octets, lengths = port.joined
        elif not marks and None not in port.replies:
            octets, lengths = b"".join(port.replies), array("L", map(len, port.replies))  # type: ignore[arg-type]
        elif len(marks) == count and Mark.RULED not in marks.values():
            return  # all messages of the batch were deferred
        else:
            shown = list(_shown(port, messages))
            octets, lengths = b"".join(shown), array("L", map(len, shown))
            origins = bytes([_ORIGINS[marks.get(place)] for place in range(count)])
        self._waiting.append((port, lengths, octets, port.senders(count), came, spent_s, origins))
        self._count += count
        if self._count >= _ENOUGH:
            self._write_waiting()

    def replied_later(
        self,
        port: Port,
        peer: Any,
        reply: bytes,
        came: float,
        spent_s: float,
        origin: Origin,
        server: str,
        error: Reason | int | None,
    ) -> None:
        """Keep a deferred reply."""
        waiting = self._later[port.protocol]
        waiting.append((port, peer, reply, came, spent_s, origin, server))
        if len(waiting) == _ENOUGH:
            self._write_later(waiting)

    def write(self) -> None:
        """Write the waiting replies."""
        self._write_waiting()
        for waiting in self._later.values():
            if waiting:
                self._write_later(waiting)

    def _write_later(self, waiting: list[_Later]) -> None:
        """Write the deferred replies of one protocol, and empty the list `waiting`."""
        if self._memory is not None:
            ports, peers, *columns = zip(*waiting, strict=True)
            addresses = [port.source(peer) for port, peer in zip(ports, peers, strict=True)]
            messages, came, spent_s, origins, servers = columns
            form = _form(ports[0])
            self._write(layout.compose_later(self._written, messages, addresses, came, spent_s, origins, servers, form))
        waiting.clear()

    def _write_waiting(self) -> None:
        """Write the waiting batches, in one record for each transport."""
        of_transports: dict[int, list[_Waiting]] = {}
        for each in self._waiting:
            of_transports.setdefault(each[0].tally.transport, []).append(each)
        self._waiting.clear()
        self._count = 0
        if self._memory is not None:
            for waiting in of_transports.values():
                self._write(self._composed(waiting))

    def _composed(self, waiting: list[_Waiting]) -> list[bytes]:
        """Return the parts of a record that contains several batches."""
        ports, lengths, messages, senders, came, spent_s, origins = zip(*waiting, strict=True)
        turns = came, spent_s, list(map(len, lengths))
        form, extra = _form(ports[0]), b""
        if any(origins):
            form |= layout.WITH_ORIGINS
            extra = b"".join([of or bytes(len(of_batch)) for of, of_batch in zip(origins, lengths, strict=True)])
        addresses = ports[0].sources(b"".join(senders))
        return layout.compose(self._written, turns, addresses, short(b"".join(lengths)), messages, form, extra)

    def _write(self, parts: Sequence[bytes]) -> None:
        """Write the parts of a record to the memory."""
        memory = self._memory
        assert memory is not None
        size = sum(map(len, parts))
        at = layout.HEAD + self._written % self._size
        over = at + size - layout.HEAD - self._size
        if over <= 0:
            for part in parts:
                end = at + len(part)
                memory[at:end] = part
                at = end
        else:
            record = b"".join(parts)
            memory[at : layout.HEAD + self._size] = record[:-over]
            memory[layout.HEAD : layout.HEAD + over] = record[-over:]
        self._written += size
        self._cursor[0] = self._written

    def close(self) -> None:
        """Write the waiting replies, and unmap the memory. Other processes can still read it."""
        if self._memory is None:
            return
        self.write()
        self._cursor.release()
        self._offset.release()
        self._memory.close()
        self._memory = None


def _form(port: Port) -> int:
    return 0 if port.protocol == "udp" else layout.STREAM


def _shown(port: Port, messages: Sequence[bytes]) -> Iterator[bytes]:
    """Yield what the ring keeps for each message of a batch: its reply, or no octets if the message was deferred.

    If a message got no reply, the message itself is kept, with its bit QR set to 0.
    """
    for place, reply in enumerate(port.replies):
        if reply is not None:
            yield reply
        elif port.marks.get(place) is Mark.WAITS:
            yield b""
        else:
            message = messages[place]
            yield message[:2] + bytes([message[2] & 0x7F]) + message[3:] if len(message) > 2 else message


_ORIGINS = {None: Origin.UNKNOWN, Mark.WAITS: Origin.UNKNOWN, Mark.RULED: Origin.RULE}

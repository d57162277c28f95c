"""Blocks of memory that processes share. Each block has one writer at a time, and its content outlives the writer.

The supervisor makes them before it forks. A block belongs to a worker's slot, so a restarted worker goes on counting
where the one before it stopped. A writer fills one half while readers read the other, and then the halves change
places. So a writer that is killed in the middle has changed nothing.
"""

import mmap

_HALF = 512 << 10  # octets; only written pages take memory
_HEAD = 16
_SIZE = _HEAD + 2 * _HALF
_TRIES = 100


class Block:
    """The block of one writer."""

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        self._turn = memory[:8].cast("Q")  # an aligned word is stored at once: no reader sees half of a number

    def store(self, octets: bytes) -> bool:
        """Replace the content. Return False and change nothing if `octets` are too long."""
        if len(octets) > _HALF - 8:
            return False
        turn = self._turn[0] + 1
        at = _HEAD + turn % 2 * _HALF
        self._memory[at + 8 : at + 8 + len(octets)] = octets
        self._memory[at : at + 8] = len(octets).to_bytes(8)
        self._turn[0] = turn
        return True

    def load(self) -> bytes:
        """Return the content; empty if nothing was stored yet."""
        for _ in range(_TRIES):  # writers store a few times a second, so one try is nearly always enough
            turn = self._turn[0]
            at = _HEAD + turn % 2 * _HALF
            octets = bytes(self._memory[at + 8 : at + 8 + int.from_bytes(self._memory[at : at + 8])])
            if self._turn[0] == turn:
                return octets
        return b""


def share(count: int) -> list[Block]:
    """Return blocks that this process shares with its forks."""
    memory = memoryview(mmap.mmap(-1, count * _SIZE))
    return [Block(memory[index * _SIZE : (index + 1) * _SIZE]) for index in range(count)]

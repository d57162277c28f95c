"""Blocks of memory that processes share. Each block has one writer at a time.

The content of a block survives the exit of the writer. The supervisor creates the blocks before it forks. Each block
belongs to the controller or to one worker's slot. So a restarted process continues with the counts of its predecessor.
The writer fills one half of the block while readers read the other half. After that, the two halves swap roles. So a
writer that is killed during a write has changed nothing.
"""

import mmap

_HALF = 512 << 10  # octets; pages that are never written use no memory
_HEAD = 16
_SIZE = _HEAD + 2 * _HALF
_TRIES = 100


class Block:
    """The block of one writer."""

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        self._turn = memory[:8].cast("Q")  # storing an aligned word is atomic: no reader sees half a number

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
        """Return the content of the last `store`, or empty octets before the first `store`."""
        for _ in range(_TRIES):  # writers store a few times a second, so one try is nearly always enough
            turn = self._turn[0]
            at = _HEAD + turn % 2 * _HALF
            octets = bytes(self._memory[at + 8 : at + 8 + int.from_bytes(self._memory[at : at + 8])])
            if self._turn[0] == turn:
                return octets
        return b""


def share(count: int) -> list[Block]:
    """Return new blocks. This process shares the blocks with the processes that it forks."""
    memory = memoryview(mmap.mmap(-1, count * _SIZE))
    return [Block(memory[index * _SIZE : (index + 1) * _SIZE]) for index in range(count)]

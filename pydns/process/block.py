"""Blocks of memory that processes share: each has one writer at a time, whose counts outlive it.

Made by the supervisor before it forks; a block belongs to a worker's slot, so that a worker that starts again goes on
counting where the one before it stopped. What lies in a block is written to one half while readers have the other, and
then the halves change places: a writer that is killed in the middle has changed nothing.
"""

import mmap

_HALF = 512 << 10  # octets; a sparse file's: only what was written takes memory
_HEAD = 16
_SIZE = _HEAD + 2 * _HALF
_TRIES = 100


class Block:
    """One writer's place."""

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        self._turn = memory[:8].cast("Q")  # stored whole: nobody sees half of a number

    def store(self, octets: bytes) -> bool:
        """Replace what is there. False, and nothing is changed, if it is too long."""
        if len(octets) > _HALF - 8:
            return False
        turn = self._turn[0] + 1
        at = _HEAD + turn % 2 * _HALF
        self._memory[at + 8 : at + 8 + len(octets)] = octets
        self._memory[at : at + 8] = len(octets).to_bytes(8)
        self._turn[0] = turn
        return True

    def load(self) -> bytes:
        """Return what was last stored whole; nothing before the first."""
        for _ in range(_TRIES):  # a writer stores a few times a second, so once is enough nearly always
            turn = self._turn[0]
            at = _HEAD + turn % 2 * _HALF
            octets = bytes(self._memory[at + 8 : at + 8 + int.from_bytes(self._memory[at : at + 8])])
            if self._turn[0] == turn:
                return octets
        return b""


def share(count: int) -> list[Block]:
    """Return blocks that this process and those that it forks have in common."""
    memory = memoryview(mmap.mmap(-1, count * _SIZE))
    return [Block(memory[index * _SIZE : (index + 1) * _SIZE]) for index in range(count)]

"""Memory that processes share: others can load the octets that one process stored, even after its exit."""

import os
from typing import Any, cast

import pytest

from pydns.process.block import Block, share


def test_octets_that_a_child_process_stored_can_be_loaded_after_its_exit() -> None:
    mine, theirs = share(2)
    pid = os.fork()
    if pid == 0:
        theirs.store(b"first")
        theirs.store(b"second")
        os._exit(0)
    os.waitpid(pid, 0)
    assert (mine.load(), theirs.load()) == (b"", b"second")


def test_storing_too_much_changes_nothing() -> None:
    (block,) = share(1)
    assert block.store(b"kept")
    assert not block.store(bytes(600_000))
    assert block.load() == b"kept"


class Killed(Exception):
    pass


class Memory:
    """Memory whose writer is killed after `writes` more writes."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(2 << 20))
        self.writes = 100

    def __getitem__(self, place: Any) -> Any:
        return self.view[place]

    def __setitem__(self, place: Any, value: bytes) -> None:
        if not self.writes:
            raise Killed
        self.writes -= 1
        self.view[place] = value


@pytest.mark.parametrize("writes", [0, 1])
def test_killing_a_writer_during_a_write_leaves_the_old_octets(writes: int) -> None:
    memory = Memory()
    block = Block(cast(memoryview, memory))
    block.store(b"the one before")
    block.store(b"whole")
    memory.writes = writes
    with pytest.raises(Killed):
        block.store(b"torn off")
    assert block.load() == b"whole"

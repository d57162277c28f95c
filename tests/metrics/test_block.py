"""Memory that processes share: what one stored, others load, whatever became of it."""

import os

import pytest

from pydns.metrics.block import share


def test_what_a_forked_process_stored_is_loaded_after_its_death() -> None:
    mine, theirs = share(2)
    pid = os.fork()
    if pid == 0:
        theirs.store(b"first")
        theirs.store(b"second")
        os._exit(0)
    os.waitpid(pid, 0)
    assert (mine.load(), theirs.load()) == (b"", b"second")


def test_what_is_too_long_changes_nothing() -> None:
    (block,) = share(1)
    assert block.store(b"kept")
    assert not block.store(bytes(600_000))
    assert block.load() == b"kept"


def test_a_writer_that_dies_in_the_middle_has_changed_nothing() -> None:
    (block,) = share(1)
    block.store(b"whole")

    class Dying(bytes):
        def __len__(self) -> int:
            return 5

    with pytest.raises(ValueError):  # the memory refuses a slice of another length, in the other half by then
        block.store(Dying(b"torn off"))
    assert block.load() == b"whole"

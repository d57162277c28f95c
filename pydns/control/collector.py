"""Python's garbage collector in the controller: off while the cluster is loaded, and never over what was loaded.

Nearly everything that a listing allocates is kept, and a collection looks at all of it.
"""

import gc

# A slice of 100,000 addresses is as many tuples, which are never garbage in a cycle. By the defaults, each version of
# it would cause full collections of up to 70 ms.
_THRESHOLD = (10_000, 5, 1000)


def pause() -> None:
    """Collect nothing until `resume`."""
    gc.disable()


def resume() -> None:
    """Collect again, but not what is there now."""
    gc.set_threshold(*_THRESHOLD)
    gc.enable()
    keep()


def keep() -> None:
    """Exempt what is there now from collections; collect what an earlier cluster left behind."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()

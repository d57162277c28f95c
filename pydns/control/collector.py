"""Python's garbage collector in the controller: off while the cluster is loaded, and never over what was loaded.

Nearly everything that a listing allocates is kept, and a collection looks at all of it.
"""

import gc


def pause() -> None:
    """Collect nothing until `resume`."""
    gc.disable()


def resume() -> None:
    """Collect again, but not what is there now."""
    gc.enable()
    keep()


def keep() -> None:
    """Exempt what is there now from collections; collect what an earlier cluster left behind."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()

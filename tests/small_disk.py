"""Give a test a small disk in a mount namespace. The test can fill this disk without affecting other processes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import PATIENCE_S

DISK = Path("/mnt")


def on_a_small_disk(megabytes: int, code: str, *arguments: str) -> str:
    """Run `code` with a small disk at `DISK`, and return what the code prints. Its `sys.argv` has the arguments."""
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare")
    mount = f"mount -t tmpfs -o size={megabytes}m,mode=755 none {DISK}"
    within = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    if subprocess.run([*within, "sh", "-c", mount], capture_output=True, check=False).returncode:
        pytest.skip("this user can't mount anything in a namespace")
    done = subprocess.run(
        [*within, "sh", "-c", f'{mount} && exec "$0" -c "$@"', sys.executable, code, *arguments],
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def fill() -> Path:
    """Fill the disk with a file, and return the file's path."""
    filling = DISK / "filling"
    with filling.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(1 << 16)):
                pass
        except OSError:
            return filling
    raise AssertionError

"""A process exits after an unexpected failure, and logs the reason."""

import asyncio
import subprocess
import sys

import pytest

from pydns.log import Log
from pydns.serve.worker import stop_if_failed

FAILS = """
import threading, time
from pydns.control.program import end_with_threads
from pydns.log import Log

def look():
    raise RuntimeError("no such page")

end_with_threads(Log())
threading.Thread(target=look, name="manifests").start()
time.sleep(100)
"""


def test_a_failed_thread_ends_the_controller() -> None:
    ended = subprocess.run([sys.executable, "-c", FAILS], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert 'event="thread failed" thread=manifests error="RuntimeError: no such page"' in ended.stderr


def test_a_failed_task_stops_its_worker_and_a_cancelled_one_does_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def look() -> None:
        raise RuntimeError("no such page")

    async def stops(cancelled: bool) -> bool:
        stop = asyncio.Event()
        task = asyncio.get_running_loop().create_task(look())
        task.add_done_callback(lambda done: stop_if_failed(done, stop, Log()))
        if cancelled:
            task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0)
        return stop.is_set()

    assert asyncio.run(stops(cancelled=True)) is False
    assert asyncio.run(stops(cancelled=False)) is True

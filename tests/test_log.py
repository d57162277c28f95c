"""The log under bad conditions: thousands of events, hostile names, and a reader that has stopped."""

import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pydns.log import FIRST, MOST, PATIENCE_S, Level, Log
from pydns.stderr import PIECE, Stderr


class Lines:
    """An output for log lines. It may be full."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.patience: list[float] = []
        self.is_full = False

    def write(self, lines: bytes, patience_s: float = 0.0) -> bool:
        self.patience.append(patience_s)
        if not self.is_full:
            self.lines.append(lines.decode().partition(" level=")[2])
        return not self.is_full


class Clock:
    now = 1e9

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def log(lines: Lines, clock: Clock) -> Log:
    return Log(outlet=lines, clock=clock)


def test_repeated_events_are_summarized_when_the_minute_is_over(log: Log, lines: Lines, clock: Clock) -> None:
    for number in range(FIRST + 7):
        # Events that differ only in numbers are treated as the same event.
        log("process died", level=Level.ERROR, process="worker 0", after_s=number)
    log("process died", level=Level.ERROR, process="worker 1", after_s=0)
    assert len(lines.lines) == FIRST + 1
    clock.now += 59
    log.summarize()
    assert len(lines.lines) == FIRST + 1
    clock.now += 1
    log.summarize()
    assert lines.lines[FIRST + 1 :] == [
        f'error event="process died" process="worker 0" after_s={FIRST + 6} repeated=7\n'
    ]
    log("process died", level=Level.ERROR, process="worker 0", after_s=0)
    assert lines.lines[-1].endswith(" after_s=0\n")


def test_events_that_repeated_before_a_fork_are_summarized_by_one_process(log: Log, lines: Lines, clock: Clock) -> None:
    for _ in range(FIRST + 1):
        log("process died")
    log.forget()  # a child process makes this call after the fork
    clock.now += 60
    log.summarize()
    assert len(lines.lines) == FIRST


def test_the_last_line_of_a_flapping_state_is_the_current_state(log: Log, lines: Lines, clock: Clock) -> None:
    log("object is right again", object="Service shop/web")
    for _ in range(FIRST + 1):
        clock.now += 1
        log("object skipped", object="Service shop/web")
        clock.now += 1
        log("object is right again", object="Service shop/web")
    clock.now += 60
    log("something else")
    assert [line.partition(' object="')[0] for line in lines.lines[2 * FIRST :]] == [
        'info event="object skipped"',
        'info event="object is right again"',
        'info event="something else"\n',
    ]


def test_thousands_of_different_objects_give_a_limited_number_of_log_lines(
    log: Log, lines: Lines, clock: Clock
) -> None:
    for number in range(5000):
        log("object skipped", object=f"Service shop/web-{number}")
    assert len(lines.lines) == MOST + FIRST
    clock.now += 60
    log.summarize()
    last = f'info event="object skipped" object="Service shop/web-4999" repeated={5000 - MOST - FIRST}\n'
    assert lines.lines[MOST + FIRST :] == [last]


def test_lost_lines_are_counted_and_only_the_first_delays_its_caller(log: Log, lines: Lines) -> None:
    lines.is_full = True
    for number in range(4):
        log("manifest is right again", file=f"{number}.yaml")
    assert [each for each in lines.patience if each] == [PATIENCE_S]
    lines.is_full = False
    log("synced")
    assert lines.lines == ['warning event="log lines lost" number=4\n', "info event=synced\n"]


HOSTILE = ["a\nlevel=info event=synced", "a\u2028b", "a\x85b", 'a" event="synced', "a\udc80b", "\x1b[2J", "x" * 9999]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("as_json", [True, False])
def test_a_field_cannot_forge_a_line_or_another_field(text: str, as_json: bool, clock: Clock) -> None:
    written = []

    class Octets(Lines):
        def write(self, lines: bytes, patience_s: float = 0.0) -> bool:
            written.append(lines.decode())
            return True

    Log(as_json=as_json, outlet=Octets(), clock=clock)("object skipped", object=text)
    assert len(written[0].splitlines()) == 1
    assert len(written[0]) < 4096
    assert all(each.isprintable() for each in written[0][:-1])
    if as_json:
        assert json.loads(written[0])["object"] == text[:2000]
    else:
        assert len(written[0].split(' event="object skipped" object=')) == 2
        value = written[0].partition(" object=")[2][:-1]
        assert (json.loads(value) if value.startswith('"') else value) == text[:2000]


Pair = tuple[int, Callable[[], bytes]]  # a descriptor to write to, and a function that returns everything written to it


@pytest.fixture(params=["pipe", "pipe of another user", "socket"])
def pair(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    if request.param == "socket":
        writing, reading = (each.detach() for each in socket.socketpair())
    else:
        reading, writing = os.pipe()
    if request.param == "pipe of another user":

        def refuse(*_: object) -> int:
            raise PermissionError

        monkeypatch.setattr("pydns.stderr.os.open", refuse)
    os.set_blocking(reading, False)

    def read() -> bytes:
        found = b""
        try:
            while octets := os.read(reading, 65536):
                found += octets
        except BlockingIOError:
            pass
        return found

    yield writing, read
    os.close(reading)
    os.close(writing)


def test_an_unread_pipe_gets_whole_lines_until_it_is_full_and_blocks_no_process(pair: Pair) -> None:
    fd, read = pair
    stderr = Stderr(fd)
    line = b"x" * 999 + b"\n"
    taken = 0
    while stderr.write(line):
        taken += 1
    assert not stderr.write(line, 0.01)
    assert os.get_blocking(fd)  # other processes share the descriptor, so its mode must not change
    found = read()
    while stderr.write(b""):  # this writes the rest of the line; at first the pipe had space only for the beginning
        rest = read()
        found += rest
        if not rest:
            break
    assert found == line * (len(found) // 1000)
    assert taken <= len(found) // 1000 <= taken + 2
    assert stderr.write(b"and on\n")
    assert read().endswith(b"and on\n")


def test_a_line_that_does_not_fit_a_pipe_is_completed_before_the_next_one() -> None:
    reading, writing = os.pipe()
    stderr = Stderr(writing)
    while stderr.write(b"x" * (PIECE - 1) + b"\n"):
        pass
    os.read(reading, PIECE)
    long = b"y" * PIECE + b"z\n"
    assert stderr.write(long)  # the pipe has space for the beginning of the line; the rest waits
    assert not stderr.write(b"next\n")
    found = os.read(reading, 1 << 20)
    assert stderr.write(b"next\n")
    found += os.read(reading, 1 << 20)
    assert found.endswith(b"x\n" + long + b"next\n")
    os.close(reading)
    os.close(writing)


def test_the_exit_of_a_logs_reader_is_not_a_failure() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    assert Stderr(writing).write(b"to nobody\n")
    os.close(writing)


def test_log_lines_are_appended_to_a_file(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    os.write(fd, b"before\n")
    Stderr(fd).write(b"ours\n")
    os.write(fd, b"after\n")
    os.close(fd)
    assert (tmp_path / "log").read_bytes() == b"before\nours\nafter\n"

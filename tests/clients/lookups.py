"""How each client is run, and its results. This module doesn't know the expected results."""

import re
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tests.clients import daemons, programs
from tests.clients.pod import ADDRESS, Pod
from tests.clients.table import FAILED, NONE, Found, parse, rows
from tests.clients.wiretap import Connection, Query, Reply, Seen

Asked = tuple[str, str]  # "A", "AAAA", "both" or "SRV"; and a name
Ask = Callable[[str, str], str]
GRPC_PORT = 50051
_TRIES = 3
# A name that doesn't exist; it is looked up first, because a client's first look-up includes the start of the client.
_FIRST = "first"


@dataclass(frozen=True, slots=True)
class Lookup:
    """A client's report in the client's own words, the packets of the look-up, and its duration."""

    line: str
    seen: Sequence[Seen]
    duration_s: float

    @property
    def found(self) -> Found:
        """Return the result in the words of the table."""
        return parse(self.line)

    @property
    def slowest_reply_s(self) -> float:
        """Return the longest time between a UDP query and its reply, or 0 if there was no reply."""
        asked: dict[Query, float] = {}
        times = [0.0]
        for each in self.seen:
            match each:
                case Query():
                    asked.setdefault(each, each.at)
                case Reply() if each.to in asked:
                    times.append(each.at - asked.pop(each.to))
        return max(times)

    def delay(self) -> str | None:
        """Return the cause of an unnecessary delay or connection, or None if there was none.

        There are two such causes: a query was sent again although its reply had not arrived yet, or the client used TCP
        although no reply was truncated.
        """
        waiting: set[Query] = set()
        for each in self.seen:
            match each:
                case Query():
                    if each in waiting:
                        return f"{each} was sent again without a reply"
                    waiting.add(each)
                case Reply(truncated=True):
                    return None  # the client has changed to TCP, so it need not wait for UDP replies
                case Reply():
                    waiting.discard(each.to)
                case Connection():
                    if each == Connection(ADDRESS, 53):
                        return "TCP without a truncated reply"
        return None


@contextmanager
def conversation(pod: Pod, command: Sequence[str]) -> Iterator[Ask]:
    """Run a client that reads one question per line and writes one result per line.

    Yield a function that asks the client a question and returns the client's line.
    """
    process = subprocess.Popen(
        pod.command(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdin is not None and process.stdout is not None
    reads, writes = process.stdin, process.stdout

    def ask(question: str, name: str) -> str:
        print(question, name, file=reads, flush=True)
        line = writes.readline()
        assert line, f"ended when asked for {name}"
        return line.strip()

    try:
        yield ask
    finally:
        try:
            process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def whole_table(resolver: str, pod: Pod, go_cache: Path) -> Mapping[Asked, Lookup]:
    """Ask a resolver all questions that the table has for it, and return the results. Raises programs.Missing."""
    asked = [(question, row.name) for row in rows() for question in row.questions(resolver)]
    return _lookups(resolver, pod, asked, go_cache)


def _lookups(resolver: str, pod: Pod, asked: Sequence[Asked], cache: Path) -> Mapping[Asked, Lookup]:
    if resolver in ALL_AT_ONCE:
        return {each: Lookup(line, (), 0.0) for each, line in ALL_AT_ONCE[resolver](pod, asked).items()}
    found = {}
    with _asking(resolver, pod, cache) as ask:
        _lookup(resolver, pod, ask, (asked[0][0], _FIRST))
        for each in asked:
            found[each] = first = _lookup(resolver, pod, ask, each)
            for _ in range(_TRIES - 1):
                if found[each].delay():  # on a busy machine any reply may be late, so a delayed look-up is repeated
                    found[each] = replace(first, seen=_lookup(resolver, pod, ask, each).seen)
    return found


def _lookup(resolver: str, pod: Pod, ask: Ask, asked: Asked) -> Lookup:
    pod.wiretap.seen()
    began = time.perf_counter()
    line = ask(*asked)
    duration_s = time.perf_counter() - began
    seen = pod.wiretap.seen()
    if resolver in _CONNECTS:
        line = _connected(*_CONNECTS[resolver], line, seen)
    return Lookup(line, seen, duration_s)


@contextmanager
def _asking(resolver: str, pod: Pod, cache: Path) -> Iterator[Ask]:
    if resolver in _COMMANDS:
        yield partial(_COMMANDS[resolver], pod)
    elif resolver == "nginx":
        with daemons.nginx(pod) as ask:
            yield ask
    else:
        with conversation(pod, _CONVERSATIONS[resolver](pod.folder, cache)) as ask:
            yield ask


_CONVERSATIONS: Mapping[str, Callable[[Path, Path], list[str]]] = {
    "glibc": lambda folder, cache: programs.glibc(folder),
    "musl": lambda folder, cache: programs.musl(folder),
    "go": programs.go,
    "node-lookup": lambda folder, cache: programs.node("lookup"),
    "node-resolve": lambda folder, cache: programs.node("resolve"),
    "java": lambda folder, cache: programs.java(folder),
    "netty": lambda folder, cache: programs.netty(folder),
    "grpc": lambda folder, cache: programs.grpc(GRPC_PORT),
}


def _unbound_host(pod: Pod, question: str, name: str) -> str:
    command = pod.command([programs.find("unbound-host"), "-r", "-t", question, name])
    said = subprocess.run(command, capture_output=True, text=True, timeout=30).stdout
    if "SERVFAIL" in said:
        return f"{FAILED} {said.strip()}"
    found = re.findall(r"has (?:IPv6 )?address (\S+)", said)
    found += [f"{target}:{port}" for port, target in re.findall(r"has SRV record \d+ \d+ (\d+) (\S+)\.", said)]
    return " ".join(found) or NONE


def _busybox(pod: Pod, question: str, name: str) -> str:
    command = pod.command([programs.find("busybox"), "nslookup", f"-type={question.lower()}", name])
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    said = done.stdout + done.stderr
    found = re.findall(r"^Name:\s+\S+\nAddress(?: \d+)?: (\S+)$", said, re.MULTILINE)
    found += [f"{target}:{port}" for port, target in re.findall(r"service = \d+ \d+ (\d+) (\S+)", said)]
    if found:
        return " ".join(found)
    return f"{FAILED} {said.strip()}" if "SERVFAIL" in said or "timed out" in said else NONE


_COMMANDS = {"unbound-host": _unbound_host, "busybox": _busybox}


# Clients that show their results by connecting. Each row has the port, and the reports of failed look-ups.
_CONNECTS: Mapping[str, tuple[int, Mapping[str, str]]] = {
    "grpc": (GRPC_PORT, {"not found": NONE, "no data": NONE, "resol": FAILED}),
    "nginx": (daemons.NGINX_PORT, {"Host not found": NONE, "could not be resolved": FAILED}),
}


def _connected(port: int, words: Mapping[str, str], line: str, seen: Iterable[Seen]) -> str:
    tried = [each.address for each in seen if isinstance(each, Connection) and each.port == port]
    reported = [f"{word} {line}" for part, word in words.items() if part in line]
    assert tried or reported, line
    return " ".join(tried) or reported[0]


ALL_AT_ONCE: Mapping[str, Callable[[Pod, Sequence[Asked]], Mapping[Asked, str]]] = {
    "haproxy": daemons.haproxy,
    "prometheus": daemons.prometheus,
}

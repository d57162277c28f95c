"""A long run with all kinds of trouble at once. An oracle knows every right answer. Run `make soak`.

The option --minutes sets the length of the run. During the run:

- Objects are created, changed and deleted.
- Workers and the controller are killed.
- Watches are cut.
- Upstreams exit, stop answering, return errors, and send forged replies.
- Badly behaved clients of all kinds send queries next to ordinary clients.

The run succeeds if no answer is wrong and no existing name gets NXDOMAIN. In addition, memory and open files at the end
must be at most 5 % above their values after the first minute. Lost queries and SERVFAIL are only counted: a killed
worker loses the queries that it had received, and an upstream that doesn't answer gives pydns nothing to return.

Processes are killed only in the first half, after the first minute. In the second half the processes live long enough
to show a leak.

The load is limited: there are `_CLIENTS` ordinary clients, which wait `_PAUSE_S` between queries, and one bad client.
"""

import argparse
import os
import random
import signal
import socket
import struct
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import yaml

from tests.bench import procfs
from tests.fakes.apiserver import FakeApiServer
from tests.fakes.manifests import endpoint_slice, service
from tests.fakes.upstream import FakeUpstream
from tests.running import PROBED, Server, query

_CLIENTS = 3
_PAUSE_S = 0.004
# a change must be visible after this time, because pydns tries a failed API server again after at most 30 s
_GRACE_S = 45.0
_SETTLED_S = 60.0  # memory is measured for the first time after this time
_CALM_S = 30.0  # wait this long before memory and files are measured: sockets to upstreams stay open for 25 s
_TROUBLE_S = 3.0
_IDLE = 300  # the number of connections that do nothing
_GROWTH = 1.05
_STABLE, _CHANGING, _HEADLESS = 40, 40, 20
_FORGETTABLE_RCODES = (dns.rcode.SERVFAIL,)

Answer = frozenset[str] | None  # a set of addresses; None means that the name doesn't exist


class Oracle:
    """The right answers, by name and time. It may be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._history: dict[str, list[tuple[float, Answer]]] = {}

    def record(self, qname: str, right: Answer) -> None:
        """Record that an answer is right from now on."""
        with self._lock:
            self._history.setdefault(qname, []).append((time.monotonic(), right))

    def names(self) -> list[str]:
        """Return every name that exists or existed earlier."""
        with self._lock:
            return list(self._history)

    def right(self, qname: str, asked: float) -> set[Answer]:
        """Return every answer that was right at some time from `_GRACE_S` before the question until now."""
        with self._lock:
            history = self._history[qname]
        found: set[Answer] = set()
        for place, (since, right) in enumerate(history):
            until = history[place + 1][0] if place + 1 < len(history) else time.monotonic()
            if until >= asked - _GRACE_S and since <= time.monotonic():
                found.add(right)
        return found


class Soak:
    """The run: a cluster, two upstreams, a server, and threads that send good and bad traffic."""

    def __init__(self, seed: int, directory: Path) -> None:
        self.random = random.Random(seed)
        self.oracle = Oracle()
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._lock = threading.Lock()
        self._idle: deque[socket.socket] = deque()  # connections that do nothing
        # The trouble of each upstream, and when the trouble ends.
        self._trouble: list[tuple[str, float]] = [("", 0.0)] * 2
        self._directory = directory
        self.api = FakeApiServer()
        self.upstreams = [FakeUpstream(self._script(index)) for index in range(2)]
        config = directory / "config.yaml"
        config.write_text(yaml.safe_dump({"upstreams": [f"127.0.0.1:{each.port}" for each in self.upstreams]}))

    def run(self, minutes: float) -> int:
        """Run, print the results, and return the exit status."""
        with self.api:
            self._fill()
            flags = ["--config", str(self._directory / "config.yaml"), *PROBED, "--metrics", "off"]
            source = ["--kubeconfig", str(self.api.kubeconfig(self._directory))]
            self.server = Server(source, self._directory, workers=2, flags=flags)
            try:
                seconds = minutes * 60
                first_s = min(_SETTLED_S, seconds / 4)
                self._work(first_s)
                before = self._figures()
                self._work(seconds / 2 - first_s, (self._kill, 10.0))
                self._work(seconds / 2)
                after = self._figures()
            finally:
                self.server.end()
                for upstream in self.upstreams:
                    upstream.close()
        return self._report(before, after)

    def _work(self, seconds: float, *more: tuple[Callable[[], None], float]) -> None:
        """Run all actions for some seconds, each in its own threads, with a pause after each run of an action."""
        actions = (
            *[(self._ask_udp, _PAUSE_S)] * _CLIENTS,
            (self._ask_tcp, 0.02),
            (self._behave_badly, 0.02),
            (self._change_an_object, 0.05),
            (self._cut_watches, 7.0),
            (self._trouble_an_upstream, 15.0),
            *more,
        )
        ended = threading.Event()

        def repeat(action: Callable[[], None], pause_s: float) -> None:
            while not ended.wait(pause_s):
                action()

        threads = [threading.Thread(target=repeat, args=each) for each in actions]
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        ended.set()
        for thread in threads:
            thread.join()
        for each in self._idle:
            each.close()
        self._idle.clear()
        time.sleep(_CALM_S)

    def _report(self, before: dict[str, int], after: dict[str, int]) -> int:
        for key, number in sorted(self.counts.items()):
            print(f"{key:28} {number}")
        for key, number in before.items():
            print(f"{key:28} {number} after the first minute, {after[key]} at the end")
        print("\n".join(self.wrong[:20]) or "no wrong answer")
        if self.wrong:
            print("".join(self.server.lines[-100:]))
        panics = self.server.logged("query failed") + self.server.logged("process failed")
        print("\n".join(panics[:5]) or "no exception")
        grown = [key for key in before if after[key] > before[key] * _GROWTH]
        if grown:
            print(f"grown by more than 5 %: {', '.join(grown)}")
        return 1 if self.wrong or panics or grown else 0

    def _figures(self) -> dict[str, int]:
        """Return the memory in KiB and the number of open files of all processes."""
        while True:
            with suppress(OSError):
                pids = procfs.tree(self.server.process.pid)
                files = sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids)
                return {"memory, KiB": sum(procfs.pss_kib(pids[0]).values()), "files": files}

    # The cluster

    def _fill(self) -> None:
        self.api.apply("Namespace", {"metadata": {"name": "shop"}})
        for number in range(_STABLE):
            self._put_service(f"stable{number}", f"10.96.0.{number + 1}")
        for number in range(_CHANGING):
            self._put_service(f"changing{number}", f"10.96.1.{number + 1}")
        for number in range(_HEADLESS):
            self.api.apply("Service", service(f"headless{number}", "None"))
            self._put_slice(f"headless{number}")
        for number in range(20):
            self.oracle.record(f"missing{number}.shop.svc.cluster.local", None)

    def _put_service(self, name: str, address: str) -> None:
        self.oracle.record(f"{name}.shop.svc.cluster.local", frozenset({address}))
        self.api.apply("Service", service(name, address))

    def _put_slice(self, name: str) -> None:
        addresses = [f"10.1.{self.random.randrange(256)}.{self.random.randrange(1, 255)}" for _ in range(3)]
        self.oracle.record(f"{name}.shop.svc.cluster.local", frozenset(addresses))
        self.api.apply("EndpointSlice", endpoint_slice(name, *addresses))

    def _change_an_object(self) -> None:
        name = f"changing{self.random.randrange(_CHANGING)}"
        match self.random.randrange(4):
            case 0:
                self._put_slice(f"headless{self.random.randrange(_HEADLESS)}")
            case 1:
                # Only these names change, and the others always exist.
                name = f"changing{self.random.randrange(_CHANGING // 2)}"
                with suppress(KeyError):
                    self.api.delete("Service", "shop", name)
                    self.oracle.record(f"{name}.shop.svc.cluster.local", None)
            case _:
                self._put_service(name, f"10.97.{self.random.randrange(256)}.{self.random.randrange(1, 255)}")
        self.counts["objects changed"] += 1

    # Troubles

    def _kill(self) -> None:
        with suppress(OSError, IndexError):
            os.kill(self.random.choice(self.server.children()), signal.SIGKILL)
            self.counts["processes killed"] += 1

    def _cut_watches(self) -> None:
        self.random.choice(
            [self.api.reset_watches, self.api.close_watches, self.api.compact, self.api.cut_next_event]
        )()
        self.counts["watches cut"] += 1

    def _trouble_an_upstream(self) -> None:
        index, trouble = self.random.randrange(2), self.random.choice(["dead", "silent", "failing", "forged"])
        self._trouble[index] = trouble, time.monotonic() + _TROUBLE_S
        self.counts[f"upstreams {trouble}"] += 1
        if trouble == "dead":
            port = self.upstreams[index].port
            self.upstreams[index].close()
            time.sleep(_TROUBLE_S)
            self.upstreams[index] = FakeUpstream(self._script(index), port=port)

    def _script(self, index: int) -> Callable[[bytes, str], list[bytes]]:
        def script(packet: bytes, how: str) -> list[bytes]:
            trouble, until = self._trouble[index]
            trouble = trouble if time.monotonic() < until else ""
            if trouble == "silent":
                return []
            request = dns.message.from_wire(packet)
            reply = dns.message.make_response(request)
            reply.flags |= dns.flags.RA
            qname = str(request.question[0].name).lower()
            if qname.endswith("missing.example."):
                reply.set_rcode(dns.rcode.NXDOMAIN)
            elif request.question[0].rdtype == dns.rdatatype.A:
                reply.answer.append(dns.rrset.from_text(request.question[0].name, 5, "IN", "A", _outside(qname)))
            if trouble == "failing":
                reply = dns.message.make_response(request)
                reply.set_rcode(dns.rcode.SERVFAIL)
            octets = reply.to_wire()
            return [*_forgeries(octets), octets] if trouble == "forged" and how == "udp" else [octets]

        return script

    # Clients

    def _question(self) -> tuple[str, Callable[[float], set[Answer]]]:
        """Return a name, and a function that maps the time of a query to its right answers."""
        number = self.random.randrange(3000)
        if number < 300:
            qname = f"www{number}.example"
            return qname, lambda asked: {frozenset({_outside(qname + ".")})}
        if number < 400:
            return f"{number}.missing.example", lambda asked: {None}
        qname = self.random.choice(self.oracle.names())
        return qname, lambda asked: self.oracle.right(qname, asked)

    def _ask_udp(self) -> None:
        qname, right = self._question()
        asked = time.monotonic()
        message_id = self.random.randrange(65536)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(3.0)
            try:
                sock.connect(("127.0.0.1", self.server.port))
                sock.send(query(qname, message_id=message_id))
                reply = sock.recv(4096)
                self._judge(qname, right(asked), message_id, reply, "UDP")
            except OSError:
                self.counts["lost over UDP"] += 1

    def _ask_tcp(self) -> None:
        questions = [self._question() for _ in range(5)]
        asked = time.monotonic()
        half_closes = self.random.random() < 0.3
        try:
            with socket.create_connection(("127.0.0.1", self.server.port), 3.0) as sock:
                messages = [query(qname, message_id=index) for index, (qname, _) in enumerate(questions)]
                sock.sendall(b"".join([len(each).to_bytes(2) + each for each in messages]))
                if half_closes:
                    sock.shutdown(socket.SHUT_WR)
                with sock.makefile("rb") as stream:
                    for _ in questions:
                        reply = stream.read(int.from_bytes(stream.read(2)))
                        if not reply:
                            raise OSError  # a worker was killed
                        qname, right = questions[int.from_bytes(reply[:2])]
                        self._judge(qname, right(asked), int.from_bytes(reply[:2]), reply, "TCP")
        except (OSError, IndexError):
            self.counts["lost over TCP"] += 1

    def _judge(self, qname: str, right: set[Answer], message_id: int, octets: bytes, how: str) -> None:
        self.counts[f"answered over {how}"] += 1
        try:
            reply = dns.message.from_wire(octets)
        except dns.exception.DNSException as error:
            self._fault(f"{qname} over {how}: malformed reply, {error!r}: {octets.hex()}")
            return
        if reply.id != message_id or str(reply.question[0].name) != qname + ".":
            self._fault(f"{qname} over {how}: the reply is to {reply.id} {reply.question}")
            return
        rcode = reply.rcode()
        if rcode in _FORGETTABLE_RCODES:
            self.counts[dns.rcode.to_text(rcode)] += 1
            return
        found: Answer = frozenset(str(each) for rrset in reply.answer for each in rrset)
        if rcode == dns.rcode.NXDOMAIN:
            found = None
        if found not in right:
            self._fault(f"{qname} over {how}: {dns.rcode.to_text(rcode)} {found}, right: {right}")

    def _fault(self, text: str) -> None:
        with self._lock:
            self.wrong.append(text)

    def _behave_badly(self) -> None:
        habit = self.random.choice(
            [
                self._mutate,
                self._mutate_tcp,
                self._reset,
                self._leave_halves,
                self._read_nothing,
                self._trickle,
                self._idle_on,
            ]
        )
        with suppress(OSError):
            habit()
        self.counts[f"bad habit {habit.__name__}"] += 1

    def _mutated(self) -> bytes:
        octets = bytearray(query(self._question()[0], self.random.choice([1, 28, 33, 255, 65]), 7))
        for _ in range(self.random.randrange(1, 6)):
            octets[self.random.randrange(len(octets))] = self.random.randrange(256)
        return bytes(octets[: self.random.randrange(len(octets) + 1)])

    def _mutate(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(self._mutated(), ("127.0.0.1", self.server.port))

    def _mutate_tcp(self) -> None:
        with self._connected() as sock:
            for _ in range(20):
                message = self._mutated()
                sock.sendall(len(message).to_bytes(2) + message)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(65536):
                pass

    def _reset(self) -> None:
        """Send a query for a name that upstreams know, and close the socket without waiting for the reply."""
        sock = self._connected()
        message = query(f"www{self.random.randrange(300)}.example")
        sock.sendall((len(message).to_bytes(2) + message) * 3)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()

    def _leave_halves(self) -> None:
        with self._connected() as sock:
            sock.sendall(b"\1\0" + os.urandom(self.random.randrange(200)))

    def _read_nothing(self) -> None:
        with self._connected() as sock:
            message = query(self.random.choice(self.oracle.names()))
            sock.sendall((len(message).to_bytes(2) + message) * 50)
            time.sleep(0.05)

    def _trickle(self) -> None:
        with self._connected() as sock:
            message = query(self.random.choice(self.oracle.names()))
            for octet in len(message).to_bytes(2) + message:
                sock.send(bytes([octet]))
                time.sleep(0.01)

    def _idle_on(self) -> None:
        self._idle += [self._connected() for _ in range(10)]
        while len(self._idle) > _IDLE:
            self._idle.popleft().close()

    def _connected(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.server.port), 3.0)


def _forgeries(octets: bytes) -> list[bytes]:
    """Return replies that can't come from an upstream. They contain a wrong address."""
    wrong = octets[:-4] + b"\6\6\6\6"
    return [bytes([wrong[0] ^ 1]) + wrong[1:], wrong[:13] + b"x" + wrong[14:], wrong[:20], query("bank.example.org")]


def _outside(qname: str) -> str:
    """Return the address that upstreams return for a name."""
    return f"203.0.113.{sum(qname.encode()) % 250 + 1}"


def main() -> int:
    """Parse the arguments, and run the soak."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.minutes} minutes", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        return Soak(options.seed, Path(directory)).run(options.minutes)


if __name__ == "__main__":
    sys.exit(main())

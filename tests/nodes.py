"""`python -m tests.nodes`: update the pods of two nodes in network namespaces, as docs/node-local.md describes.

This needs root, `ip`, `nft` and `conntrack`. Each pod, node and client has its own namespace. A node has the rules that
kube-proxy creates for the Service with `PreferSameNode`: the rules select the ready pods on the node, or all ready pods
if the node has none. The rules change some time after the pods. The program prints how many queries each client has
sent, and how many were not answered. With `--cache COREDNS`, a CoreDNS on each node acts as NodeLocal DNSCache, and
`PreferSameNode` is not used.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path

from tests.waiting import until

ROOT = Path(__file__).parents[1]
SERVICE, CACHE = "10.96.0.10", "169.254.20.10"
HUB = "pydns-hub"
NODES = {"pydns-node-a": "10.77.0.101", "pydns-node-b": "10.77.0.102"}
CLIENTS = {"pydns-client-a": "pydns-node-a", "pydns-client-b": "pydns-node-b"}
# pod -> its node and address; the second pod of a node replaces the first
PODS = {
    "pydns-pod-a1": ("pydns-node-a", "10.77.0.11"),
    "pydns-pod-a2": ("pydns-node-a", "10.77.0.12"),
    "pydns-pod-b1": ("pydns-node-b", "10.77.0.21"),
    "pydns-pod-b2": ("pydns-node-b", "10.77.0.22"),
}
# Each row has the old pod, the new pod, and the number of seconds until the rules of the node change.
UPDATES = (("pydns-pod-a1", "pydns-pod-a2", 1.0), ("pydns-pod-b1", "pydns-pod-b2", 2.0))
RULES = """
table ip nat {
  chain prerouting { type nat hook prerouting priority dstnat; }
  chain output { type nat hook output priority -100; }
  chain postrouting { type nat hook postrouting priority srcnat; oifname "eth0" masquerade; }
}
"""
COREFILE = f"""
cluster.local:53 {{
  bind {CACHE}
  errors
  cache {{
    success 9984 30
    denial 9984 5
  }}
  forward . {SERVICE} {{
    force_tcp
  }}
}}
"""
RATE = 100  # queries per second of each client
TIMEOUT_S = 5.0  # the same as the timeout of a stub resolver


def ip(*arguments: str) -> None:
    """Run the command `ip`."""
    subprocess.run(["ip", *arguments], check=True)


def within(namespace: str, *command: str, text: str = "") -> "subprocess.CompletedProcess[str]":
    """Run a command in a network namespace."""
    inside = ["ip", "netns", "exec", namespace, *command]
    return subprocess.run(inside, input=text, capture_output=True, text=True, check=False)


class Network:
    """The namespaces and their links, and the rules of the Service on each node."""

    def __init__(self, prefer_same_node: bool) -> None:
        self.ready: set[str] = set()
        self._prefer_same_node = prefer_same_node

    def make(self, stack: ExitStack) -> None:
        """Create all namespaces, links and rules. `stack` removes them."""
        for namespace in (HUB, *NODES, *CLIENTS, *PODS):
            ip("netns", "add", namespace)
            stack.callback(ip, "netns", "del", namespace)
            ip("-n", namespace, "link", "set", "lo", "up")
        ip("-n", HUB, "link", "add", "hub", "type", "bridge")
        ip("-n", HUB, "address", "add", "10.77.0.1/24", "dev", "hub")
        ip("-n", HUB, "link", "set", "hub", "up")
        for number, (namespace, address) in enumerate([*NODES.items(), *((pod, PODS[pod][1]) for pod in PODS)]):
            self._link(HUB, f"port{number}", namespace, f"{address}/24")
            ip("-n", HUB, "link", "set", f"port{number}", "master", "hub")
        for number, (client, node) in enumerate(CLIENTS.items()):
            self._link(node, "clients", client, f"10.78.{number}.2/24")
            ip("-n", node, "address", "add", f"10.78.{number}.1/24", "dev", "clients")
            ip("-n", client, "route", "add", "default", "via", f"10.78.{number}.1")
            ip("-n", node, "route", "add", "default", "via", "10.77.0.1")
            ip("-n", node, "address", "add", f"{CACHE}/32", "dev", "lo")
            within(node, "sysctl", "-qw", "net.ipv4.ip_forward=1")
            made = within(node, "nft", "-f", "-", text=RULES)
            assert made.returncode == 0, made.stderr

    @staticmethod
    def _link(namespace: str, device: str, other: str, address: str) -> None:
        ip("-n", namespace, "link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", other)
        ip("-n", namespace, "link", "set", device, "up")
        ip("-n", other, "address", "add", address, "dev", "eth0")
        ip("-n", other, "link", "set", "eth0", "up")

    def follow(self) -> None:
        """Recreate the rules of all nodes from the ready pods. Like kube-proxy, delete the flows to other pods."""
        for node in NODES:
            local = [pod for pod in sorted(self.ready) if self._prefer_same_node and PODS[pod][0] == node]
            used = [PODS[pod][1] for pod in local or sorted(self.ready)]
            choices = ", ".join(f"{number} : {address}" for number, address in enumerate(used))
            target = f"numgen random mod {len(used)} map {{ {choices} }}"
            rules = ""
            for chain in ("prerouting", "output"):
                rules += f"flush chain ip nat {chain}\n"
                for protocol in ("udp", "tcp"):
                    rules += f"add rule ip nat {chain} ip daddr {SERVICE} {protocol} dport 53 dnat to {target}\n"
            made = within(node, "nft", "-f", "-", text=rules)
            assert made.returncode == 0, made.stderr
            for _, address in PODS.values():
                if address not in used:
                    within(node, "conntrack", "-D", "-p", "udp", "--reply-src", address)


class Pods:
    """The running instances of pydns."""

    def __init__(self, network: Network, folder: Path) -> None:
        self._network, self._folder = network, folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, pod: str) -> None:
        """Start a pod, and return when it is ready."""
        state_dir = self._folder / pod
        state_dir.mkdir(mode=0o700)
        serve = [sys.executable, "-m", "pydns", "serve", "--manifests", "manifests/demo", "--workers", "1"]
        ports = ["--listen", "0.0.0.0:53", "--ready", "0.0.0.0:8181", "--health", "off", "--metrics", "off"]
        command = ["ip", "netns", "exec", pod, *serve, *ports, "--state-dir", str(state_dir)]
        with (self._folder / f"{pod}.log").open("w") as log:
            self._processes[pod] = subprocess.Popen(command, cwd=ROOT, stderr=log)
        page = f"http://{PODS[pod][1]}:8181/ready"
        ask = f"import urllib.request as r; r.urlopen('{page}', timeout=2)"
        until(lambda: within(HUB, sys.executable, "-c", ask).returncode == 0)
        self._network.ready.add(pod)

    def update(self, old: str, new: str, late_s: float) -> None:
        """Update a pod as a DaemonSet with `maxSurge: 1` does: start the new pod, wait, stop the old pod."""
        self.start(new)
        self._network.follow()
        time.sleep(5)  # minReadySeconds of the DaemonSet
        self._network.ready.remove(old)
        began = time.monotonic()
        self._processes[old].send_signal(signal.SIGTERM)
        time.sleep(late_s)
        self._network.follow()
        self._processes[old].wait()
        print(f"{old} -> {new}: ended {time.monotonic() - began:.1f} s after SIGTERM", flush=True)

    def kill(self, pod: str, late_s: float) -> None:
        """Kill all processes of a pod at once."""
        for pid in subprocess.run(
            ["ip", "netns", "pids", pod], capture_output=True, text=True, check=True
        ).stdout.split():
            os.kill(int(pid), signal.SIGKILL)
        self._network.ready.remove(pod)
        time.sleep(late_s)
        self._network.follow()
        print(f"{pod} killed, rules followed {late_s:.0f} s later", flush=True)

    def end(self) -> None:
        """Stop the pods that still run."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            process.wait()


class Clients:
    """Two clients on each node: one uses a new port for each query, and the other uses a fixed port."""

    def __init__(self, server: str) -> None:
        self._processes = {
            (client, ports): subprocess.Popen(
                [
                    "ip",
                    "netns",
                    "exec",
                    client,
                    sys.executable,
                    "-m",
                    "tests.nodes",
                    "--client",
                    server,
                    "--ports",
                    ports,
                ],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            for client in CLIENTS
            for ports in ("fresh", "fixed")
        }

    def report(self) -> None:
        """Stop the clients, and print what they have seen."""
        for process in self._processes.values():
            assert process.stdin
            process.stdin.close()
        for (client, ports), process in self._processes.items():
            assert process.stdout
            print(f"  {client}, {ports} ports: {process.stdout.read().decode().strip()}", flush=True)
            process.wait()


class Client:
    """Sends queries until its standard input is closed. Every second query has a new name."""

    def __init__(self, server: str, fresh_ports: bool) -> None:
        self._server, self._fresh_ports = (server, 53), fresh_ports
        self._sent: dict[int, float] = {}
        self._seconds: list[float] = []
        self._rcodes: Counter[int] = Counter()

    def run(self) -> None:
        """Send queries, and print the counts as JSON at the end."""
        ended = threading.Event()

        def wait() -> None:
            sys.stdin.read()
            ended.set()

        threading.Thread(target=wait, daemon=True).start()
        fixed = None if self._fresh_ports else self._socket()
        began, number = time.monotonic(), 0
        while not ended.wait(max(0.0, began + number / RATE - time.monotonic())):
            self._send(fixed or self._socket(), number)
            number += 1
        time.sleep(TIMEOUT_S)
        slowest_ms = round(max(self._seconds, default=0) * 1000)
        print(json.dumps({"sent": number, "lost": len(self._sent), "rcodes": self._rcodes, "slowest_ms": slowest_ms}))

    def _socket(self) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.connect(self._server)
        threading.Thread(target=self._receive, args=(made,), daemon=True).start()
        return made

    def _send(self, port: socket.socket, number: int) -> None:
        host = f"x{number}-{os.getpid()}" if number % 2 else "web"
        labels = [host.encode(), b"shop", b"svc", b"cluster", b"local"]
        qname = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
        identifier = number % 65536
        self._sent[identifier] = time.monotonic()
        with suppress(OSError):
            port.send(identifier.to_bytes(2, "big") + b"\1\0\0\1\0\0\0\0\0\0" + qname + b"\0\1\0\1")

    def _receive(self, port: socket.socket) -> None:
        if self._fresh_ports:
            port.settimeout(TIMEOUT_S)
        while True:
            try:
                reply = port.recv(512)
            except TimeoutError:
                port.close()
                return
            except OSError:  # the pod has exited; the query is counted as not answered
                continue
            sent = self._sent.pop(int.from_bytes(reply[:2], "big"), None)
            if sent is not None:
                self._seconds.append(time.monotonic() - sent)
                self._rcodes[reply[3] & 15] += 1
            if self._fresh_ports:
                port.close()
                return


def rehearse(coredns: str | None) -> None:
    """Update the pods of both nodes. Without a cache, kill one pod afterwards."""
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="pydns-nodes-"))
        stack.callback(shutil.rmtree, folder)
        network = Network(prefer_same_node=coredns is None)
        network.make(stack)
        pods = Pods(network, folder)
        stack.callback(pods.end)
        for old, _, _ in UPDATES:
            pods.start(old)
        network.follow()
        if coredns:
            (folder / "Corefile").write_text(COREFILE)
            for node in NODES:
                cache = ["ip", "netns", "exec", node, coredns, "-conf", str(folder / "Corefile")]
                process = subprocess.Popen(cache, stdout=subprocess.DEVNULL)
                stack.callback(process.wait)
                stack.callback(process.terminate)
            time.sleep(3)
        clients = Clients(CACHE if coredns else SERVICE)
        time.sleep(2)
        for old, new, late_s in UPDATES:
            pods.update(old, new, late_s)
        clients.report()
        if not coredns:
            clients = Clients(SERVICE)
            time.sleep(2)
            pods.kill(UPDATES[0][1], 3.0)
            time.sleep(2)
            clients.report()


def main() -> None:
    """Run the update, or act as one of the clients."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", metavar="COREDNS", help="path of a CoreDNS, to be the NodeLocal DNSCache")
    parser.add_argument("--client", metavar="SERVER", help=argparse.SUPPRESS)
    parser.add_argument("--ports", choices=("fresh", "fixed"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        Client(options.client, options.ports == "fresh").run()
    else:
        rehearse(options.cache)


if __name__ == "__main__":
    main()

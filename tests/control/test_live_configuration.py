"""The configuration changes while a real server runs. The tests check clients' answers and the workers' table."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import dns.rcode
import dns.rrset
import pytest
import yaml

from pydns.config.model import Config, ServerSpec, load
from pydns.table.reader import Reader
from tests.control.test_config_map import config_map
from tests.control.test_controller import Running, running
from tests.fakes.apiserver import FakeApiServer
from tests.fakes.manifests import endpoint_slice, service
from tests.waiting import PATIENCE_S

FLAGS = ("--configmap", "kube-system/kube-dns", "--ttl", "7")


def pod(name: str, address: str) -> dict[str, Any]:
    return {"metadata": {"namespace": "shop", "name": name}, "status": {"podIP": address}}


def labelled(manifest: dict[str, Any], **labels: str) -> dict[str, Any]:
    metadata = manifest["metadata"]
    return {**manifest, "metadata": {**metadata, "labels": {**metadata.get("labels", {}), **labels}}}


@pytest.fixture
def api() -> Iterator[FakeApiServer]:
    with FakeApiServer() as server:
        server.apply("Namespace", {"metadata": {"name": "shop"}})
        server.apply("Service", labelled(service("web", "10.96.0.1"), tier="front"))
        server.apply("Service", service("db", "None"))
        server.apply("EndpointSlice", endpoint_slice("db", "10.244.0.7"))
        server.apply("Pod", pod("db-0", "10.244.0.7"))
        yield server


def configure(api: FakeApiServer, text: str) -> None:
    """Store a configuration with an upstream that doesn't answer, so that no query leaves this machine."""
    api.apply("ConfigMap", config_map(**{"config.yaml": f"{text}\nupstreams: ['127.0.0.1:9']"}))


def ask(seen: Running, name: str, rtype: str = "A") -> str:
    """Return the first record of an answer with its TTL, or the rcode."""
    query = dns.message.make_query(name, rtype)
    reply = dns.query.udp(query, "127.0.0.1", port=seen.port, timeout=PATIENCE_S)
    if not reply.answer:
        return "NODATA" if reply.rcode() == dns.rcode.NOERROR else dns.rcode.to_text(reply.rcode())
    return f"{reply.answer[0].ttl} {reply.answer[0][0]}"


def expect(seen: Running, name: str, wanted: str, rtype: str = "A") -> None:
    """Wait until this answer arrives."""
    seen.wait_until(lambda: ask(seen, name, rtype) == wanted)


@contextmanager
def asking_all_the_time(seen: Running, name: str) -> Iterator[set[str]]:
    """Ask for a name repeatedly until the block ends, and collect the answers."""
    answers: set[str] = set()
    stop = threading.Event()

    def ask_on() -> None:
        while not stop.is_set():
            answers.add(ask(seen, name).split()[-1])

    thread = threading.Thread(target=ask_on)
    thread.start()
    try:
        yield answers
    finally:
        stop.set()
        thread.join()


WEB, DB = "web.shop.svc.cluster.local.", "db.shop.svc.cluster.local."


def test_a_stub_domain_is_written_to_the_table_that_workers_read(api: FakeApiServer, tmp_path: Path) -> None:
    api.apply("ConfigMap", config_map(stubDomains='{"acme.local": ["1.2.3.4"]}', upstreamNameservers='["8.8.8.8"]'))
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text("nameserver 10.0.0.1\n")
    with running(tmp_path, api.kubeconfig(tmp_path), *FLAGS, "--resolv-conf", str(resolv_conf)) as seen:
        reader = Reader(tmp_path / "state")

        def in_force() -> Config:
            with reader.transaction() as transaction:
                return load(reader.config(transaction))

        expect(seen, WEB, "7 10.96.0.1")
        assert in_force().upstreams == (ServerSpec("8.8.8.8"),)
        assert [route.servers for route in in_force().routes] == [(ServerSpec("1.2.3.4"),)]
        api.apply("ConfigMap", config_map(stubDomains='{"acme.local": ["1.2.3.5"]}'))
        seen.wait_until(lambda: in_force().routes[0].servers == (ServerSpec("1.2.3.5"),))
        assert in_force().upstreams == (ServerSpec("10.0.0.1"),)
        resolv_conf.write_text("nameserver 10.0.0.2\n")
        seen.wait_until(lambda: in_force().upstreams == (ServerSpec("10.0.0.2"),))
        reader.close()


@contextmanager
def answering(address: str) -> Iterator[int]:
    """Run a server on a port of 127.0.0.1 that returns this address for every name of acme.local."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(0.1)
        stop = threading.Event()

        def answer() -> None:
            while not stop.is_set():
                with suppress(TimeoutError):
                    wire, client = sock.recvfrom(4096)
                    reply = dns.message.make_response(dns.message.from_wire(wire))
                    qname = reply.question[0].name
                    if qname.to_text().lower().endswith("acme.local."):
                        reply.answer.append(dns.rrset.from_text(qname, 60, "IN", "A", address))
                    else:
                        reply.set_rcode(dns.rcode.NXDOMAIN)
                    sock.sendto(reply.to_wire(), client)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield sock.getsockname()[1]
        finally:
            stop.set()
            thread.join()


def test_a_new_stub_domain_is_used(api: FakeApiServer, tmp_path: Path) -> None:
    nobody, name = '["127.0.0.1:9"]', "www.acme.local."
    api.apply("ConfigMap", config_map(stubDomains=f'{{"acme.local": {nobody}}}', upstreamNameservers=nobody))
    with (
        answering("192.0.2.1") as port,
        running(tmp_path, api.kubeconfig(tmp_path), *FLAGS) as seen,
    ):
        seen.wait_until(lambda: ask(seen, name) == "SERVFAIL")
        api.apply(
            "ConfigMap",
            config_map(stubDomains=f'{{"acme.local": ["127.0.0.1:{port}"]}}', upstreamNameservers=nobody),
        )
        seen.wait_until(lambda: ask(seen, name).endswith(" 192.0.2.1"))


def test_options_of_the_zone_change_at_once_and_no_name_is_missing_meanwhile(
    api: FakeApiServer, tmp_path: Path
) -> None:
    pointer, of_pod = "1.0.96.10.in-addr.arpa.", "10-9-9-9.shop.pod.cluster.local."
    configure(api, "")
    with running(tmp_path, api.kubeconfig(tmp_path), *FLAGS) as seen:
        expect(seen, WEB, "7 10.96.0.1")
        with asking_all_the_time(seen, WEB) as answers:
            configure(api, "ttl: 30\npods: disabled")
            expect(seen, WEB, "30 10.96.0.1")
            expect(seen, of_pod, "NXDOMAIN")
            expect(seen, pointer, f"30 {WEB}", "PTR")
            configure(api, "reverse_zones: [168.192.in-addr.arpa]")
            expect(seen, pointer, "SERVFAIL", "PTR")  # now this name is forwarded to the upstreams
            expect(seen, of_pod, "7 10.9.9.9")
            listed = len(api.requests)
            configure(api, "namespaces: [shop, other]")
            expect(seen, pointer, f"7 {WEB}", "PTR")
            api.apply("Service", service("late", "10.96.0.5"))
            expect(seen, "late.shop.svc.cluster.local.", "7 10.96.0.5")
        assert answers == {"10.96.0.1"}
        assert len(api.requests) == listed  # pydns didn't list the cluster again
        configure(api, "namespaces: [other]")
        expect(seen, WEB, "NXDOMAIN")


def test_new_source_options_take_effect_when_everything_is_listed_again(api: FakeApiServer, tmp_path: Path) -> None:
    by_pod = "db-0.db.shop.svc.cluster.local."
    sliced = endpoint_slice("db", "10.244.0.7")
    sliced["endpoints"][0]["targetRef"] = {"kind": "Pod", "name": "db-0"}
    api.apply("EndpointSlice", sliced)
    with running(tmp_path, api.kubeconfig(tmp_path), *FLAGS) as seen:
        expect(seen, DB, "7 10.244.0.7")
        with asking_all_the_time(seen, DB) as answers:
            configure(api, "endpoint_pod_names: true")
            expect(seen, by_pod, "7 10.244.0.7")
            configure(api, "pods: verified")
            expect(seen, "10-9-9-9.shop.pod.cluster.local.", "NXDOMAIN")
            expect(seen, "10-244-0-7.shop.pod.cluster.local.", "7 10.244.0.7")
        assert answers == {"10.244.0.7"}
        with asking_all_the_time(seen, WEB) as answers:
            configure(api, "labels: tier in (front)")
            expect(seen, DB, "NXDOMAIN")
        assert answers == {"10.96.0.1"}
        api.apply("Service", labelled(service("late", "10.96.0.5"), tier="front"))
        expect(seen, "late.shop.svc.cluster.local.", "7 10.96.0.5")
        watches = {"Service": 2, "EndpointSlice": 2, "Namespace": 1}  # the server's own namespace has two more watches
        api.wait_until(lambda api: {kind: api.watching(kind) for kind in watches} == watches)
        assert api.watching("Pod") == 0


def test_a_new_feed_that_cannot_be_listed_never_takes_over(api: FakeApiServer, tmp_path: Path) -> None:
    for verb in ("list", "watch"):
        api.fail("Pod", verb, 403, reason="Forbidden", message="no pods")
    with running(tmp_path, api.kubeconfig(tmp_path), *FLAGS) as seen:
        expect(seen, WEB, "7 10.96.0.1")
        configure(api, "pods: verified")
        seen.wait_until(lambda: "cluster options not in force: Pod is not listed yet, 403" in seen.status())
        api.apply("Service", service("late", "10.96.0.5"))
        expect(seen, "late.shop.svc.cluster.local.", "7 10.96.0.5")
        expect(seen, "gone.shop.svc.cluster.local.", "NXDOMAIN")
        configure(api, "ttl: 9")
        expect(seen, WEB, "9 10.96.0.1")
        seen.wait_until(lambda: "not in force" not in seen.status())


def test_a_refused_configuration_is_logged_and_survives_a_restart(api: FakeApiServer, tmp_path: Path) -> None:
    kubeconfig = api.kubeconfig(tmp_path)
    mistakes = [
        'config.yaml:1: ttl: "x" is not a whole number from 0 to 3600',
        "config.yaml:2: labels: \"a=b=c\" is not a label selector: 'a=b=c' is not a requirement; "
        "wanted key, !key, key=value, key!=value, key in (value,…) or key notin (value,…)",
    ]
    configure(api, "ttl: 30")
    with running(tmp_path, kubeconfig, *FLAGS) as seen:
        expect(seen, WEB, "30 10.96.0.1")
        configure(api, "ttl: x\nlabels: a=b=c")
        seen.wait_for("configuration refused")
        assert [each["problem"] for each in seen.logged("configuration mistake")] == mistakes
        seen.wait_until(lambda: all(f"  mistake: {mistake}" in seen.status() for mistake in mistakes))
        expect(seen, WEB, "30 10.96.0.1")
    with running(tmp_path, kubeconfig, *FLAGS) as seen:
        (refused,) = seen.wait_for("configuration refused")
        assert refused["action"] == "keeping the configuration from before the restart"
        seen.wait_for("synced")
        expect(seen, WEB, "30 10.96.0.1")
        configure(api, "ttl: 20")
        expect(seen, WEB, "20 10.96.0.1")
        api.delete("ConfigMap", "kube-system", "kube-dns")
        expect(seen, WEB, "7 10.96.0.1")
        seen.wait_until(lambda: "config    ConfigMap kube-system/kube-dns: missing" in seen.status())


def test_the_cluster_is_served_without_permission_for_the_configmap(api: FakeApiServer, tmp_path: Path) -> None:
    configure(api, "ttl: 30")
    for verb in ("list", "watch"):
        api.fail("ConfigMap", verb, 403, reason="Forbidden", message="no configmaps")
    with running(tmp_path, api.kubeconfig(tmp_path), *FLAGS) as seen:
        seen.until("web.shop", "10.96.0.1")
        assert ask(seen, WEB) == "7 10.96.0.1"
        (said,) = seen.logged("configuration can't be read")
        assert said["problem"] == "403 Forbidden: no configmaps"
        seen.wait_until(lambda: "  can't be read: 403 Forbidden: no configmaps" in seen.status())
        api.heal()
        seen.wait_until(lambda: ask(seen, WEB) == "30 10.96.0.1")


def test_even_the_first_answer_follows_the_configuration_file(tmp_path: Path) -> None:
    folder, config = tmp_path / "manifests", tmp_path / "dns.yaml"
    folder.mkdir()
    manifests = [
        labelled(service("web", "10.96.0.1"), tier="front"),
        service("db", "10.96.0.2"),
    ]
    (folder / "shop.yaml").write_text(yaml.safe_dump_all(manifests))
    config.write_text("ttl: 30\nlabels: tier=front")
    with running(tmp_path, folder, "--config", str(config)) as seen:
        seen.wait_for("synced")
        assert (ask(seen, WEB), ask(seen, DB)) == ("30 10.96.0.1", "NXDOMAIN")
        config.write_text("ttl: 20")
        expect(seen, WEB, "20 10.96.0.1")
        expect(seen, DB, "20 10.96.0.2")
        with asking_all_the_time(seen, WEB) as answers:
            config.write_text("labels: tier=front")
            expect(seen, DB, "NXDOMAIN")
        assert answers == {"10.96.0.1"}

"""pydns watches a ConfigMap by its name. It needs permission only for this object."""

import queue
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pydns.config.model import Config
from pydns.config.read import Accepted, Refused
from pydns.control.api_client import connect
from pydns.control.apiserver import Pace
from pydns.control.config_map import ConfigMapWatch
from pydns.control.config_source import Seen, Verdict
from pydns.kube.reflector import FIGURES
from tests.fakes.apiserver import FakeApiServer
from tests.fakes.log import RecordedLog
from tests.waiting import PATIENCE_S

QUICK = FIGURES._replace(backoff_first_s=0.01, backoff_last_s=0.04, answer_s=5, audit_s=3600)
ABSENT = Seen(Accepted(Config()), exists=False)


def config_map(name: str = "kube-dns", namespace: str = "kube-system", **data: str) -> dict[str, Any]:
    return {"metadata": {"namespace": namespace, "name": name}, "data": data}


def ttl(seconds: int) -> Seen:
    return Seen(Accepted(Config(ttl_s=seconds)))


@pytest.fixture
def server() -> Iterator[FakeApiServer]:
    with FakeApiServer() as fake:
        yield fake


@contextmanager
def watching(
    server: FakeApiServer,
    directory: Path,
    names: Sequence[tuple[str, str]] = (("kube-system", "kube-dns"),),
    log: RecordedLog | None = None,
) -> Iterator[tuple[ConfigMapWatch, "queue.SimpleQueue[Seen]"]]:
    told: queue.SimpleQueue[Seen] = queue.SimpleQueue()
    connection = connect(server.kubeconfig(directory))
    watch = ConfigMapWatch(connection, names, told.put, log or RecordedLog(), Pace(QUICK))
    watch.start()
    try:
        yield watch, told
    finally:
        watch.stop()


@pytest.mark.parametrize("watch_list", ["on", "invalid"])
def test_every_change_of_the_configmap_is_delivered(tmp_path: Path, watch_list: str) -> None:
    with FakeApiServer(watch_list=watch_list) as server:
        server.apply("ConfigMap", config_map("coredns", **{"config.yaml": "ttl: 99"}))
        server.apply("ConfigMap", config_map(namespace="default", **{"config.yaml": "ttl: 98"}))
        with watching(server, tmp_path) as (watch, told):
            assert told.get(timeout=PATIENCE_S) == ABSENT
            server.wait_until(lambda server: server.watching("ConfigMap") == 1)
            server.apply("ConfigMap", config_map(**{"config.yaml": "ttl: 10"}))
            assert told.get(timeout=PATIENCE_S) == ttl(10)
            server.apply("ConfigMap", config_map(**{"config.yaml": "ttl: x"}))
            assert isinstance(told.get(timeout=PATIENCE_S).result, Refused)
            server.apply("ConfigMap", config_map(**{"config.yaml": "ttl: 20"}))
            assert told.get(timeout=PATIENCE_S) == ttl(20)
            server.delete("ConfigMap", "kube-system", "kube-dns")
            assert told.get(timeout=PATIENCE_S) == ABSENT
            assert watch.name == "ConfigMap kube-system/kube-dns"
            assert told.empty()


COREFILE = ". {\n forward . 10.0.0.1\n import custom/*.override\n}\n"


def test_the_corefile_imports_files_of_a_second_configmap(server: FakeApiServer, tmp_path: Path) -> None:
    names = ("kube-system", "coredns"), ("kube-system", "coredns-custom")
    server.apply("ConfigMap", config_map("coredns", Corefile=COREFILE))
    with watching(server, tmp_path, names) as (watch, told):
        first = told.get(timeout=30).result
        assert isinstance(first, Accepted)
        assert first.config.log.queries is None
        server.wait_until(lambda server: server.watching("ConfigMap") == 2)
        server.apply("ConfigMap", config_map("coredns-custom", **{"log.override": "log", "Corefile": "not this one"}))
        second = told.get(timeout=30).result
        assert isinstance(second, Accepted)
        assert second.config.log.queries is not None
        server.delete("ConfigMap", "kube-system", "coredns-custom")
        assert told.get(timeout=30).result == first
        server.delete("ConfigMap", "kube-system", "coredns")
        assert told.get(timeout=30) == ABSENT
        assert watch.name == "ConfigMap kube-system/coredns, kube-system/coredns-custom"


def test_a_deletion_that_was_missed_is_found_by_the_next_listing(server: FakeApiServer, tmp_path: Path) -> None:
    server.apply("ConfigMap", config_map(**{"config.yaml": "ttl: 10"}))
    with watching(server, tmp_path) as (_, told):
        assert told.get(timeout=PATIENCE_S) == ttl(10)
        server.wait_until(lambda server: server.watching("ConfigMap") == 1)
        server.drop_next_events(1)
        server.delete("ConfigMap", "kube-system", "kube-dns")
        server.send_error("ConfigMap", 410, "Expired", "too old resource version")
        assert told.get(timeout=PATIENCE_S) == ABSENT


def test_without_permission_nothing_is_delivered_and_the_problem_is_reported(
    server: FakeApiServer, tmp_path: Path
) -> None:
    server.apply("ConfigMap", config_map(**{"config.yaml": "ttl: 10"}))
    for verb in ("list", "watch"):
        server.fail("ConfigMap", verb, 403, reason="Forbidden", message="cannot list configmaps")
    with watching(server, tmp_path) as (watch, told):
        server.wait_until(lambda server: len(server.asked("list", "ConfigMap")) > 2)
        assert told.empty()
        assert watch.problem() == "403 Forbidden: cannot list configmaps"
        server.heal()
        assert told.get(timeout=PATIENCE_S) == ttl(10)


def test_a_server_without_watch_list_can_be_watched(tmp_path: Path) -> None:
    with FakeApiServer(watch_list="invalid") as server:
        server.list_delay_s = 0.2
        with watching(server, tmp_path) as (watch, told):
            server.wait_until(lambda server: bool(server.asked("list", "ConfigMap")))
            assert watch.problem() is None
            assert told.get(timeout=PATIENCE_S) == ABSENT


@pytest.mark.parametrize("raw", [b'{"metadata":{"name":"kube-dns"},"data":{"ttl":5}}', b"[]"])
def test_an_object_that_is_no_configmap_is_refused(server: FakeApiServer, tmp_path: Path, raw: bytes) -> None:
    server.apply_raw("ConfigMap", "kube-system", "kube-dns", raw)
    with watching(server, tmp_path) as (_, told):
        result = told.get(timeout=PATIENCE_S).result
    assert isinstance(result, Refused)
    assert str(result.errors[0]).startswith("ConfigMap kube-system/kube-dns: what came (")


REFUSED = Verdict("ConfigurationRefused", "refused: ttl: x", is_warning=True)
AGAIN = Verdict("ConfigurationInForce", "in force again", is_warning=False)


def test_all_replicas_together_write_one_event_for_a_verdict(server: FakeApiServer, tmp_path: Path) -> None:
    server.apply("ConfigMap", config_map(**{"config.yaml": "ttl: x"}) | {"metadata": METADATA})
    with watching(server, tmp_path) as (first, told), watching(server, tmp_path) as (second, told_too):
        for each in (told, told_too):
            each.get(timeout=PATIENCE_S)
        for watch in (first, second, first):
            watch.announce(REFUSED)
        server.wait_until(lambda server: len(server.asked("create", "Event")) == 2)
        first.announce(AGAIN)
        server.wait_until(lambda server: len(server.created_events) == 2)
    refused, again = server.created_events
    assert (refused["type"], refused["reason"], refused["message"]) == ("Warning", *REFUSED[:2])
    assert (again["type"], again["reason"], again["message"]) == ("Normal", *AGAIN[:2])
    assert refused["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "resourceVersion": "101",
        **METADATA,
    }
    assert refused["metadata"]["namespace"] == "kube-system"


METADATA = {"namespace": "kube-system", "name": "kube-dns", "uid": "0af1"}


def test_a_missing_permission_for_events_is_logged_once(server: FakeApiServer, tmp_path: Path) -> None:
    server.apply("ConfigMap", config_map())
    server.fail("Event", "create", 403, reason="Forbidden", message="cannot create events")
    log = RecordedLog()
    with watching(server, tmp_path, log=log) as (watch, told):
        told.get(timeout=PATIENCE_S)
        for verdict in (REFUSED, AGAIN, REFUSED):
            watch.announce(verdict)
        server.wait_until(lambda server: len(server.asked("create", "Event")) == 3)
        server.heal()
        watch.announce(AGAIN)
        server.wait_until(lambda server: bool(server.created_events))
        assert log.lines("event not posted") == [
            "event not posted problem=403 cannot create events action=go on without Events"
        ]


def test_a_verdict_about_a_deleted_configmap_is_dropped(server: FakeApiServer, tmp_path: Path) -> None:
    with watching(server, tmp_path) as (watch, told):
        told.get(timeout=PATIENCE_S)
        watch.announce(REFUSED)
        server.apply("ConfigMap", config_map())
        told.get(timeout=PATIENCE_S)
        watch.announce(AGAIN)
        server.wait_until(lambda server: bool(server.created_events))
    assert [each["reason"] for each in server.created_events] == [AGAIN.reason]

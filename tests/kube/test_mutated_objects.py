"""The tests change objects at random places. No content of an object affects other objects and their names.

With PYDNS_TEST_MUTANTS=100000, the test tries 100,000 mutants. Each run has the same mutants.
"""

import copy
import json
import os
from pathlib import Path
from random import Random
from typing import Any

import yaml

from pydns.config.model import ExternalSource, ExternalZone, ListenerHostnames, Nameserver
from pydns.dns import name
from pydns.dns.compiled import decompile
from pydns.kube import objects
from pydns.kube.events import Apply, Delete, Init, InitDone
from pydns.kube.kinds import BY_NAME, OPTIONAL_KINDS
from pydns.kube.objects import Observed, Options, Ref, Skipped
from pydns.kube.producer import ZoneOptions
from pydns.kube.zone import Zone
from pydns.table.client_names import is_client_name
from pydns.table.layout import Changes, is_tree_key
from tests.kube.written import Written, written

MUTANTS = int(os.environ.get("PYDNS_TEST_MUTANTS", "3000"))
_BETWEEN_CHECKS = 100
_MOST = 60  # mutants that exist at the same time

_ZONE = ExternalZone(
    name.from_text("x.example"),
    tuple(ExternalSource),
    ingress_classes=("a",),
    headless=True,
    listener_hostnames=ListenerHostnames.ALWAYS,
    nameservers=(Nameserver("ns1", "shop", "lb"),),
)
_OPTIONS = ZoneOptions(
    external=(_ZONE, ExternalZone(name.from_text("inner.x.example"))),
    multicluster=(name.from_text("clusterset.local"),),
)
_READING = Options(annotations=_ZONE.annotations)

_OBJECTS = yaml.safe_load(Path(__file__).with_name("mutated_objects.yaml").read_text())
_JUNK: list[Any] = [
    None, True, False, 0, -1, 65536, 2**40, 1.5, "", "a", "*", "*.", "..", ".", "a" * 300, ".".join(["a"] * 200), "\0",
    "\ud800", "a,b,,", "*.*.x.example", "x.example", "ns1.x.example", "a.x.example", "192.0.2.1", "fd00::1", "Headless",
    "ä.x.example", [], {}, [None], {"a": 1}, "shop", "db", "TLS", "UDP", "Same", "None",
]  # fmt: skip


def test_a_mutated_object_has_no_bad_name_and_does_not_affect_others() -> None:
    random = Random("mutants")
    originals = _OBJECTS["objects"]
    known = {each.ref: each for each in map(_observed, originals + _OBJECTS["bystanders"])}
    kept = set(known)
    zone = _zone(known)
    table, bystanders = written(zone), _of_bystanders(written(zone))
    assert len(bystanders) > 5
    for number in range(1, MUTANTS + 1):
        manifest = _mutant(random, random.choice(originals))
        observed = _parsed(random, manifest)
        zone.apply(Apply(observed))
        if not isinstance(observed.value, Skipped):
            known[observed.ref] = observed
        mutants = [ref for ref in known if ref not in kept]
        if len(mutants) > _MOST or random.random() < 0.1:
            for ref in random.sample(mutants, len(mutants) // 2):
                zone.apply(Delete(ref))
                del known[ref]
        if number % _BETWEEN_CHECKS == 0 or number == MUTANTS:
            changes = zone.flush()
            _check_names(changes)
            table.change(changes)
            assert _of_bystanders(table) == bystanders, manifest
            fresh = _zone(known)
            assert table == written(fresh), manifest
            assert zone.external.conflicts() == fresh.external.conflicts()


def _zone(known: dict[Ref, Observed]) -> Zone:
    zone = Zone(_OPTIONS)
    for kind in OPTIONAL_KINDS:
        zone.apply(Init(kind))
    for observed in known.values():
        zone.apply(Apply(observed))
    for kind in OPTIONAL_KINDS:
        zone.apply(InitDone(kind))
    return zone


def _observed(manifest: dict[str, Any]) -> Observed:
    observed = objects.parse(BY_NAME[manifest["kind"]], manifest, _READING)
    assert not isinstance(observed.value, Skipped), observed
    return observed


def _parsed(random: Random, manifest: dict[str, Any]) -> Observed:
    """Return an object as it is read from an API server or from a manifest."""
    kind, text = BY_NAME[manifest["kind"]], json.dumps(manifest)
    # Readers of manifests replace halves of surrogate pairs.
    is_json = "\\ud800" in text or random.random() < 0.5
    return objects.parse(kind, text.encode() if is_json else manifest, _READING)


def _mutant(random: Random, original: dict[str, Any]) -> dict[str, Any]:
    """Return a copy with up to three different values. The kind is not changed."""
    found = copy.deepcopy(original)
    for _ in range(random.randint(0, 3)):
        changed = _mutated(random, {key: value for key, value in found.items() if key != "kind"})
        found = {"kind": original["kind"], **(changed if isinstance(changed, dict) else {})}
    return found


def _mutated(random: Random, value: Any) -> Any:
    if isinstance(value, dict) and value and random.random() < 0.9:
        key = random.choice(sorted(value))
        if random.random() < 0.1:
            return {other: inner for other, inner in value.items() if other != key}
        return {**value, key: _mutated(random, value[key])}
    if isinstance(value, list) and value and random.random() < 0.9:
        at = random.randrange(len(value))
        return [*value[:at], _mutated(random, value[at]), *value[at + random.randint(0, 1) :]]
    if isinstance(value, str) and random.random() < 0.5:
        at = random.randint(0, len(value))
        return value[:at] + random.choice(["", ".", "*", "-", "A", "\0", ",", " ", "é", "x" * 64]) + value[at + 1 :]
    return copy.deepcopy(random.choice(_JUNK))


def _of_bystanders(table: Written) -> dict[bytes, bytes]:
    return {key: value for key, value in table.answers.items() if b"bystander" in key}


def _check_names(changes: Changes) -> None:
    for key, compiled in changes.answers.items():
        if compiled is not None:
            rrset, _ = decompile(key, compiled)
            assert name.from_text(name.to_text(rrset.owner)) == rrset.owner
            assert len(rrset.owner) <= name.MAX_NAME
    for tree in changes.names:
        if is_client_name(tree):
            continue
        of_name = tree if is_tree_key(tree) else tree[1:]
        assert name.tree_key(name.from_tree_key(of_name)) == of_name

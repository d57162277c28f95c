"""Finds out what a configuration would put into force, besides the cluster's records. Nothing is written.

The controller's own code (`control.configuration` and `control.static_records`) does this with a table in memory.

Rules:

1. The cluster's records are those of the table. So a key on which they depend (`OF_CLUSTER`) keeps the value that is in
   force. If a configuration has another value, this is reported. The key `ttl` is an exception: if all records of the
   cluster have the same TTL, another TTL is applied.
2. The configuration may name files. This code reads them, so they must exist where it runs.
3. The controller knows facts that the table lacks: the folder of zone files, and the domain of each reverse zone. They
   are derived from the status and the zones in the table. `check` rebuilds the static records in force, and reports
   whether the table has other static records.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from pydns.config import model
from pydns.config.external_alone import external_alone
from pydns.config.keys import ROOT
from pydns.config.model import Config, Families, PlainZonal, ServersFile
from pydns.config.read import Accepted
from pydns.config.shapes import field_of
from pydns.config.summary import multicluster_problem, server_text
from pydns.control.config_source import Seen
from pydns.control.configuration import Configuration
from pydns.control.resolv_conf import ResolvConf
from pydns.control.source import SourceError
from pydns.control.source_choice import usable_families
from pydns.control.static_records import StaticRecords
from pydns.control.zone_folder import ZoneFolder
from pydns.dns import name
from pydns.log import Level, Log
from pydns.table.layout import Contents, Facts, ZoneFacts
from pydns.table.overlay import Overlay
from pydns.table.reader import Reader, TableError
from pydns.table.status import decode

# The cluster's records depend on these fields of a configuration.
OF_CLUSTER = (
    "ttl_s",
    "pods",
    "namespaces",
    "labels",
    "endpoint_pod_names",
    "reverse_zones",
    "ptr_ranges",
    "namespace_labels",
    "endpoints",
    "hide_empty_services",
    "fallthrough",
    "domains",
    "clusters",
    "external",
    "multicluster",
    "zonal",
    "cluster_ranges",
)
# These fields change how replies are sent, kept, counted or reported, but not the answers.
WITHOUT_ANSWERS = (
    "max_in_flight",
    "cache",
    "clients",
    "client_labels",
    "responses_per_second",
    "nsid",
    "edns",
    "dnssec",
    "metrics",
    "log",
    "dnstap",
    "recent_queries_mib",
)
_NAMES = {field_of(key): key.name for key in ROOT.keys}


class Rehearsed(NamedTuple):
    """What a configuration puts into force."""

    config: Config  # as workers get it
    contents: Contents  # the static records
    zones: list[ZoneFacts]  # the zones of the static records
    unknown: tuple[str, ...]  # what couldn't be found out here
    notes: tuple[str, ...]
    ttls: tuple[int, int] | None  # the TTL of the cluster's records, and the one that replaces it

    def over(self, reader: Reader) -> Overlay:
        """Return the table of `reader` as it would be with this configuration in force."""
        return Overlay(reader, self.contents, self.zones, model.dump(self.config), self.ttls)


class Wanted(NamedTuple):
    """A configuration in which the cluster's keys have the values in force, and reports about its other changes."""

    config: Config
    unknown: tuple[str, ...]  # changes that aren't applied
    notes: tuple[str, ...]


class Rehearsal:
    """Rehearses configurations on the table's newest commit."""

    def __init__(self, reader: Reader, resolv_conf: Path) -> None:
        """A configuration without `upstreams` uses the servers in `resolv_conf`. Raises `TableError`."""
        with reader.transaction() as transaction:
            self._facts: Facts = reader.facts(transaction)
            status = decode(reader.status(transaction))
            self._statics = reader.static_contents(transaction)
            try:
                self._in_force = model.load(reader.config(transaction))
                self.accepted = model.load(reader.accepted_config(transaction))
            except msgspec.DecodeError:
                raise TableError("the table has no configuration yet") from None
        self._resolv_conf = resolv_conf
        apexes = {zone.apex for zone in self._facts.zones}
        self._is_external_alone = self._facts.domain not in apexes
        self._unknown: list[str] = []
        of_config = {str(Path(each.title)) for each in self.accepted.zone_files}
        folders = {Path(each.file).parent for each in status.zones if each.file not in of_config}
        self._folder = next(map(self._read_folder, sorted(folders)), None)

    def _read_folder(self, directory: Path) -> ZoneFolder | None:
        folder = ZoneFolder(directory, lambda: None, _quiet())
        try:
            folder.check()
        except SourceError as error:
            self._unknown.append(f"zone files: {error}")
            return None
        folder.read()
        return folder

    @property
    def domain(self) -> bytes:
        """The first domain."""
        return self._facts.domain

    def want(self, config: Config) -> Wanted:
        """Return `config`, but with the values in force for the cluster's keys (rule 1 at the top of this module)."""
        accepted = self.accepted
        if self._is_external_alone:
            config = external_alone(config)
        kept = {field: getattr(accepted, field) for field in OF_CLUSTER}
        differing = [field for field in OF_CLUSTER if getattr(config, field) != kept[field]]
        if "ttl_s" in differing and config.ttl_s is not None and self._has_one_ttl():
            kept["ttl_s"] = config.ttl_s
            differing.remove("ttl_s")
        unknown = [f"key `{_NAMES[field]}`: the cluster's records depend on it" for field in differing]
        wanted = msgspec.structs.replace(config, **kept)
        for apex in accepted.multicluster.zones:  # a new route may take the names of this zone
            problems = [multicluster_problem(apex, each, self._facts.domains) for each in (accepted, wanted)]
            if problems[0] != problems[1]:
                unknown.append(f"zone {name.to_text(apex)} of ServiceImports {problems[1] or 'is served again'}")
        silent = [_NAMES[each] for each in WITHOUT_ANSWERS if getattr(config, each) != getattr(accepted, each)]
        notes = [f"{', '.join(silent)}: changed, too, but without effect on answers"] if silent else []
        return Wanted(wanted, tuple(unknown), tuple(notes))

    def check(self) -> Rehearsed:
        """Rehearse the configuration in force.

        `unknown` also reports where the table differs from the result (rule 3 at the top of this module).
        """
        rehearsed = self.rehearse(self.accepted)
        unknown = list(rehearsed.unknown)
        if not self._facts.synced:
            unknown.append("names of the cluster: it has not been listed yet")
        for made, found, owner in zip(rehearsed.contents, self._statics, (_owner, name.from_tree_key), strict=True):
            if made != found:
                key = min(each for each in made.keys() | found.keys() if made.get(each) != found.get(each))
                what = "zone files and hosts: the files here give other records than the table has, first for"
                unknown.append(f"{what} {name.to_text(owner(key))}")
                break
        unknown += [
            f"`{_NAMES[field]}`: the servers or families found here are not those in force"
            for field in ("upstreams", "routes", "families")
            if getattr(rehearsed.config, field) != getattr(self._in_force, field)
        ]
        return rehearsed._replace(unknown=tuple(unknown))

    def rehearse(self, config: Config) -> Rehearsed:
        """Return what a configuration puts into force."""
        table = _Table()
        families = usable_families if config.families.which is Families.AUTO else frozenset
        configuration = Configuration(
            None,
            table,
            ResolvConf(self._resolv_conf, _quiet()),
            _quiet(),
            usable_families=families,
            is_external_alone=self._is_external_alone,
        )
        configuration.take(Seen(Accepted(config)))
        configuration.update_table(frozenset())
        in_effect = configuration.config or config
        reverse_zones, shared_zones = self._zones()
        statics = StaticRecords(
            table,
            list(self._facts.domains),
            reverse_zones,
            _quiet(),
            self._folder,
            external_alone=self._is_external_alone,
        )
        statics.set_shared_zones(shared_zones)
        statics.configure(in_effect)
        statics.look()
        statics.publish()
        effective, notes = self._effective(config, model.load(table.effective))
        titles = {str(Path(each.title)) for each in in_effect.zone_files}
        problems = [each for each in statics.status() if each.file in titles and each.problem is not None]
        unknown = [*self._unknown, *_unreadable(config)]
        unknown += [f"zone file {each.problem}" for each in problems if each.zone is None]
        notes += [f"zone file {each.file} is not served: {each.problem}" for each in problems if each.zone is not None]
        ttls = None
        if config.ttl_s is not None and config.ttl_s not in (self.accepted.ttl_s, self._facts.ttl_s):
            ttls = self._facts.ttl_s, config.ttl_s
        return Rehearsed(effective, table.contents, table.zones, tuple(unknown), tuple(notes), ttls)

    def _has_one_ttl(self) -> bool:
        """Return whether all records of the cluster have the same TTL, so that another one can replace it.

        The controller changes TTLs in the same way, under the same conditions (`Controller._change_zone`).
        """
        accepted, facts = self.accepted, self._facts
        has_others = accepted.external or facts.further or accepted.zonal.plain is not PlainZonal.OFF
        return not has_others and all(zone.is_static or zone.minimum_s == facts.ttl_s for zone in facts.zones)

    def _effective(self, config: Config, found: Config) -> tuple[Config, list[str]]:
        """Return the configuration that workers get, and notes.

        If the value of a key stays the same, the controller's result for this key is kept.
        """
        notes = []
        accepted, in_force = self.accepted, self._in_force
        if config.upstreams is None and not self._is_external_alone:
            if accepted.upstreams is None:
                found = msgspec.structs.replace(found, upstreams=in_force.upstreams)
            else:
                shown = ", ".join(map(server_text, found.upstreams or ())) or "none"
                notes.append(
                    f"upstreams: those in {self._resolv_conf} here ({shown}); addresses of pydns aren't left out"
                )
        if config.families.which is Families.AUTO:
            if (accepted.families, accepted.dns64 is None) == (config.families, config.dns64 is None):
                found = msgspec.structs.replace(found, families=in_force.families)
            else:
                notes.append(f"`families: auto` means {found.families.which.value} here")
        return found, notes

    def _zones(self) -> tuple[list[bytes], list[bytes]]:
        """Return the reverse zones of the cluster, and the zones to which zone files may add records."""
        accepted, domains = self.accepted, self._facts.domains
        of_cluster = [zone for zone in self._facts.zones if not zone.is_static]
        external = {zone.apex for zone in accepted.external if zone.is_served}
        other = external.union(domains, accepted.multicluster.zones)
        reverse_zones = [zone.apex for zone in of_cluster if zone.apex not in other]
        further = (*accepted.domains, *(domain for cluster in accepted.clusters for domain in cluster.domains))
        named = any(each is not None for each in (accepted.fallthrough, *(each.fallthrough for each in further)))
        shared = [
            zone.apex
            for zone in of_cluster
            if zone.apex in external or (named and zone.falls_through and zone.apex not in accepted.multicluster.zones)
        ]
        return reverse_zones, shared


class _Table:
    """A table in memory, for what the controller's code writes."""

    def __init__(self) -> None:
        self.effective = b""
        self.contents = Contents({}, {})
        self.zones: list[ZoneFacts] = []

    def config(self) -> bytes:
        return b""

    def accepted_config(self) -> bytes:
        return b""

    def put_config(self, config: bytes, accepted: bytes = b"") -> None:
        self.effective = config

    def expect_static(self) -> None:
        pass

    def put_static(self, contents: Contents, zones: list[ZoneFacts]) -> None:
        self.contents, self.zones = contents, zones


def _unreadable(config: Config) -> Iterator[str]:
    """Yield each file of hosts or nameservers that can't be read here."""
    servers = (*(config.upstreams or ()), *(server for route in config.routes for server in route.servers))
    paths = [("hosts file", each.file) for each in config.hosts_files]
    paths += [("file of nameservers", each.path) for each in servers if isinstance(each, ServersFile)]
    for what, path in dict.fromkeys(paths):
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
        except OSError as error:
            yield f"{what} {path}: {error.strerror}"


def _owner(key: bytes) -> bytes:
    """Return the name in a key of the answers."""
    return key[:-4].removeprefix(b"\0") or name.ROOT


def _quiet() -> Log:
    return Log(lowest=Level.ERROR)

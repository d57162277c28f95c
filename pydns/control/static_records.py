"""Publishes the records that don't come from the cluster: zones from files, and hosts from the live configuration.

Only the controller's thread uses this module, because this thread alone writes to the table. The zone folder's own
thread reads the files.
"""

from collections.abc import Sequence
from operator import is_
from typing import Protocol

from pydns.config.model import Blocked, Config, Host, HostsFile, ZoneText
from pydns.control.hosts_files import HostsFiles
from pydns.control.zone_folder import ZoneFolder
from pydns.control.zone_texts import ZoneTexts
from pydns.dns import name
from pydns.log import Level, Log
from pydns.table.layout import Contents, ZoneFacts
from pydns.table.status import ZoneStatus
from pydns.zones.compile import CompiledZone, combine
from pydns.zones.special import SPECIAL_NAMES, blocked_zones, local_zones, special_zones

_NO_ZONES: dict[str, CompiledZone] = {}


class StaticTable(Protocol):
    """The part of `table.writer.Writer` that this module needs."""

    def expect_static(self) -> None:
        """Mark names outside the cluster as unknown until `put_static`."""

    def put_static(self, contents: Contents, zones: list[ZoneFacts]) -> None:
        """Replace the static entries and their zones."""


class StaticRecords:
    """The static zones and hosts. Static records are published without waiting for the cluster.

    `domains` and `reverse_zones` are the zones of the clusters.
    """

    def __init__(
        self,
        writer: StaticTable,
        domains: Sequence[bytes],
        reverse_zones: Sequence[bytes],
        log: Log,
        folder: ZoneFolder | None,
        *,
        external_alone: bool = False,
    ) -> None:
        """If `external_alone` is True, only zone files of external zones are served."""
        self._writer = writer
        self._external_alone = external_alone
        self._domains = tuple(domains)
        self._reverse_zones = tuple(reverse_zones)
        self._shared_zones: tuple[bytes, ...] = ()
        self._log = log
        self._folder = folder
        self._hosts: tuple[Host, ...] = ()
        self._hosts_files = HostsFiles(log)
        self._hosts_of_files: tuple[Host, ...] = ()
        self._texts = ZoneTexts(log)
        self._special = special_zones()
        self._blocked: tuple[Blocked, ...] = ()
        # The published zones: first the zones of the folder, then the zones of the configuration.
        self._sources: tuple[dict[str, CompiledZone], ...] = (_NO_ZONES, _NO_ZONES)
        self._refused: dict[str, str] = {}
        self._is_published = False
        self.is_known = False  # whether this process has published its static records at least once

    def start(self) -> None:
        """Start the folder of zone files. Raises `SourceError` if the folder can't be listed."""
        if self._folder is not None:
            self._folder.start()
            self._writer.expect_static()

    def configure(self, config: Config) -> None:
        """Take the hosts, zone files, special names and blocked domains of a configuration."""
        self.set_hosts(config.hosts, config.hosts_files)
        self.set_zone_files(config.zone_files)
        forwarded = [each.value for each in config.forwarded_special_names]
        special = [each for each in SPECIAL_NAMES if each not in forwarded]
        self.set_special_names(special, local_names=config.local_names)
        self.set_blocked(config.blocked)

    def set_hosts(self, hosts: Sequence[Host], files: Sequence[HostsFile]) -> None:
        """Set the hosts of the configuration, and the hosts files. The next `publish` writes the hosts."""
        self._is_published = self._is_published and tuple(hosts) == self._hosts
        self._hosts = tuple(hosts)
        self._hosts_files.set_files(files)

    def set_zone_files(self, files: Sequence[ZoneText]) -> None:
        """From the next `publish` on, serve these zone files in addition to the zone files of the folder."""
        self._texts.set_files(files)

    def look(self) -> None:
        """Look at the files that the configuration names. If a file changed, the next `publish` writes the changes."""
        self._texts.look()
        hosts = self._hosts_files.hosts()
        self._is_published = self._is_published and hosts is self._hosts_of_files
        self._hosts_of_files = hosts

    def set_special_names(self, names: Sequence[str], *, local_names: bool = False) -> None:
        """Set which of `SPECIAL_NAMES` to serve from the next `publish` on, and whether to serve names like localhost.

        Before the first call, all special names are served, and no names like localhost.
        """
        special = {**special_zones(names), **(local_zones() if local_names else {})}
        self._is_published = self._is_published and special.keys() == self._special.keys()
        self._special = special

    def set_blocked(self, blocked: Sequence[Blocked]) -> None:
        """Deny all names of these domains, from the next `publish` on."""
        self._is_published = self._is_published and tuple(blocked) == self._blocked
        self._blocked = tuple(blocked)

    def set_domains(self, domains: Sequence[bytes]) -> None:
        """Set the domains of the clusters.

        From the next `publish` on, zones of files at or below these domains aren't served.
        """
        self._is_published = self._is_published and tuple(domains) == self._domains
        self._domains = tuple(domains)

    def set_reverse_zones(self, reverse_zones: Sequence[bytes]) -> None:
        """Set the reverse zones of the cluster.

        From the next `publish` on, no zone file may define one of these zones.
        """
        self._is_published = self._is_published and tuple(reverse_zones) == self._reverse_zones
        self._reverse_zones = tuple(reverse_zones)

    def set_shared_zones(self, shared_zones: Sequence[bytes]) -> None:
        """Set the zones of the cluster to which files may add records.

        The next `publish` adds the records of these files. The shared zones are external zones, and zones that fall
        through.
        """
        self._is_published = self._is_published and tuple(shared_zones) == self._shared_zones
        self._shared_zones = tuple(shared_zones)

    def publish(self) -> None:
        """Write the records to the table if they changed. `publish` does nothing before the folder has been read.

        The first call that writes also removes the static records of an earlier process.
        """
        in_folder = self._folder.zones() if self._folder else _NO_ZONES
        if in_folder is None:
            return
        sources = in_folder, self._texts.zones()
        if self._is_published and all(map(is_, sources, self._sources)):
            return
        zones = {**sources[0], **sources[1]}
        in_files = {zone.facts.apex for zone in zones.values()}
        denied = {**blocked_zones(self._blocked), **self._special}
        taken = in_files.union(self._shared_zones)
        special = {key: zone for key, zone in denied.items() if zone.facts.apex not in taken}
        statics = combine(
            {**zones, **special},
            (*self._hosts, *self._hosts_of_files),
            self._domains,
            self._reverse_zones,
            self._shared_zones,
            external_alone=self._external_alone,
        )
        for file, reason in statics.refused.items():
            if self._refused.get(file) != reason:
                self._log("zone is not served", level=Level.WARNING, file=file, problem=reason)
        self._writer.put_static(statics.contents, statics.zones)
        if not self.is_known and self._folder is not None:
            self._log("zones in force", zones=len(zones) - len(statics.refused))
        self._sources, self._refused, self._is_published, self.is_known = sources, statics.refused, True, True

    def warnings(self) -> tuple[str, ...]:
        """Return warnings about records of zone files that are left out, and about records that a zone lacks."""
        return (*(self._folder.warnings() if self._folder is not None else ()), *self._texts.warnings())

    def status(self) -> tuple[ZoneStatus, ...]:
        """Return the status of each zone file."""
        return tuple(
            ZoneStatus(
                file=file,
                zone=name.to_text(zone.facts.apex) if zone else None,
                serial=zone.serial if zone else None,
                records=zone.records if zone else 0,
                problem=mistakes[0] if mistakes else self._refused.get(file),
            )
            for file, zone, mistakes in (*(self._folder.status() if self._folder else ()), *self._texts.status())
        )

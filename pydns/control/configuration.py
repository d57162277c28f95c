"""Keeps the live configuration in force, the mistakes of a refused configuration, and the copy in the table.

A source (`control.config_source`) delivers the texts of the configuration. An accepted configuration comes into force
as a whole. If a configuration is refused, every mistake is logged, and the last accepted configuration stays in force.
The accepted configuration survives restarts, because it is in the table. Only the controller's thread uses this module.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Protocol

import msgspec

from pydns.config import external_alone
from pydns.config.mistakes import ConfigError
from pydns.config.model import (
    AnyServer,
    Config,
    Families,
    MetricNames,
    ServersFile,
    ServerSpec,
    TlsFiles,
    dump,
    is_reached_from,
    load,
)
from pydns.config.read import Accepted, Refused
from pydns.control.config_source import ConfigSource, Seen, Verdict
from pydns.control.resolv_conf import ResolvConf
from pydns.log import Level, Log
from pydns.table.status import ConfigState, ConfigStatus


class ConfigTable(Protocol):
    """The part of `table.writer.Writer` that this module needs."""

    def config(self) -> bytes:
        """Return the configuration in force. Empty before the first configuration."""

    def accepted_config(self) -> bytes:
        """Return the accepted configuration, without the nameservers of files. Empty before the first configuration."""

    def put_config(self, config: bytes, accepted: bytes = b"") -> None:
        """Store both."""


class Configuration:
    """The configuration in force.

    `take` receives the contents of the source. `update_table` writes the configuration to the table.
    """

    def __init__(
        self,
        source: ConfigSource | None,
        writer: ConfigTable,
        resolv_conf: ResolvConf,
        log: Log,
        now: Callable[[], float] = time.time,
        usable_families: Callable[[], frozenset[Families]] = frozenset,
        *,
        is_external_alone: bool = False,
    ) -> None:
        """Start without a configuration in force. The configuration in the table is from before the restart.

        `usable_families` returns the address families that clients can use. They replace `auto` in `families: auto`.
        If `is_external_alone` is True, only the parts that external zones use come into force.
        """
        self._is_external_alone = is_external_alone
        self.config: Config | None = None  # None until the first attempt to read the source has ended
        self.composed = writer.config()  # the configuration in the table, as bytes
        self._source = source
        self._name = source.name if source else "flags"
        self._writer = writer
        self._resolv_conf = resolv_conf
        self._files: dict[str, ResolvConf] = {}  # path in the configuration -> file of nameservers
        self._log = log
        self._now = now
        self._usable_families = usable_families
        self._families: Families | None = None  # the last value that replaced `families: auto`
        self._seen: Seen | None = None
        self._since = now()
        self._problem: str | None = None
        self._accepted = self._refused = 0
        self._hash = ""
        self._accepted_composed = writer.accepted_config()
        self._kept = _load(self._accepted_composed)  # the accepted configuration from before the restart
        if source is None:
            self._put_in_force(Config())

    @property
    def metric_names(self) -> MetricNames:
        """The naming scheme of the metrics.

        Until a configuration is in force, the configuration from before the restart chooses the scheme.
        """
        return (self.config or self._kept or Config()).metrics.names

    def start(self) -> None:
        """Start the source."""
        if self._source is not None:
            self._source.start()

    def take(self, seen: Seen) -> None:
        """Accept or refuse the contents of the source."""
        if seen == self._seen:
            return
        before, self._seen, self._since = self._seen, seen, self._now()
        was_refused = before is not None and isinstance(before.result, Refused)
        if isinstance(seen.result, Refused):
            self._refused += 1
            self._refuse(seen.result)
            return
        self._accepted += 1
        for notice in seen.result.notices:
            self._log("configuration notice", source=self._name, notice=notice)
        left_out = seen.result.left_out
        for error in left_out:
            self._log("configuration left out", level=Level.WARNING, source=self._name, problem=error)
        if left_out:
            self._announce("ConfigurationInPart", "in force, but left out:", left_out)
        elif was_refused:
            self._announce("ConfigurationInForce", "in force again")
        if self._with_effect(seen.result.config) != self.config:
            self._put_in_force(seen.result.config)
        elif was_refused:
            self._log("configuration accepted again", source=self._name, hash=self._hash)

    def update_table(self, own: frozenset[str]) -> None:
        """Write the configuration to the table if it changed.

        `own` contains the addresses of this server. The addresses in `own` are never used as upstreams.
        """
        self._check_source()
        if self.config is None:
            return
        effective = self._with_families(self._with_nameservers(self.config, own))
        composed = dump(effective), dump(self.config)
        if composed != (self.composed, self._accepted_composed):
            if not effective.upstreams and not self._is_external_alone:
                self._log("no upstreams", level=Level.WARNING, effect="names outside the cluster get REFUSED")
            self._writer.put_config(*composed)
            self.composed, self._accepted_composed = composed

    def _with_nameservers(self, config: Config, own: frozenset[str]) -> Config:
        """Return a copy of the configuration for workers.

        In the copy, each file of nameservers is replaced by the current nameservers in the file.
        """
        known, self._files = self._files, {}

        def found(server: AnyServer) -> tuple[AnyServer, ...]:
            if not isinstance(server, ServersFile):
                return (server,)
            file = known.get(server.path) or ResolvConf(Path(server.path), self._log)
            self._files[server.path] = file
            how = server.transport, None, server.packets_per_second, server.case, server.edns, TlsFiles(), server.source
            found = [each for each in file.upstreams(own) if is_reached_from(each.ip, server.source)]
            return tuple([ServerSpec(each.ip, each.port, *how) for each in found])

        if config.upstreams is None:
            upstreams: tuple[AnyServer, ...] = self._resolv_conf.upstreams(own)
        else:
            upstreams = tuple(chain.from_iterable(map(found, config.upstreams)))
        routes = [
            msgspec.structs.replace(route, servers=tuple(chain.from_iterable(map(found, route.servers))))
            for route in config.routes
        ]
        return msgspec.structs.replace(config, upstreams=upstreams, routes=tuple(routes), zone_files=())

    def _with_families(self, config: Config) -> Config:
        """Return a copy of the configuration in which the usable families replace `auto`.

        If these families are unknown, `all` replaces `auto`.
        """
        if config.families.which is not Families.AUTO:
            self._families = None
            return config
        usable = self._usable_families()
        which = next(iter(usable)) if len(usable) == 1 else Families.ALL
        if which is Families.IPV4 and config.dns64 is not None:
            which = Families.ALL  # DNS64 gives clients IPv6 addresses that they can use
        if which is not self._families:
            self._families = which
            self._log("families in force", families=which.value)
        return msgspec.structs.replace(config, families=msgspec.structs.replace(config.families, which=which))

    def status(self, waiting_for: Mapping[str, str | None]) -> ConfigStatus:
        """Return the status of the configuration.

        `waiting_for` contains the kinds that new cluster options need and that aren't listed yet. The values of
        `waiting_for` are the current problems of these kinds.
        """
        result = self._seen.result if self._seen else None
        return ConfigStatus(
            source=self._name,
            state=self._state(),
            since=self._since,
            hash=self._hash,
            accepted=self._accepted,
            refused=self._refused,
            problem=self._problem,
            mistakes=tuple(map(str, result.errors)) if isinstance(result, Refused) else (),
            notices=tuple(map(str, result.notices)) if isinstance(result, Accepted) else (),
            left_out=tuple(map(str, result.left_out)) if isinstance(result, Accepted) else (),
            waiting_for=dict(waiting_for),
        )

    def _check_source(self) -> None:
        """If the source can't be read, log the reason once.

        If no configuration is in force yet, fall back to an earlier one or to the defaults.
        """
        problem = self._source.problem() if self._source else None
        if problem == self._problem:
            return
        self._problem = problem
        if problem is not None:
            action = self._fall_back()
            self._log(
                "configuration can't be read",
                level=Level.WARNING,
                source=self._name,
                problem=problem,
                action=action,
            )

    def _state(self) -> ConfigState:
        if self._source is None:
            return ConfigState.NONE
        if self._seen is None:
            return ConfigState.UNREAD
        if isinstance(self._seen.result, Refused):
            return ConfigState.REFUSED
        return ConfigState.ACCEPTED if self._seen.exists else ConfigState.ABSENT

    def _refuse(self, refused: Refused) -> None:
        action = self._fall_back()
        for error in refused.errors:
            self._log("configuration mistake", level=Level.WARNING, source=self._name, problem=error)
        self._log(
            "configuration refused",
            level=Level.WARNING,
            source=self._name,
            mistakes=len(refused.errors),
            action=action,
        )
        self._announce("ConfigurationRefused", f"refused, {action}:", refused.errors)

    def _announce(self, reason: str, message: str, errors: Sequence[ConfigError] = ()) -> None:
        if self._source is not None:
            text = " ".join([message, "; ".join(map(str, errors))]).strip()
            self._source.announce(Verdict(reason, text, is_warning=bool(errors)))

    def _fall_back(self) -> str:
        """Make sure that a configuration is in force although the source can't be used.

        Returns a text for the log that says which configuration is in force.
        """
        if self.config is not None:
            return "keeping the previous configuration"
        if self._kept is None:
            self._put_in_force(Config())
            return "using the defaults, because there is no earlier configuration"
        self._put_in_force(self._kept)
        return "keeping the configuration from before the restart"

    def _with_effect(self, config: Config) -> Config:
        return external_alone.external_alone(config) if self._is_external_alone else config

    def _put_in_force(self, config: Config) -> None:
        if self._is_external_alone and (keys := external_alone.without_effect(config)):
            self._log("keys without effect", source=self._name, keys=",".join(keys), flag="--answer external")
        self.config = config = self._with_effect(config)
        self._hash = hashlib.sha256(dump(config)).hexdigest()[:12]
        if self._state() is ConfigState.ABSENT:
            # An operator who names a source in a flag expects the source to exist.
            self._log("configuration not found", level=Level.WARNING, source=self._name, action="taking the defaults")
        elif self._source is not None:
            self._log("configuration in force", source=self._name, hash=self._hash)


def _load(composed: bytes) -> Config | None:
    try:
        return load(composed)
    except msgspec.DecodeError:  # the table contains no configuration, or another version of pydns wrote it
        return None

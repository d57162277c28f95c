"""The live configuration: which one is in force, what is wrong with the one that isn't, and what the table says of it.

Its source (`control.configfile`, `control.configmap`) delivers what it says now. An accepted configuration comes into
force as a whole; a refused one is logged with every mistake, and the last good one stays, also over restarts, for it
lies in the table. Used by the controller's thread alone.
"""

import hashlib
import time
from collections.abc import Callable
from typing import Any

import msgspec

from pydns.config.model import Config, dump, load
from pydns.config.read import Accepted, Refused
from pydns.control.config_source import ConfigSource, Seen
from pydns.control.resolv_conf import ResolvConf
from pydns.log import Level, Log
from pydns.table.writer import Writer


class Configuration:
    """What is in force. Tell it what the source says (`take`), and let it look around now and then (`poll`)."""

    def __init__(
        self,
        source: ConfigSource | None,
        writer: Writer,
        resolv_conf: ResolvConf,
        log: Log,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.config: Config | None = None  # None: until the source has said something, or why it can't
        self._source = source
        self._name = source.name if source else "flags"
        self._writer = writer
        self._resolv_conf = resolv_conf
        self._log = log
        self._now = now
        self._seen: Seen | None = None
        self._since = now()
        self._problem: str | None = None
        self._accepted = self._refused = 0
        self._hash = ""
        self._in_table = writer.config(), writer.accepted_config()
        if source is None:
            self._put_in_force(Config())

    def take(self, seen: Seen) -> None:
        """Judge what the source says."""
        if seen == self._seen:
            return
        before, self._seen, self._since = self._seen, seen, self._now()
        if isinstance(seen.result, Refused):
            self._refused += 1
            self._refuse(seen.result)
            return
        self._accepted += 1
        for notice in seen.result.notices:
            self._log("configuration notice", source=self._name, notice=notice)
        if seen.result.config != self.config:
            self._put_in_force(seen.result.config)
        elif before is not None and isinstance(before.result, Refused):
            self._log("configuration accepted again", source=self._name, hash=self._hash)

    def poll(self, own: frozenset[str]) -> None:
        """Keep the table current. `own` are our addresses, which can't be upstreams."""
        problem = self._source.problem() if self._source else None
        if problem != self._problem:
            self._problem = problem
            if problem is not None:
                self._log(
                    "configuration can't be read",
                    level=Level.WARNING,
                    source=self._name,
                    problem=problem,
                    action=self._fall_back(),
                )
        if self.config is None:
            return
        effective = self.config
        if effective.upstreams is None:
            effective = msgspec.structs.replace(effective, upstreams=self._resolv_conf.upstreams(own))
        composed = dump(effective), dump(self.config)
        if composed != self._in_table:
            if not effective.upstreams:
                self._log("no upstreams", level=Level.WARNING, effect="names outside the cluster are refused")
            self._writer.put_config(*composed)
            self._in_table = composed

    def status(self) -> dict[str, Any]:
        """Return how things stand, for people and metrics."""
        result = self._seen.result if self._seen else None
        return {
            "source": self._name,
            "state": self._state(),
            "since": self._since,
            "hash": self._hash,
            "accepted": self._accepted,
            "refused": self._refused,
            "problem": self._problem,
            "mistakes": [str(error) for error in result.errors] if isinstance(result, Refused) else [],
            "notices": [str(notice) for notice in result.notices] if isinstance(result, Accepted) else [],
        }

    def _state(self) -> str:
        if self._source is None:
            return "none"
        if self._seen is None:
            return "unread"
        if isinstance(self._seen.result, Refused):
            return "refused"
        return "accepted" if self._seen.exists else "absent"

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

    def _fall_back(self) -> str:
        """Have something in force although the source is of no use, and say what."""
        if self.config is not None:
            return "keeping the previous configuration"
        try:
            kept = load(self._writer.accepted_config())
        except msgspec.DecodeError:  # there is none, or another version put it there
            self._put_in_force(Config())
            return "taking the defaults: there is no previous configuration"
        self._put_in_force(kept)
        return "keeping the configuration from before the restart"

    def _put_in_force(self, config: Config) -> None:
        self.config = config
        self._hash = hashlib.sha256(dump(config)).hexdigest()[:12]
        if self._state() == "absent":
            self._log("configuration not there", source=self._name, action="taking the defaults")
        elif self._source is not None:
            self._log("configuration in force", source=self._name, hash=self._hash)

"""Selects recent queries by the flags that the verbs about queries share."""

import re
from argparse import Namespace
from fnmatch import translate
from typing import NamedTuple

from pydns.config import flags
from pydns.config.shapes import Mistakes
from pydns.dns import name
from pydns.dns.address import BadAddress, address_text, parse_address
from pydns.ring.queries import Query
from pydns.table.client_names import ClientName


class Filter(NamedTuple):
    """Conditions for the queries that the operator wants to see. A condition that is None is always met."""

    namespace: str | None = None
    client: str | None = None  # a name, or the canonical text of an address
    name: re.Pattern[str] | None = None  # matches names in lower case, without the final dot
    result: str | None = None
    slow_s: float | None = None

    @classmethod
    def of(cls, options: Namespace, mistakes: Mistakes) -> "Filter":
        """Return the filter of a command line."""
        client, rcode = options.client, options.rcode
        glob = options.name
        return cls(
            flags.OF_NAMESPACE.read(options.namespace, mistakes),
            None if client is None else _canonical(client),
            None if glob is None else re.compile(translate(glob.lower().rstrip("."))),
            None if rcode is None else rcode.upper(),
            flags.SLOW.read(options.slow, mistakes),
        )

    @property
    def needs_names(self) -> bool:
        """Whether the filter needs the names of clients."""
        return self.namespace is not None or self.client is not None

    def takes(self, query: Query, who: ClientName | None) -> bool:
        """Return whether a query meets all conditions. `who` is the name of the query's client."""
        if self.slow_s is not None and query.spent_s < self.slow_s:
            return False
        if self.result is not None and query.facts.result.upper() != self.result:
            return False
        if self.client is not None and self.client not in (str(who), address_text(query.client)):
            return False
        if self.namespace is not None and (who is None or who.namespace != self.namespace):
            return False
        if self.name is None:
            return True
        qname = query.facts.qname
        return bool(qname) and self.name.match(name.to_text(qname.lower())[:-1]) is not None


def client_text(address: bytes, who: ClientName | None) -> str:
    """Return the name of a client and its address, or only its address."""
    return address_text(address) if who is None else f"{who} ({address_text(address)})"


def _canonical(client: str) -> str:
    try:
        return address_text(parse_address(client))
    except BadAddress:
        return client

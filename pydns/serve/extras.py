"""Answers that an operator can switch on: ANY as HINFO (RFC 8482), class CH, and the server's identifier (RFC 5001)."""

import socket
from collections.abc import Mapping
from typing import NamedTuple, Self

from pydns import __version__
from pydns.config.model import AnyQueries, ChaosName, Config, EdnsOptions
from pydns.dns import name
from pydns.dns.message import TCP_SIZE, Query, Rcode, compose_option, compose_reply
from pydns.dns.rrset import ANY, CLASS_CH, HINFO, TXT, RRset, txt

_NSID = 3  # the code of the EDNS option NSID (RFC 5001 section 2.3)
_HINFO_TTL_S = 8482
# The answer to ANY. The name of the question replaces the owner.
ANY_AS_HINFO = RRset(name.ROOT, HINFO, _HINFO_TTL_S, (txt(b"ANY obsoleted") + txt(b"See RFC 8482"),))


class Extras(NamedTuple):
    """The answers that are switched on, and the limit of replies over UDP."""

    max_udp_size: int = EdnsOptions().max_udp_size
    any_is_hinfo: bool = False
    chaos: Mapping[bytes, tuple[bytes, ...]] = {}  # name in class CH -> RDATA of its TXT records
    nsid: bytes = b""  # the EDNS option with the server's identifier; empty if the identifier isn't sent

    @classmethod
    def of(cls, config: Config, hostname: str | None = None) -> Self:
        """Return the answers that a configuration switches on.

        By default, the server's identifier is the name of this host.
        """
        hostname = hostname or socket.gethostname()
        chaos: dict[bytes, tuple[bytes, ...]] = {}
        if config.chaos is not None:
            version = config.chaos.version or f"pydns {__version__}"
            texts = {
                ChaosName.VERSION_BIND: (version,),
                ChaosName.VERSION_SERVER: (version,),
                ChaosName.HOSTNAME_BIND: (hostname,),
                ChaosName.ID_SERVER: (hostname,),
                ChaosName.AUTHORS_BIND: config.chaos.authors,
            }
            chaos = {
                name.from_text(each.value): tuple([txt(text.encode()) for text in texts[each]])
                for each in config.chaos.names
                if texts[each]
            }
        nsid = b"" if config.nsid is None else compose_option(_NSID, (config.nsid.data or hostname).encode())
        return cls(config.edns.max_udp_size, config.any is AnyQueries.HINFO, chaos, nsid)

    def identified(self, query: Query) -> Query:
        """If the client asked for the server's identifier, return the query with it as an option for the reply.

        Return any other query unchanged.
        """
        wanted = self.nsid and query.edns is not None and _NSID in query.edns.options
        return query._replace(reply_options=self.nsid) if wanted else query

    def reply(self, query: Query, limit: int = TCP_SIZE) -> bytes | None:
        """Return the reply to a query, or None if the operator hasn't switched on an answer to it.

        The reply has at most `limit` octets, and isn't authoritative.
        """
        rrset = None
        if query.qclass == CLASS_CH and query.qtype in (TXT, ANY) and query.qname in self.chaos:
            rrset = RRset(query.qname, TXT, 0, self.chaos[query.qname])
        elif query.qtype == ANY and query.qclass != CLASS_CH and self.any_is_hinfo:
            rrset = ANY_AS_HINFO._replace(owner=query.qname)
        if rrset is None:
            return None
        return compose_reply(query, Rcode.NOERROR, [rrset], authoritative=False, limit=limit)

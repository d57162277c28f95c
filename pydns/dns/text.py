"""Records as text for people, by dnslib. For tools only: it is never given bytes from the network."""

from dnslib import QTYPE, RDMAP, DNSBuffer

from pydns.dns import name
from pydns.dns.rrset import RRset


def to_text(rrset: RRset) -> list[str]:
    """Return an RRset as lines of a zone file."""
    rtype = QTYPE.get(rrset.rtype)
    return [f"{name.to_text(rrset.owner)} {rrset.ttl_s} IN {rtype} {_rdata(rtype, each)}" for each in rrset.rdatas]


def _rdata(rtype: str, rdata: bytes) -> str:
    return str(RDMAP[rtype].parse(DNSBuffer(rdata), len(rdata)).toZone())

"""Converts records to text for people. Only tools call this module, and only with records that pydns has parsed.

dnslib converts records of the types that a cluster has. dnspython converts all other records. dnslib is used where
possible, because it takes less time than dnspython. Its import takes less time, too.
"""

from dnslib import QTYPE, RDMAP, DNSBuffer, DNSError

from pydns.dns import name
from pydns.dns.rrset import AAAA, CNAME, NS, PTR, SRV, A, RRset

_OF_DNSLIB = frozenset({A, AAAA, CNAME, NS, PTR, SRV})


def to_text(rrset: RRset) -> list[str]:
    """Return the records of an RRset as lines in zone-file format."""
    try:
        rtype, rdatas = _of_dnslib(rrset) if rrset.rtype in _OF_DNSLIB else _of_dnspython(rrset)
    except DNSError:  # dnslib refuses octets beyond ASCII in names. A rule may copy them from a question
        rtype, rdatas = _of_dnspython(rrset)
    return [f"{name.to_text(rrset.owner)} {rrset.ttl_s} IN {rtype} {rdata}" for rdata in rdatas]


def _of_dnslib(rrset: RRset) -> tuple[str, list[str]]:
    rtype = QTYPE.get(rrset.rtype)
    return rtype, [str(RDMAP[rtype].parse(DNSBuffer(each), len(each)).toZone()) for each in rrset.rdatas]


def _of_dnspython(rrset: RRset) -> tuple[str, list[str]]:
    import dns.rdata
    import dns.rdataclass
    import dns.rdatatype

    rtype = dns.rdatatype.RdataType.make(rrset.rtype)
    rdatas = [dns.rdata.from_wire(dns.rdataclass.IN, rtype, each, 0, len(each)) for each in rrset.rdatas]
    return dns.rdatatype.to_text(rtype), [each.to_text() for each in rdatas]

"""Makes the SOA record for denials of names that are in no zone of pydns, such as blocked names."""

from pydns.dns import name
from pydns.dns.rrset import SOA, RRset, Soa

_MNAME, _RNAME = name.from_text("localhost."), name.from_text("nobody.invalid.")


def denial_soa(apex: bytes, ttl_s: int) -> RRset:
    """Return the SOA record of a denial at or below `apex`. Clients may cache the denial for `ttl_s`."""
    soa = Soa(_MNAME, _RNAME, 1, 3600, 1200, 604800, ttl_s)
    return RRset(apex, SOA, ttl_s, (_MNAME + _RNAME + soa.timers(),))

from dns.wire import Parser
import dns.rdata


def records(m):
    p = Parser(m)
    p.seek(12)
    qd = int.from_bytes(m[4:6])
    an = int.from_bytes(m[6:8])
    for _ in range(qd):
        p.get_name()
        p.get_bytes(4)
    for _ in range(an):
        o = p.get_name(decompress=True).to_wire().lower()
        t, c, ttl, n = p.get_struct("!HHIH")
        at = p.current
        if t in (2, 5, 6, 12, 15, 39, 33):
            with p.restrict_to(n):
                d = dns.rdata.from_wire_parser(1, t, p).to_wire()
        else:
            d = p.get_bytes(n)
        p.seek(at + n)
        yield o, t, ttl, d

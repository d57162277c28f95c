"""Zone files by the thousand, made from a seed: what people and tools write, and what they get wrong.

Each text has an apex of its own, so that one server can load them all. Nothing here knows what is right.
"""

from random import Random
from typing import NamedTuple


class ZoneText(NamedTuple):
    """A zone file, and the name of its zone without a final dot."""

    apex: str
    text: str


def make(seed: int) -> ZoneText:
    """Return the zone file of a seed."""
    apex = f"z{seed}.example."
    if seed < len(_ALONE):
        lines = ["$TTL 300\n", f"@ SOA ns hostmaster.{apex} 1 2h 30M 1w 300\n", "@ NS ns\n", _ALONE[seed]]
    else:
        lines = _lines(Random(seed), apex)
    return ZoneText(apex[:-1], "".join(lines).replace("{apex}", apex))


def _lines(random: Random, apex: str) -> list[str]:
    soa = f"SOA ns hostmaster.{apex} 1 2h 30M 1w 300"
    lines = [random.choice(["$TTL 60\n", "$TTL 1h30m\n", "", "", f"$ORIGIN {apex}\n", "; a comment\n\n"])]
    ttl = "" if lines[0].startswith("$TTL") else "300 "
    lines.append(
        f"{random.choice(['@', apex, apex.upper()])} {ttl}{random.choice(['IN ', '', 'in '])}{_spread(random, soa)}\n"
    )
    if random.random() < 0.9:
        lines.append(f"{random.choice(['', '@'])} NS {random.choice(['ns', 'ns.other.example.', 'ns.' + apex])}\n")
    for _ in range(random.randint(1, 25)):
        lines.append(_line(random, apex))
    for odd in _ODD:
        if random.random() < 0.004:
            lines.insert(random.randint(1, len(lines)), odd)
    if random.random() < 0.1:
        lines.append(
            f"{apex} 300 IN SOA {random.choice(['ns', 'other'])} hostmaster.{apex} {random.choice([1, 1, 2])} 7200 1800 604800 300\n"
        )
    return lines


def _spread(random: Random, record: str) -> str:
    """Write a record in one line, or in parentheses."""
    if random.random() < 0.7:
        return record
    first, *rest = record.split(" ")
    return f"{first} ( {random.choice([' ', chr(10), ' ; (' + chr(10) + chr(9)]).join(rest)} )"


def _line(random: Random, apex: str) -> str:
    if random.random() < 0.1:
        return random.choice(_SPECIAL).replace("{n}", str(random.randint(1, 9)))
    owner = random.choice(_OWNERS).format(apex=apex)
    ttl_class = random.choice(["", "", "", "60", "IN", "60 IN", "IN 60", "1h", "1D IN", "0"])
    record = random.choice(_RECORDS).format(apex=apex, n=random.randint(1, 9))
    comment = random.choice(["", "", "", " ; comment", '\t;( "', "  "])
    blank = random.choice([" ", "\t", "\t\t", "  "])
    return f"{blank.join(filter(None, [owner, ttl_class, record]))}{comment}\n" if owner else f"{blank}{record}\n"


_OWNERS = [
    "", "", "a", "b", "www", "WWW", "a.b", "c.a.b", "*", "*.w", "x.w", "ent.x.y", "@", "{apex}", "mail.{apex}",
    "_sip._tcp", "_443._tcp.www", "sub", "ns.sub", "deep.ns.sub", "dn", "below.dn", "1.0.0.127", "a\\.b", "a\\046c",
    "k._domainkey", "\\@", "a\\;b", "under_score", "-dash-", "0", "ns", "d1", "d2", "d3", "d4", "d5", "d6",
]  # fmt: skip
_RECORDS = [
    "A 192.0.2.{n}", "A 192.0.2.{n}", "A 192.0.2.{n}", "AAAA 2001:db8::{n}", "AAAA ::ffff:192.0.2.{n}", "a 192.0.2.{n}",
    "MX {n} mail", "MX {n} mail.{apex}", "MX 0 .", "TXT text{n}", "TXT \"a b\" c", "TXT \"semi;colon\" \"\"", "TXT \"\\\"q\\\"\"",
    "TXT \\065\\066", "TXT ( \"one\"\n \"two\" )", "SRV 0 {n} 80 www", "SRV 0 0 0 .", "PTR host{n}.{apex}",
    "CAA 0 issue \"ca.example\"", "CAA 128 iodef \"mailto:a@b\"", "TLSA 3 1 1 {n}0000000000000000000000000000000000000000000000000000000000000ab",
    "SSHFP 1 1 123456789abcdef67890123456789abcdef6789{n}", "NAPTR 10 {n} \"u\" \"E2U+sip\" \"!^.*$!sip:info@example.com!\" .",
    "LOC 51 30 12.748 N 0 7 39.611 W 0.00m {n}m 10m 10m", "HINFO PC Linux", "RP a.b c.d", "AFSDB 1 afs", "SPF \"v=spf1 -all\"",
    "HTTPS 1 . alpn=h2,h3 port={n}", "SVCB 0 svc{n}", "HTTPS 1 . ipv4hint=192.0.2.{n} ipv6hint=2001:db8::{n}",
    "URI 10 {n} \"ftp://ftp.example/\"", "TYPE65400 \\# 3 0a0b0{n}", "TYPE1 \\# 4 c000020{n}", "A \\# 4 c000020{n}", "TYPE97 \\# 0", "SMIMEA 3 1 1 abcd",
    "DS 60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A2921{n}0",
    "NSEC a A MX RRSIG NSEC TYPE1234", "RRSIG A 5 3 60 20300101000000 20250101000000 {n} @ AAAA", "RRSIG A 8 2 60 4294967295 0 {n} {apex} AAAA",
    "NSEC3PARAM 1 0 {n} aabb", "DNSKEY 256 3 5 AQPSKmynfzW4kyBv015MUG2D", "CDS 0 0 0 00", "CSYNC 66 3 A NS AAAA",
    "OPENPGPKEY AQPSKmynfzW4kyBv015MUG2D", "EUI48 00-00-5e-00-53-2{n}", "EUI64 00-00-5e-ef-10-00-00-2{n}", "CERT PGP 0 0 AQPSKmyn",
    "APL 1:192.168.32.0/21 !1:192.168.38.0/28", "DHCID AAIBY2/AuCccgoJbsaxcQc9TUapptP69lOjxfNuVAA2kjEA=", "KX {n} kx", "RT {n} rt", "X25 311061700956",
    "ISDN 150862028003217 004", "MINFO a b", "L32 {n} 10.1.2.0", "L64 {n} 2001:0DB8:1140:1000", "NID {n} 0014:4fff:ff20:ee64", "LP {n} l.example.",
    "ZONEMD 1 1 1 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f", "DLV 1 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118",
    "IPSECKEY 10 1 2 192.0.2.38 AQNRU3mG7TVTO2BkR47usntb102uFJtu", "TALINK a b", "NSAP 0x47.0005.80.005a00.0000.0001.e133.ffffff000161.00", "PX {n} a b", "GPOS -32.6882 116.8652 10.0", "WKS 192.0.2.1 tcp 80",
]  # fmt: skip
_SPECIAL = [  # whose owners have nothing else, mostly
    "cn{n} 60 CNAME www\n", "CN{n} 60 CNAME cn1\n", "sub{n} 60 NS ns.sub{n}\nns.sub{n} 60 A 192.0.2.{n}\n",
    "sub{n} 60 NS ns{n}.other.example.\n", "dn{n} 60 DNAME moved{n}.example.\n", "*.al{n} 60 CNAME www\n",
]  # fmt: skip
_ODD = [
    "www.outside.example. 60 A 192.0.2.9\n", "ns.other.example. 60 A 192.0.2.1\n", "$ORIGIN sub\n", "$ORIGIN sub.{apex}\n$ORIGIN {apex}\n",
    "$TTL 5\n", "\n", "   \n", ";;; nothing\n", "\t; blank comment\n", "cn 60 CNAME a\ncn 60 CNAME a\n", "cn2 60 CNAME a\ncn2 60 CNAME b\n",
    "co 60 CNAME a\nco 60 A 192.0.2.1\n", "*.wn 60 NS ns\n", "*.wd 60 DNAME a\n", "nd 60 NS ns\nnd 60 DNAME a\n", "dd 60 DNAME a\ndd 60 DNAME b\n",
    "t 60 A 192.0.2.1\nt 90 A 192.0.2.2\n", "k 60 TXT \"" + "A" * 392 + "\"\n", "k2 60 TXT " + "B" * 256 + "\n", "big 60 TXT " + "\"" + "C" * 255 + "\" " + "\n",
    "r 60 RRSIG A 8 3 60 21200101000000 20250101000000 1 @ AAAA\n", "bad 60 A 192.0.2.300\n", "bad 60 FOO x\n", "bad 60 MX mail\n", "x" * 64 + " 60 A 192.0.2.1\n",
    "bad 60 TXT \"open\n", "bad 60 A ( 192.0.2.1\n", "$GENERATE 1-2 g$ A 192.0.2.$\n", "$UNKNOWN x\n", "ch 60 CH A 192.0.2.1\n", "a..b 60 A 192.0.2.1\n", "bad 60 A 192.0.2.1 192.0.2.2\n",
    "sub 60 NS ns.sub\nns.sub 60 A 192.0.2.7\nsub 60 A 192.0.2.8\n", "neg -1 A 192.0.2.1\n", "huge 4294967296 A 192.0.2.1\n", "late 2147483648 A 192.0.2.1\n", "q 60 TXT unquoted;comment\n",
    "under 60 A 192.0.2.1\n under 60 A 192.0.2.2\n", "ü 60 A 192.0.2.1\n", "u8 60 TXT \"grüße\"\n", "par ( 60 A 192.0.2.1 )\n", "p2 60 A (192.0.2.1)\n", "\\# 60 A 192.0.2.1\n", "esc\\300 60 A 192.0.2.1\n", "e 60 TXT \\\n",
    "any 60 ANY \\# 0\n", "opt 60 OPT \\# 0\n", "t0 60 TYPE0 \\# 0\n", "t250 60 TSIG \\# 0\n", "g 60 A \\# 3 000000\n", "nul 60 NULL \\# 1 00\n", "md 60 MD a\n", "mb 60 MB a\n", "sig 60 SIG A 5 3 60 20300101000000 20250101000000 1 @ AAAA\n", "key 60 KEY 256 3 5 AQPS\n", "tab\t60\tIN\tA\t192.0.2.1\n", "crlf 60 A 192.0.2.1\r\n", "nl 60 TXT \"two\nlines\"\n",
    "hi 60 HINFO \"one only\"\n", "amt 60 AMTRELAY 10 0 1 203.0.113.15\n", "dot. 60 A 192.0.2.1\n", "doa 60 DOA 0 1 2 \"\" abcd\n", "nx 60 NXT a A\n", "at 60 ATMA 47\n", "hip 60 HIP 2 200100107B1A74DF365639CC39F1D578 AwEAAbdxyhNuSutc5EMzxTs9LBPCIkOFH8cI\n", "ni 60 NINFO \"a\"\n", "rk 60 RKEY 0 3 5 AQPS\n", "ta 60 TA 1 5 1 abcd\n", "a6 60 A6 0 ::1\n",
]  # fmt: skip
_ALONE = [*_ODD, *(f"x 60 {record}\n".replace("{n}", "5") for record in _RECORDS)]
FIRST_RANDOM = len(_ALONE)

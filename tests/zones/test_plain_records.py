"""The fast parser for plain lines returns the same records as the full parser."""

from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pydns.dns import name, plain_records
from pydns.dns.plain_records import PlainRecord
from pydns.zones import zonefile
from tests.differential import zone_texts

_HEAD = "$TTL 5\n@ SOA ns admin 1 2 3 4 5\n@ NS ns\n"
_PLAIN = [
    "www A 192.0.2.1",
    "www\t300\tIN\tAAAA\t2001:db8::1  ",
    " A 192.0.2.2",
    "* 0 CNAME www.example.net.",
    "@ MX 10 mail",
    "_sip._tcp in SRV 1 2 65535 sip",
    "1.2.3 PTR host",
    "sub NS ns.sub",
    'k TXT "v=DKIM1; k=rsa; p=' + "A" * 392 + '" two ""',
    "k TXT " + "x" * 256,
]
_WORDS = r"""
    www @ * a.b a..b a. . IN in 60 4294967296 1h A a AAAA CNAME NS PTR MX SRV TXT TYPE1 192.0.2.1 192.0.2.01 192.0.2
    1.2.3.4. :: ::1 1::2::3 1:2:3:4:5:6:7:: ::1.2.3.4 fe80::1%eth0 0x10 65536 10 007 a;b ( ) $ a@b - _ '
    "a" "" "a""b" "a;b" \ \065 \# ü
"""
_PIECES = st.sampled_from(
    [*_WORDS.split(), "", " ", "\t", "\r", "\0", "\x7f", "x" * 63, "x" * 64, "x" * 256, ".".join(["y" * 60] * 4)]
)
_LINES = st.one_of(
    st.lists(_PIECES, max_size=8).map(" ".join),
    st.lists(_PIECES, max_size=8).map("".join),
    st.tuples(_PIECES, st.sampled_from([" ", "\t", " 60 ", " IN "]), _PIECES, st.just(" "), _PIECES).map("".join),
)


@pytest.mark.parametrize("line", _PLAIN)
def test_the_fast_parser_reads_lines_that_programs_write(line: str) -> None:
    assert plain_records.read(line, b"\1o\0", name.from_text("example.org")) is not None


@settings(max_examples=3000, deadline=None)
@given(_LINES, st.sampled_from(["example.org", "", "o" * 63 + "." + "o" * 63 + "." + "o" * 63]))
@example("a. A 1.2.3.4", "example.org")
def test_both_parsers_read_the_same_record_from_a_plain_line(line: str, origin_text: str) -> None:
    origin = name.from_text(origin_text) if origin_text else None
    plain = plain_records.read(line, origin, origin)
    if plain is not None:
        assert plain == _general(line, origin)


def _general(line: str, origin: bytes | None) -> PlainRecord | None:
    ((_, entry),) = zonefile._entries(line)
    assert entry is not None
    return zonefile._tokenized(entry, zonefile._State(origin, origin))


@pytest.mark.parametrize("seed", range(0, 2000, 10))
def test_both_parsers_read_the_same_generated_zone(seed: int) -> None:
    zone = zone_texts.make(seed)
    quick = zonefile.read(zone.text, "z", zone.apex, _no_include)
    with patch.object(plain_records, "read", return_value=None):
        assert zonefile.read(zone.text, "z", zone.apex, _no_include) == quick


def _no_include(wanted: str, by: str) -> tuple[str, str]:
    raise zonefile.Unavailable("no such file")

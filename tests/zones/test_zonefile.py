"""A zone file is either read, or every mistake in it is reported with its file and line."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pydns.dns import name
from pydns.dns.rrset import RRSIG, SOA, TXT, A
from pydns.zones import zonefile
from pydns.zones.compile import combine, compile_zone
from pydns.zones.zonefile import Mistake, Unavailable, ZoneFile, read

_HEAD = "@ 60 SOA ns admin 1 2 3 4 5\n@ 60 NS ns\n"  # this text has two lines
_INCLUDED = {
    "hosts.inc": "a 60 A 192.0.2.1\n",
    "broken.inc": "\n\nb 60 A 192.0.2.300\n",
    "self.inc": "$INCLUDE self.inc\n",
    "origin.inc": "$ORIGIN deep.example.org.\nc 60 A 192.0.2.3\n",
}


def include(wanted: str, by: str) -> tuple[str, str]:
    if wanted not in _INCLUDED:
        raise Unavailable("no such file")
    return wanted, _INCLUDED[wanted]


def owners(text: str) -> dict[str, int]:
    """Return the owners of A records, with their TTLs."""
    found = read(text, "example.org.zone", "example.org", include)
    assert isinstance(found, ZoneFile), found
    return {name.to_text(rrset.owner): rrset.ttl_s for rrset in found.rrsets if rrset.rtype == A}


MISTAKES = {
    "no SOA": ("@ 60 NS ns", ": has no SOA record"),
    "an address": (_HEAD + "\nwww 60 A 192.0.2.300", ":4: www 60 A 192.0.2.300: Text input is malformed."),
    "too few fields": (_HEAD + "www 60 MX mail", None),
    "a type": (_HEAD + "www 60 AAAB ::1", ":3: AAAB is not a type of record"),
    "a type that is only asked for": (_HEAD + "www 60 ANY x", ":3: ANY is not a type that a zone can have"),
    "a class": (_HEAD + "www 60 CH A 192.0.2.1", ":3: class CH is not IN"),
    "a TTL": (
        _HEAD + "www 9999999999 A 192.0.2.1",
        ":3: 9999999999 is not a TTL; wanted seconds, or units as in 1h30m, at most 2147483647 s",
    ),
    "no TTL": ("@ NS ns", ":1: has no TTL, and there is no $TTL before it"),
    "CNAME and other records": (
        _HEAD + "www 60 CNAME web\nwww 60 A 192.0.2.1",
        ":4: www.example.org. has a CNAME and other records",
    ),
    "two CNAMEs": (_HEAD + "www 60 CNAME a\nwww 60 CNAME b", ":3: www.example.org. has several records of type CNAME"),
    "CNAME at the apex": (_HEAD + "@ 60 CNAME a", ":3: example.org. has a CNAME and other records"),
    "a parenthesis": (_HEAD + "www 60 TXT ( a\nb", ":3: parenthesis is not closed"),
    "blanks without an owner": (" 60 A 192.0.2.1", ":1: begins with blanks, and there is no owner before it"),
    "a directive": (_HEAD + "$GENERAT 1-2 a", ":3: $GENERAT is not $ORIGIN, $TTL, $INCLUDE or $GENERATE"),
    "an included file that isn't there": (_HEAD + "$INCLUDE no.inc", ":3: $INCLUDE no.inc: no such file"),
    "a file that includes itself": (
        _HEAD + "$INCLUDE self.inc",
        "self.inc:1: $INCLUDE: more than 100 files, or more than 8 deep",
    ),
    "in an included file": (
        _HEAD + "$INCLUDE broken.inc",
        "broken.inc:3: b 60 A 192.0.2.300: Text input is malformed.",
    ),
    "a range without end": (
        _HEAD + "$GENERATE 0-4294967295 a$ 60 A 192.0.2.1",
        ":3: $GENERATE 0-4294967295: makes more than 65536 records",
    ),
    "a range": (_HEAD + "$GENERATE 5-1 a$ 60 A 192.0.2.1", None),
    "a modifier": (
        _HEAD + "$GENERATE 1-2 a${0,500,d} 60 A 192.0.2.1",
        ":3: $GENERATE: wanted ${OFFSET,WIDTH,BASE}, width at most 99, base one of d, o, x, X, n, N",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_reported_with_file_and_line(text: str, wanted: str | None) -> None:
    found = read(text, "example.org.zone", "example.org", include)
    assert isinstance(found, list)
    said = [str(mistake) for mistake in found]
    if wanted is None:  # the message comes from dnspython
        assert said[0].startswith("example.org.zone")
    else:
        assert (f"example.org.zone{wanted}" if wanted[0] == ":" else wanted) in said


SERVED = {  # a zone with such a mistake is still served; each row has the expected warnings
    "no NS": ("@ 60 SOA ns admin 1 2 3 4 5\nwww 60 A 192.0.2.1", [": has no NS record of example.org."]),
    "the SOA again, as `dig AXFR` prints it": (_HEAD + "www 60 A 192.0.2.1\n@ 60 SOA ns admin 1 2 3 4 5", []),
    "another SOA": (
        _HEAD + "@ 60 SOA ns admin 2 2 3 4 5\nwww 60 A 192.0.2.1",
        [":3: second SOA record of the zone; left out"],
    ),
    "a SOA below the apex": (
        _HEAD + "a 60 SOA ns admin 1 2 3 4 5\nwww 60 A 192.0.2.1",
        [":3: second SOA record of the zone; left out"],
    ),
    "records outside of the zone": (
        _HEAD + "a.example. 60 A 192.0.2.1\nxexample.org. 60 A 192.0.2.1\nwww 60 A 192.0.2.1",
        [
            ":3: a.example. is not in the zone example.org.; left out",
            ":4: xexample.org. is not in the zone example.org.; left out",
        ],
    ),
    "a record outside of the zone, before the SOA": (
        "b.example. 60 A 192.0.2.1\nwww 60 A 192.0.2.1\n" + _HEAD,
        [":1: b.example. is not in the zone example.org.; left out"],
    ),
    "NS and DNAME at a wildcard": (
        _HEAD + "*.x 60 NS ns\n*.y 60 DNAME ns\nwww 60 A 192.0.2.1",
        [":3: NS at a wildcard has no meaning; left out", ":4: DNAME at a wildcard has no meaning; left out"],
    ),
    "TXT of more than 255 octets": (_HEAD + "k 60 TXT " + "A" * 392 + "\nwww 60 A 192.0.2.1", []),
    "a signature that ends after 2106": (
        _HEAD + "@ 60 RRSIG A 8 2 60 21200101000000 20250101000000 1 @ AAAA\nwww 60 A 192.0.2.1",
        [],
    ),
    "types that are rare": (
        _HEAD + "a 60 MINFO a b\na 60 SMIMEA 3 1 1 abcd\na 60 TLSA 3 1 1 00\na 60 SPF x y\nwww 60 A 192.0.2.1",
        [],
    ),
    "a short fingerprint, and parameters of an alias": (
        _HEAD + "a 60 SSHFP 1 1 ab\na 60 HTTPS 0 . alpn=h2\nwww 60 A 192.0.2.1",
        [],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), SERVED.values(), ids=SERVED.keys())
def test_a_zone_is_served_without_its_bad_records_and_with_warnings(text: str, wanted: list[str]) -> None:
    found = read(text, "example.org.zone", "example.org", include)
    assert isinstance(found, ZoneFile), found
    assert [str(warning).removeprefix("example.org.zone") for warning in found.warnings] == wanted
    assert found.left_out == len([each for each in wanted if each.endswith("left out")])
    assert name.from_text("www.example.org") in [rrset.owner for rrset in found.rrsets]
    assert compile_zone(found).records == found.records


@pytest.mark.parametrize("text", ['k 60 TXT "{}"', 'k 60 TXT ( "{}" )'])
def test_a_long_text_is_split_into_strings_that_dkim_verifiers_join(text: str) -> None:
    found = read(_HEAD + text.format("A" * 255 + "B" * 100), "z", "example.org", include)
    assert isinstance(found, ZoneFile), found
    assert [rrset.rdatas for rrset in found.rrsets if rrset.rtype == TXT] == [
        (b"\xff" + b"A" * 255 + b"\x64" + b"B" * 100,)
    ]


def test_signature_times_wrap_to_zero_in_2106() -> None:
    found = read(_HEAD + "@ 60 RRSIG A 8 2 60 21060207062817 20250101000000 1 @ AAAA", "z", "example.org", include)
    assert isinstance(found, ZoneFile), found
    (rdata,) = next(rrset.rdatas for rrset in found.rrsets if rrset.rtype == RRSIG)
    assert int.from_bytes(rdata[8:12]) == 1


def test_warnings_are_bounded_and_all_records_left_out_are_counted() -> None:
    found = read(_HEAD + "a.example. 60 A 192.0.2.1\n" * 1000, "z", "example.org", include)
    assert isinstance(found, ZoneFile), found
    assert (len(found.warnings), found.left_out) == (100, 1000)


def test_every_mistake_is_reported() -> None:
    found = read(_HEAD + "a 60 A x\nb 60 A 192.0.2.1\nc 60 ( A\ny )\nd 60 Z 1", "z", "example.org", include)
    assert isinstance(found, list)
    assert [mistake.line for mistake in found] == [3, 5, 7]


def test_ttls_have_units_and_come_from_the_ttl_directive_or_the_record_before() -> None:
    text = "@ 1h SOA ns admin 1 2 3 4 5\n NS ns\na A 192.0.2.1\nb 1W2d A 192.0.2.1\n$TTL 90\nc A 192.0.2.1\n"
    assert owners(text) == {"a.example.org.": 3600, "b.example.org.": 777600, "c.example.org.": 90}


def test_class_and_ttl_are_read_in_any_order() -> None:
    assert owners(_HEAD + "a IN 5 A 192.0.2.1\nb 6 IN A 192.0.2.1\nc in 7 a 192.0.2.1") == {
        "a.example.org.": 5,
        "b.example.org.": 6,
        "c.example.org.": 7,
    }


def test_an_included_file_does_not_change_origin_and_owner() -> None:
    text = _HEAD + "x 60 TXT x\n$INCLUDE origin.inc sub\n 60 A 192.0.2.9\n$INCLUDE hosts.inc sub\nd 60 A 192.0.2.4"
    assert sorted(owners(text)) == [
        "a.sub.example.org.",
        "c.deep.example.org.",
        "d.example.org.",
        "x.example.org.",
    ]


def test_the_generate_directive_counts_with_offset_width_and_base() -> None:
    text = _HEAD + "$GENERATE 10-12/2 h${-1,3}.$$x\\$${0,2,x} 60 A 192.0.2.$\n$GENERATE 1-1 ${0,5,n} 60 A 192.0.2.1\n"
    assert sorted(owners(text)) == [
        "1.0.0.example.org.",
        "h009.\\$x\\$0a.example.org.",
        "h011.\\$x\\$0c.example.org.",
    ]


def test_the_apex_is_the_owner_of_the_soa_whatever_the_file_is_called() -> None:
    found = read("$ORIGIN Example.NET.\n" + _HEAD, "db", "db", include)
    assert isinstance(found, ZoneFile)
    assert (found.apex, found.rrsets[0].rtype, found.records) == (name.from_text("example.net"), SOA, 2)


def test_equal_records_are_merged_and_an_rrset_has_its_lowest_ttl() -> None:
    assert owners(_HEAD + "a 60 A 192.0.2.1\na 30 A 192.0.2.1") == {"a.example.org.": 30}


def test_strings_keep_quotes_semicolons_and_parentheses() -> None:
    found = read(_HEAD + r'a 60 TXT "a \"(;" b\;c ; no' + "\n", "z", "example.org", include)
    assert isinstance(found, ZoneFile)
    assert [rrset.rdatas for rrset in found.rrsets if rrset.rtype == TXT] == [(b'\5a "(;\3b;c',)]


@pytest.mark.parametrize("limit", ["MAX_RECORDS", "MAX_OCTETS"])
def test_a_zone_that_is_too_large_is_a_mistake(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zonefile, limit, 3)
    found = read(_HEAD + "a 60 A 192.0.2.1\nb 60 A 192.0.2.1\n", "z", "example.org", include)
    assert isinstance(found, list)
    assert "more than" in found[0].reason


# Words with a meaning in zone files, so that the parser accepts the first token of most texts.
_WORDS = st.sampled_from(
    ["@", "a", "*", "*.a", "a.b", ".", "example.org.", "60", "1h", "IN", "CH", "A", "AAAA", "NS", "SOA", "MX", "TXT",
     "CNAME", "DNAME", "SRV", "HTTPS", "TYPE65", "TYPE0", "DS", "LOC", "APL", "NAPTR", "RRSIG", "NSEC3", "IPSECKEY",
     "192.0.2.1", "::1", "ns", "admin", "1", "2", "3", "$TTL", "$ORIGIN", "$INCLUDE", "$GENERATE", "1-3", "h$",
     "${0,2,x}", "hosts.inc", "self.inc", "(", ")", '"', '"x"', ";", "\\#", "\\", "\\300", "ff", "\n", "\n",
     "\n", " ", "\t", "\r\n", "\0", "ü", "xn--a", "x" * 64, "1." * 130]
)  # fmt: skip
_TEXT = st.one_of(
    st.text(),
    st.lists(_WORDS).map(" ".join),
    st.lists(_WORDS).map(" ".join).map(_HEAD.__add__),
)


@settings(max_examples=1500, deadline=None)
@given(_TEXT, st.sampled_from(["example.org", "", "ü", "a" * 70, "."]))
@example('@ 60 "" A', "example.org")
@example('"', "example.org")
@example("$", "example.org")
def test_hostile_text_gives_a_zone_or_mistakes_but_no_exception(text: str, origin: str) -> None:
    found = read(text, "z", origin, include)
    if isinstance(found, ZoneFile):
        assert combine({"z": compile_zone(found)}, (), [name.from_text("cluster.local")], ()).zones is not None
    else:
        assert found
        assert all(isinstance(each, Mistake) and str(each) for each in found)

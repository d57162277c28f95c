"""IPv4 addresses within IPv6 addresses, as in the table of RFC 6052 section 2.4."""

import pytest

from pydns.dns import name
from pydns.dns.address import address_text, parse_address, parse_range
from pydns.dns.dns64 import Dns64, embedded, extracted

ADDRESS = parse_address("192.0.2.33")
EXAMPLES = [
    ("2001:db8::/32", "2001:db8:c000:221::"),
    ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
    ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
    ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
    ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
    ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
    ("64:ff9b::/96", "64:ff9b::192.0.2.33"),
]


@pytest.mark.parametrize(("prefix", "mapped"), EXAMPLES)
def test_an_address_is_mapped_into_a_prefix_and_back(prefix: str, mapped: str) -> None:
    where, address = parse_range(prefix), parse_address(mapped)
    assert address_text(embedded(where, ADDRESS)) == address_text(address)
    assert extracted(where, address) == ADDRESS


@pytest.mark.parametrize(
    "text",
    [
        "1.2.0.192.in-addr.arpa.",
        "ip6.arpa.",
        "b.9.f.f.4.6.0.0.ip6.arpa.",
        f"x.{'0.' * 23}b.9.f.f.4.6.0.0.ip6.arpa.",
        f"00.{'0.' * 23}b.9.f.f.4.6.0.0.ip6.arpa.",
        f"0.{'0.' * 24}b.9.f.f.4.6.0.0.ip6.arpa.",
        f"0.{'0.' * 23}b.9.f.f.4.6.0.0.ip6.example.",
        f"0.{'0.' * 22}1.b.9.f.f.4.6.0.0.ip6.arpa.",
    ],
)
def test_other_names_are_not_taken_for_mapped_addresses(text: str) -> None:
    assert Dns64((parse_range("64:ff9b::/96"),)).reverse(name.from_text(text)) is None

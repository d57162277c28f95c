"""Local zones within other local zones: each zone denies its own names, including names at its apex."""

from pathlib import Path

import dns.message
import pytest

from pydns.dns.name import from_text
from pydns.dns.rrset import A
from pydns.kube.producer import ZoneOptions
from pydns.kube.zone import Zone
from tests.running import query
from tests.subject import InProcess

_REVERSE = (from_text("10.in-addr.arpa"), from_text("in-addr.arpa"))


@pytest.mark.parametrize(
    ("asked", "zone"),
    [
        ("10.in-addr.arpa.", "10.in-addr.arpa."),
        ("1.10.in-addr.arpa.", "10.in-addr.arpa."),
        ("11.in-addr.arpa.", "in-addr.arpa."),
        ("1.11.in-addr.arpa.", "in-addr.arpa."),
    ],
)
def test_a_denial_has_the_soa_record_of_the_innermost_zone(tmp_path: Path, asked: str, zone: str) -> None:
    subject = InProcess(tmp_path, Zone(ZoneOptions(reverse_zones=_REVERSE)))
    reply = subject.ask(query(asked, A), tcp=False)
    assert reply is not None
    assert str(dns.message.from_wire(reply).authority[0].name) == zone
    subject.close()

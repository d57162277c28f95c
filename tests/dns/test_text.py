"""Records as text for people."""

import pytest

from pydns.dns import name
from pydns.dns.rrset import CNAME, NS, PTR, RRset
from pydns.dns.text import to_text

HOSTILE = r"\229b\000\010.x.example."


@pytest.mark.parametrize(("rtype", "text"), [(CNAME, "CNAME"), (NS, "NS"), (PTR, "PTR")])
def test_names_with_any_octets_are_escaped(rtype: int, text: str) -> None:
    rrset = RRset(name.from_text("www.example."), rtype, 60, (name.from_text(HOSTILE),))
    assert to_text(rrset) == [f"www.example. 60 IN {text} {HOSTILE}"]

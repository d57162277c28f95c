"""Names that are at or below other names, and names that aren't."""

import pytest

from pydns.dns import name

IN = "is at or below"
OUT = "is not"
CASES = [
    ("example.com.", IN, "example.com."),
    ("WWW.Example.com.", IN, "eXample.COM."),
    ("a.b.example.com.", IN, "com."),
    ("example.com.", IN, "."),
    (".", IN, "."),
    ("com.", OUT, "example.com."),
    (".", OUT, "com."),
    ("notexample.com.", OUT, "example.com."),
    # A label may contain octets that look like labels. Here the first label ends with the octets of \007example.
    (r"a\007example.com.", OUT, "example.com."),
]


@pytest.mark.parametrize(("below", "verdict", "above"), CASES)
def test_is_at_or_below_compares_whole_labels(below: str, verdict: str, above: str) -> None:
    assert name.is_at_or_below(name.from_text(below), name.from_text(above)) is (verdict == IN)

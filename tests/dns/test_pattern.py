"""Patterns match like Go's `regexp`, in linear time."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pydns.dns.pattern import BadPattern, Pattern

# A pattern, a text, and the match with its groups. None if there is no match.
CASES = [
    (
        r"(.*)-(us-west-1)\.example\.org",
        "ftp-us-west-1.example.org.",
        ("ftp-us-west-1.example.org", "ftp", "us-west-1"),
    ),
    (r"(.+)-v([0-9]+)\.default", "a-v1-v22.default.", ("a-v1-v22.default", "a-v1", "22")),
    (r"^(?:[^.]+\.){4,}internal\.$", "a.b.c.d.internal.", ("a.b.c.d.internal.",)),
    (r"^(?:[^.]+\.){4,}internal\.$", "a.b.c.internal.", None),
    (r"^ip-(?P<a>\d{1,3})-(?P<b>\d{1,3})\.", "ip-10-200.x.", ("ip-10-200.", "10", "200")),
    (r"a|ab", "ab", ("a",)),  # the first alternative, not the longest match
    (r"(a|ab)(c|bcd)", "abcd", ("abcd", "a", "bcd")),
    (r"a+?", "aaa", ("a",)),
    (r"(?U)a+", "aaa", ("a",)),
    (r"(?i)EXAMPLE\.org", "example.org", ("example.org",)),
    (r"(?i:A)b", "ab", ("ab",)),
    (r"(a)|(b)", "b", ("b", "", "b")),
    (r"(a*)*", "b", ("", "")),
    (r"(a*)+$", "aab", ("", "")),
    (r"x*", "", ("",)),
    (r"\bweb\b", "a.web.b", ("web",)),
    (r"\Bb", "ab b", ("b",)),
    (r"[[:alpha:]]+[^[:^digit:]]", "-ab1", ("ab1",)),
    (r"[]a-]+", "a-]b", ("a-]",)),
    (r"[\d.-]+", "x1-2.3", ("1-2.3",)),
    (r"\Qa.b\E+", "a.bb axb", ("a.bb",)),
    (r"\x2d\x{2e}", "-.", ("-.",)),
    (r"a{,2}", "a{,2}", ("a{,2}",)),
    (r"a{2}", "aaa", ("aa",)),
    (r"a{1,2}?b", "aab", ("aab",)),
    (r"[^\x00-\x7f]", "a", None),
    (r"b$", "ab", ("b",)),
    (r"(?m)^b$", "a\nb\nc", ("b",)),
    (r"a.c", "a\nc", None),
    (r"(?s)a.c", "a\nc", ("a\nc",)),
]


@pytest.mark.parametrize(("pattern", "text", "wanted"), CASES)
def test_the_leftmost_match_is_found_with_its_groups(pattern: str, text: str, wanted: tuple[str, ...] | None) -> None:
    assert Pattern(pattern).search(text) == wanted


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(", "is invalid: missing ): ("),
        ("a)", "is invalid: unexpected ): a)"),
        ("[a", "is invalid: missing ]: [a"),
        ("*", "is invalid: no argument for repetition operator: *"),
        ("a**", "is invalid: bad repetition operator: **"),
        ("a{2}{3}", "is invalid: bad repetition operator: {2}{3}"),
        ("a{1001}", "is invalid: invalid repetition size: {1001}"),
        ("a{2,1}", "is invalid: invalid repetition size: {2,1}"),
        ("[b-a]", "is invalid: invalid character class range: b-a"),
        ("[[:name:]]", "is invalid: invalid character class range: [:name:]"),
        (r"(a)\1", r"is invalid: invalid escape sequence: \1"),
        ("(?=a)", "is invalid: invalid perl operator: (?="),
        ("ä", "has a character beyond ASCII, which no name contains"),
        ("((a{100}){100}){100}", "is invalid: invalid repetition size: {100}"),
        (".{1000}" * 20, "is invalid: pattern too large - compile failed"),
        ("a" * 10_001, "is longer than 10,000 characters"),
    ],
)
def test_patterns_that_are_invalid_in_go_are_refused_with_the_reason(pattern: str, reason: str) -> None:
    with pytest.raises(BadPattern, match=re.escape(reason)):
        Pattern(pattern)


# Patterns for which Python and Go agree: nothing that may be empty is repeated.
ATOMS = st.sampled_from(["a", "b", ".", r"\.", "[ab]", "[^a]", r"\d", "-", "ab"])
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.builds("({})".format, inner),
        st.builds("(?:{}|{})".format, inner, inner),
        st.builds("{}{}".format, inner, inner),
        st.builds("(?:{}){}".format, ATOMS, st.sampled_from(["*", "+", "?", "*?", "+?", "??", "{2}", "{1,3}", "{2,}"])),
        st.builds("(?:a{}b){}".format, inner, st.sampled_from(["*", "+?", "{0,2}"])),
    ),
    max_leaves=12,
)


@settings(max_examples=500)
@given(PATTERNS, st.sampled_from(["", "^"]), st.sampled_from(["", "$"]), st.text("ab.-1", max_size=12))
def test_matches_are_the_same_as_in_python(pattern: str, begin: str, end: str, text: str) -> None:
    whole = f"{begin}(?:{pattern}){end}"
    match = re.search(whole, text)
    wanted = None if match is None else (match[0], *(each or "" for each in match.groups()))
    assert Pattern(whole).search(text) == wanted


@given(st.text(st.sampled_from("ab.()[]{}*+?|^$\\d-,0123:P<>isx"), max_size=30), st.text("ab.", max_size=8))
def test_any_text_is_a_pattern_or_refused(pattern: str, text: str) -> None:
    try:
        Pattern(pattern).search(text)
    except BadPattern as error:
        assert str(error)


def test_a_hostile_name_costs_linear_time() -> None:
    patterns = [Pattern(each) for each in ("(x+x+)+y?$", "(x*)*$", "(x|xx|xxx)*y?$", ".*.*.*.*.*y?$", "(.*){1,40}y?$")]
    started = time.process_time()
    for pattern in patterns:
        pattern.search("x" * 250 + "-")
    # Python's `re` takes years for the first pattern. This limit is a thousand times the usual duration.
    assert time.process_time() - started < 30

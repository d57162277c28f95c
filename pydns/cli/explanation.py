"""What `pydns explain` has found: values that are printed as text, or as JSON with `-o json`.

docs/json.md describes every key. tests/cli/test_json.py compares the document with this module.
"""

from msgspec import Struct


class Answer(Struct, frozen=True, kw_only=True):
    """The reply to one question."""

    name: str
    type: str
    has_answer: bool
    reply: str
    reason: str | None  # a code that docs/reasons.md explains
    cached_s: int | None
    age_s: float | None  # age of the data from which the reply is made
    records: tuple[str, ...]
    source: str
    why: tuple[str, ...]
    asked: tuple[str, ...]  # one text for each upstream that was asked


class Explanation(Struct, frozen=True, kw_only=True):
    """The names that were tried until a name had an answer."""

    version: int = 1
    has_answer: bool
    search: str | None  # the namespace whose search list was applied
    tried: tuple[Answer, ...]
    notes: tuple[str, ...]
    pod: str | None = None  # the pod that looks up the name; None if the pod is unknown
    resolver: str | None = None  # the resolver that looks up the name; None if the explanation is about one name alone
    domains: tuple[str, ...] = ()  # the search domains of the lookup
    ndots: int | None = None
    result: str | None = None  # what the whole lookup returns to the application
    hints: tuple[str, ...] = ()  # changes that would make the lookup faster or successful

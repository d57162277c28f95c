"""Groups recent queries by a key, such as the name or the client. Pure."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

from pydns.ring.queries import Outcome, Query

Key = TypeVar("Key", str, bytes)

# The groups by duration: the upper bound of each group in seconds, and the bound as text.
_DURATIONS = ((0.0001, "0.1 ms"), (0.001, "1 ms"), (0.01, "10 ms"), (0.1, "100 ms"), (1.0, "1 s"))
_LONGEST = "more than 1 s"


class Group(NamedTuple, Generic[Key]):
    """The queries with the same key."""

    key: Key
    queries: int
    denied: int  # how many replies were NXDOMAIN, or had no records of the type
    failed: int  # how many queries got an rcode other than NOERROR and NXDOMAIN, or no reply
    mean_s: float  # the mean time until the reply was sent
    max_s: float


def groups(queries: Sequence[Query], keys: Sequence[Key | None]) -> "list[Group[Key]]":
    """Return a group for each key. The group with the most queries comes first.

    `keys` contains the key of each query, or None to leave the query out.
    """
    durations: defaultdict[Key | None, list[float]] = defaultdict(list)
    for key, query in zip(keys, queries, strict=True):
        durations[key].append(query[1])
    durations.pop(None, None)
    outcomes = [query[5].outcome for query in queries]  # an index takes less time than the name of the field
    denied, failed = (
        Counter(key for key, outcome in zip(keys, outcomes, strict=True) if outcome is wanted)
        for wanted in (Outcome.DENIED, Outcome.FAILED)
    )
    made = [
        Group(key, len(spent_s), denied[key], failed[key], sum(spent_s) / len(spent_s), max(spent_s))
        for key, spent_s in durations.items()
        if key is not None
    ]
    made.sort(key=lambda group: group.key)
    made.sort(key=lambda group: group.queries, reverse=True)
    return made


def duration_text(spent_s: float) -> str:
    """Return the name of the group to which a duration belongs, such as "up to 1 ms"."""
    return next((f"up to {text}" for bound, text in _DURATIONS if spent_s <= bound), _LONGEST)

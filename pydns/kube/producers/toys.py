"""Toys: a worked example of a new kind of object. A Toy of example.org/v1 has a TXT record at NAME.NAMESPACE.toy."""

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

import msgspec

from pydns.dns import name
from pydns.dns.rrset import TXT, RRset, txt
from pydns.kube.objects import Options, RawMeta
from pydns.kube.producer import Change, Plain, ZoneOptions

_Key = tuple[str, str]  # namespace and name


class Toy(NamedTuple):
    """A Toy and what it says."""

    namespace: str
    name: str
    text: str


class RawSpec(msgspec.Struct):
    """What is read of `spec`."""

    text: str


class RawToy(msgspec.Struct):
    """What is read of a Toy."""

    metadata: RawMeta
    spec: RawSpec


def read_toy(raw: RawToy, options: Options) -> Toy:
    """Return a Toy. Raises ValueError."""
    namespace, toy = raw.metadata.namespace or "", raw.metadata.name
    if not (name.is_kubernetes_label(namespace) and name.is_kubernetes_label(toy)):
        raise ValueError(f"{namespace}/{toy} doesn't fit into a name")
    if len(raw.spec.text.encode()) > 255:
        raise ValueError("text is longer than 255 octets")
    return Toy(namespace, toy, raw.spec.text)


class Toys(Plain):
    """The producer of Toys. A state is a Toy."""

    def __init__(self, options: ZoneOptions) -> None:
        self._options = options
        self._ttl_s = options.ttl_s
        self._toys: dict[_Key, Toy] = {}

    def note(self, change: Change) -> Iterable[_Key]:
        """Take in a Toy, and return its key."""
        before, after = change
        toy = before if after is None else after
        assert isinstance(toy, Toy)
        key = (toy.namespace, toy.name)
        if after is None:
            del self._toys[key]
        else:
            self._toys[key] = toy
        return (key,)

    def current_keys(self) -> Collection[_Key]:
        """Return the keys of all Toys."""
        return self._toys.keys()

    def state(self, key: _Key) -> Toy | None:
        """Return a Toy of a served namespace."""
        return self._toys.get(key) if self._options.serves(key[0]) else None

    def rrsets(self, state: Toy) -> Iterator[RRset]:
        """Yield the record of a Toy."""
        owner = name.from_labels(state.name.encode(), state.namespace.encode(), b"toy")[:-1] + self._options.domain
        yield RRset(owner, TXT, self._ttl_s, (txt(state.text.encode()),))

    def change_ttl(self, ttl_s: int) -> None:
        """Make records with another TTL from now on."""
        self._ttl_s = ttl_s

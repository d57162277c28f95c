"""Namespaces: each namespace has two DNS names, one directly above its Services and one directly above its pods.

Both names exist as long as the namespace exists.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping

from pydns.config.settings import PodsMode
from pydns.dns import name
from pydns.dns.rrset import RRset
from pydns.kube import schema
from pydns.kube.objects import Namespace
from pydns.kube.producer import Change, Plain, ZoneOptions
from pydns.table.layout import NodeKind


class Namespaces(Plain):
    """The producer for Namespaces. A key is the name of a namespace, and its state is the same name."""

    def __init__(self, options: ZoneOptions) -> None:
        self._options = options
        self._schema = options.schema
        self._existing: dict[str, None] = {}

    def note(self, change: Change) -> Iterable[str]:
        """Process a changed Namespace. Return the name of the namespace."""
        before, after = change
        if isinstance(after, Namespace):
            self._existing[after.name] = None
            return (after.name,)
        assert isinstance(before, Namespace)
        del self._existing[before.name]
        return (before.name,)

    def current_keys(self) -> Collection[str]:
        """Return the names of all Namespaces."""
        return self._existing.keys()

    def state(self, key: str) -> str | None:
        """Return the name of a namespace, or None if the namespace doesn't exist or isn't served."""
        return key if key in self._existing and self._options.serves(key) else None

    def rrsets(self, state: str) -> Iterator[RRset]:
        """Yield nothing, because the DNS names of namespaces have no records."""
        return iter(())

    def names(self, state: str) -> Mapping[bytes, bytes]:
        """Return the DNS name of a namespace below `svc` and, if pods have names, its DNS name below `pod`."""
        found: dict[bytes, bytes] = {name.tree_key(schema.namespace_name(self._schema, state)): NodeKind.PLAIN}
        if self._options.pods is not PodsMode.DISABLED:
            # In mode INSECURE, every address has a name below that of the namespace: the worker doesn't check whether a
            # pod has the address.
            kind = NodeKind.POD_NAMESPACE if self._options.pods is PodsMode.INSECURE else NodeKind.PLAIN
            found[name.tree_key(schema.pod_namespace_name(self._schema, state))] = kind
        return found

    def change_ttl(self, ttl_s: int) -> None:
        """Do nothing, because names without records have no TTL."""

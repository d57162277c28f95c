"""Pods: with `pods: verified`, the address of every pod has a DNS name."""

from collections.abc import Collection, Iterable, Iterator

from pydns.config.settings import PodsMode
from pydns.dns.dashed import pod_rrsets
from pydns.dns.rrset import RRset
from pydns.kube import schema
from pydns.kube.objects import Pod
from pydns.kube.producer import Change, Plain, ServedNamespaces, ZoneOptions

_Key = tuple[str, bytes]  # the namespace and an address of a pod


class Pods(Plain):
    """The producer for Pods. A key consists of a namespace and an address of a pod, and its state is the same."""

    def __init__(self, options: ZoneOptions) -> None:
        self._options = options
        self._schema = options.schema
        self._served = ServedNamespaces(options)
        # key -> how many pods have the address; for a moment, two pods may have the same.
        self._counts: dict[_Key, int] = {}

    def note(self, change: Change) -> Iterable[_Key]:
        """Process a changed Pod. Return the keys for its old and its new addresses.

        If labels select the served namespaces, also process a changed Namespace, and return the keys of its Pods.
        """
        if (namespace := self._served.note(change)) is not None:
            return [key for key in self._counts if key[0] == namespace]
        found: dict[_Key, None] = {}
        for pod, difference in ((change.before, -1), (change.after, 1)):
            if isinstance(pod, Pod) and self._may_have_names(pod.namespace):
                for address in pod.addresses:
                    key = (pod.namespace, address)
                    count = self._counts.pop(key, 0) + difference
                    if count:
                        self._counts[key] = count
                    found[key] = None
        return found

    def current_keys(self) -> Collection[_Key]:
        """Return the keys of all addresses of pods."""
        return self._counts.keys()

    def state(self, key: _Key) -> _Key | None:
        """Return the key, or None if no pod has the address or if the namespace isn't served."""
        return key if key in self._counts and key[0] in self._served else None

    def rrsets(self, state: _Key) -> Iterator[RRset]:
        """Yield the records for the name of a pod's address."""
        return pod_rrsets(schema.pod_name(self._schema, *state), state[1], self._schema.ttl_s)

    def change_ttl(self, ttl_s: int) -> None:
        """Use another TTL for all records that are made after this call."""
        self._schema = self._schema._replace(ttl_s=ttl_s)

    def _may_have_names(self, namespace: str) -> bool:
        return self._options.pods is PodsMode.VERIFIED and self._options.serves(namespace)

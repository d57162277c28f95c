"""Pods: if the option `pods` is `verified`, the address of every pod has a DNS name."""

from collections.abc import Collection, Iterable, Iterator

from pydns.config.settings import PodsMode
from pydns.dns.dashed import pod_rrsets
from pydns.dns.rrset import RRset
from pydns.kube import schema
from pydns.kube.objects import Pod
from pydns.kube.producer import Change, Plain, ServedNamespaces, ZoneOptions

_Key = tuple[str, bytes]  # namespace and address


class Pods(Plain):
    """The producer for Pods. A key and a state both consist of a namespace and the address of a pod."""

    def __init__(self, options: ZoneOptions) -> None:
        self._options = options
        self._schema = options.schema
        self._served = ServedNamespaces(options)
        self._counts: dict[_Key, int] = {}  # key -> number of pods; two pods may share an address for a moment

    def note(self, change: Change) -> Iterable[_Key]:
        """Process a changed Pod. Return the keys of its old and new addresses.

        If labels select the namespaces, also process a changed Namespace, and return the keys of its Pods.
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
        """Return the keys of all pod addresses that have names."""
        return self._counts.keys()

    def state(self, key: _Key) -> _Key | None:
        """Return the key if a pod has the address, else None."""
        return key if key in self._counts and key[0] in self._served else None

    def rrsets(self, state: _Key) -> Iterator[RRset]:
        """Yield the records for the name of a pod's address."""
        return pod_rrsets(schema.pod_name(self._schema, *state), state[1], self._schema.ttl_s)

    def change_ttl(self, ttl_s: int) -> None:
        """Use another TTL for all records that are made after this call."""
        self._schema = self._schema._replace(ttl_s=ttl_s)

    def _may_have_names(self, namespace: str) -> bool:
        return self._options.pods is PodsMode.VERIFIED and self._options.serves(namespace)

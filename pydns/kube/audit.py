"""Audits. An audit compares the delivered objects of a kind with a list of their names and versions.

This module is pure. `kube.reflector` begins and ends audits. A watch can miss changes although no error occurs. For
example, the server loses events, a proxy stops forwarding, or etcd was restored and has not reached the watched version
yet. Only a new list shows the missed changes. An audit lists only the metadata of objects. For an EndpointSlice with
ten endpoints, this is an eighth of the bytes.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

from pydns.kube.kinds import Kind
from pydns.kube.objects import Ref


class AuditPage(NamedTuple):
    """A request for a page of the list of metadata. An empty `continue_` asks for the first page."""

    limit: int
    continue_: str


class BadPage(ValueError):
    """A page can't be read. The message says why."""


class Audit:
    """One audit, page by page. The audit is compared with the reflector's listing number `listing`."""

    def __init__(self, kind: Kind, page_size: int, listing: int, watched_version: str) -> None:
        self.listing = listing
        self.resource_version = ""
        self._kind = kind
        self._page_size = page_size
        self._watched_version = watched_version
        self._continue: str | None = ""  # None after the last page
        self._versions: dict[Ref, str] = {}

    def next_request(self) -> AuditPage | None:
        """Return the request for the next page, or None after the last page."""
        return None if self._continue is None else AuditPage(self._page_size, self._continue)

    def on_page(self, body: bytes) -> None:
        """Process a page. Raises `BadPage` if the page is invalid, and then the caller must drop the audit."""
        try:
            page = _PAGES.decode(body)
        except msgspec.DecodeError as error:
            raise BadPage(str(error)) from None
        self.resource_version = page.metadata.resource_version or ""
        self._continue = page.metadata.continue_ or None
        for item in page.items or ():
            meta = item.metadata
            self._versions[Ref(self._kind, meta.namespace or "", meta.name)] = meta.resource_version or ""

    @property
    def went_backwards(self) -> bool:
        """Return whether the version of the list is older than the version that the watch has reached.

        Then the server was restored from a backup, and the watch sends no events. If no backup was restored, a
        consistent list is never older than an event that came earlier. Versions that aren't numbers are not compared,
        because the API promises numbers only since Kubernetes 1.35.
        """
        here, there = self._watched_version, self.resource_version
        return here.isdigit() and there.isdigit() and int(there) < int(here)

    def differences(self, delivered: Mapping[Ref, str]) -> Iterator[tuple[Ref, str | None]]:
        """Yield each object whose version in the list differs from the delivered version, and its version in the list.

        The version is None if the list doesn't contain the object.
        """
        for ref, version in self._versions.items():
            if delivered.get(ref) != version:
                yield ref, version
        for ref in delivered:
            if ref not in self._versions:
                yield ref, None


class _Meta(msgspec.Struct, rename="camel", gc=False):
    name: str
    namespace: str | None = None
    resource_version: str | None = None


class _Item(msgspec.Struct, gc=False):
    metadata: _Meta


class _ListMeta(msgspec.Struct, rename="camel", gc=False):
    resource_version: str | None = None
    continue_: str | None = msgspec.field(name="continue", default=None)


class _Page(msgspec.Struct, gc=False):
    metadata: _ListMeta
    items: list[_Item] | None  # no default, so that a Status object with HTTP status 200 isn't read as an empty list


_PAGES = msgspec.json.Decoder(_Page)

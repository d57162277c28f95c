"""A slow check of what a watch delivered against a list of names and versions alone.

Pure, like `kube.reflector`, which begins and ends it. A watch can miss changes without a sign: a server that lost
events, a proxy that went deaf, a watch from a version that a restored etcd has not reached. Nothing but a look at
the objects finds that. The list is of metadata only: an eighth of the bytes for slices of ten endpoints.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

from pydns.kube.kinds import Kind
from pydns.kube.objects import Ref


class AuditPage(NamedTuple):
    """Request: a page of the list of metadata, from the start if `continue_` is empty."""

    limit: int
    continue_: str


class BadPage(ValueError):
    """A page that could not be read; the message says why."""


class Audit:
    """One pass over the pages. `listing` says which of the reflector's listings it checks."""

    def __init__(self, kind: Kind, page_size: int, listing: int, watched_version: str) -> None:
        self.listing = listing
        self.resource_version = ""
        self._kind = kind
        self._page_size = page_size
        self._watched_version = watched_version
        self._continue: str | None = ""  # None after the last page
        self._versions: dict[Ref, str] = {}

    def next_request(self) -> AuditPage | None:
        """Return the page to ask for, None after the last."""
        return None if self._continue is None else AuditPage(self._page_size, self._continue)

    def on_page(self, body: bytes) -> None:
        """Take a page. Raises `BadPage`: the audit is to be given up then."""
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
        """Tell whether the server is behind the version that is watched: it was restored, and sends nothing.

        A consistent list is never older than an event that came before it. Versions that are no numbers (the API
        promises none before 1.35) are not compared.
        """
        here, there = self._watched_version, self.resource_version
        return here.isdigit() and there.isdigit() and int(there) < int(here)

    def differences(self, delivered: Mapping[Ref, str]) -> Iterator[tuple[Ref, str | None]]:
        """Yield what was delivered at another version than listed, or not at all, or is not there (None)."""
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
    items: list[_Item] | None  # required: a Status that came with 200 has metadata, too


_PAGES = msgspec.json.Decoder(_Page)

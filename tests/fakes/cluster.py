"""The state of an API server: objects, a version counter, and a log of changes that can be compacted.

This module uses no sockets. `tests.fakes.apiserver` serves the state over HTTP, and tests of pure code use it directly.
All answers are the octets that an API server would send. An object is serialized once, when it changes.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from pydns.kube.kinds import Kind

Json = dict[str, Any]


class Resource(NamedTuple):
    """A kind and its names in the API."""

    kind: str
    api_version: str
    paths: tuple[str, ...]  # the path of the list in each version that pydns knows, the newest first


RESOURCES = {kind.value: Resource(kind.value, kind.api_versions[0], kind.row.paths) for kind in Kind}


class Stored(NamedTuple):
    """One version of an object. Selectors match `labels` and `fields`."""

    version: int
    raw: bytes
    metadata: bytes
    labels: dict[str, str]
    fields: dict[str, str]


class Change(NamedTuple):
    """An entry of the log.

    For a creation, `before` is None. For a deletion, `after` is None, and `last` is the final state.
    """

    version: int
    kind: str
    before: Stored | None
    after: Stored | None
    last: bytes


class Expired(Exception):
    """The version or the continue token is too old. The message is the text that an API server sends."""


Key = tuple[str, str]  # the namespace and the name of an object
Selected = Callable[[Stored], bool]


class Cluster:
    """The state. `on_change` is called for each change, except for dropped changes."""

    def __init__(self) -> None:
        self.version = 100
        self.objects: dict[str, dict[Key, Stored]] = {kind: {} for kind in RESOURCES}
        self.on_change: Callable[[Change], None] = lambda change: None
        self._log: list[Change] = []
        self._compacted = 0  # the log has every change after this version
        self._drop = 0
        self._continues: dict[str, tuple[list[Stored], int]] = {}

    def apply(self, kind: str, manifest: Json) -> int:
        """Create or replace an object, and return its version. Empty lists of a slice become null, as in the API."""
        manifest = json.loads(json.dumps(manifest))
        if kind == "EndpointSlice":
            manifest["endpoints"] = manifest.get("endpoints") or None
            manifest["ports"] = manifest.get("ports") or None
        resource = RESOURCES[kind]
        meta = manifest["metadata"]
        meta["resourceVersion"] = str(self.version + 1)
        whole = {"kind": kind, "apiVersion": resource.api_version, **manifest}
        return self._store(kind, whole, meta, json.dumps(whole, separators=(",", ":")).encode())

    def apply_raw(self, kind: str, namespace: str, name: str, raw: bytes) -> int:
        """Store `raw` as the object. Each `$VERSION` in it is replaced with the object's version."""
        meta = {"namespace": namespace, "name": name, "resourceVersion": str(self.version + 1)}
        return self._store(kind, {}, meta, raw.replace(b"$VERSION", str(self.version + 1).encode()))

    def delete(self, kind: str, namespace: str, name: str) -> int:
        """Delete an object."""
        before = self.objects[kind].pop((namespace, name))
        self.version += 1
        old, new = (f'"resourceVersion":"{version}"'.encode() for version in (before.version, self.version))
        self._record(Change(self.version, kind, before, None, before.raw.replace(old, new, 1)))
        return self.version

    def versions(self, kind: str) -> dict[Key, str]:
        """Return the version of each object."""
        return {key: str(stored.version) for key, stored in self.objects[kind].items()}

    def drop_next_events(self, count: int) -> None:
        """Hide the next `count` changes from all watches, including watches that are opened later."""
        self._drop = count

    def compact(self) -> None:
        """Clear the log and all continue tokens."""
        self._log.clear()
        self._compacted = self.version
        self._continues.clear()

    def backup(self) -> tuple[int, dict[str, dict[Key, Stored]]]:
        """Return a backup, which `restore` accepts."""
        return self.version, {kind: dict(objects) for kind, objects in self.objects.items()}

    def restore(self, backup: tuple[int, dict[str, dict[Key, Stored]]]) -> None:
        """Restore a backup, as etcd does: the version is set back too, and there are no events."""
        self.version, objects = backup
        self.objects = {kind: dict(each) for kind, each in objects.items()}
        self._log.clear()
        self._compacted = 0

    def list_page(
        self,
        kind: str,
        limit: int,
        continue_: str,
        selected: Selected = lambda stored: True,
        *,
        metadata_only: bool = False,
    ) -> bytes:
        """Return the body of a list response.

        All pages show the state at the time of the first page. Raises `Expired`.
        """
        if continue_:
            if continue_ not in self._continues:
                raise Expired("The provided continue parameter is too old")
            rest, version = self._continues[continue_]
        else:
            rest = [stored for _, stored in sorted(self.objects[kind].items()) if selected(stored)]
            version = self.version
        page = rest[:limit] if limit else rest
        meta: Json = {"resourceVersion": str(version)}
        if len(page) < len(rest):
            meta["continue"] = f"{version}.{kind}.{len(rest) - len(page)}"
            meta["remainingItemCount"] = len(rest) - len(page)
            self._continues[meta["continue"]] = rest[len(page) :], version
        if metadata_only:
            listed, api_version = "PartialObjectMetadataList", "meta.k8s.io/v1"
            items = b",".join([b'{"metadata":%b}' % stored.metadata for stored in page])
        else:
            listed, api_version = f"{kind}List", RESOURCES[kind].api_version
            items = b",".join([stored.raw for stored in page])
        head = json.dumps({"kind": listed, "apiVersion": api_version, "metadata": meta})[:-1].encode()
        return head + b',"items":[' + items + b"]}\n"

    def changes_since(self, kind: str, version: int) -> list[Change]:
        """Return the changes that a watch from `version` gets at once. A future version gets no changes.

        Raises `Expired`.
        """
        if version < self._compacted:
            raise Expired(f"too old resource version: {version} ({self._compacted})")
        return [change for change in self._log if change.kind == kind and change.version > version]

    def initial_events(self, kind: str, selected: Selected) -> Iterator[bytes]:
        """Yield the lines of a WatchList up to the bookmark that ends its initial events."""
        for stored in list(self.objects[kind].values()):
            if selected(stored):
                yield event_line("ADDED", stored.raw)
        yield self.bookmark(kind, initial_events_end=True)

    def bookmark(self, kind: str, *, initial_events_end: bool = False) -> bytes:
        """Return the line of a bookmark."""
        meta: Json = {"resourceVersion": str(self.version), "creationTimestamp": None}
        if initial_events_end:
            meta["annotations"] = {"k8s.io/initial-events-end": "true"}
        api_version = RESOURCES[kind].api_version
        return event_line("BOOKMARK", json.dumps({"kind": kind, "apiVersion": api_version, "metadata": meta}).encode())

    def _store(self, kind: str, whole: Json, meta: Json, raw: bytes) -> int:
        self.version += 1
        fields = {"metadata.name": meta["name"], "metadata.namespace": meta.get("namespace", "")}
        phase = whole.get("status", {}).get("phase")
        if kind == "Pod":
            fields["status.phase"] = phase or "Pending"
        metadata = json.dumps(meta, separators=(",", ":")).encode()
        after = Stored(self.version, raw, metadata, meta.get("labels") or {}, fields)
        key = (meta.get("namespace", ""), meta["name"])
        before = self.objects[kind].get(key)
        self.objects[kind][key] = after
        self._record(Change(self.version, kind, before, after, b""))
        return self.version

    def _record(self, change: Change) -> None:
        if self._drop:
            self._drop -= 1
            return
        self._log.append(change)
        self.on_change(change)


def change_line(change: Change, selected: Selected) -> bytes:
    """Return the line that a watch with this selector gets for a change, or nothing."""
    was = change.before is not None and selected(change.before)
    if change.after is not None and selected(change.after):
        return event_line("MODIFIED" if was else "ADDED", change.after.raw)
    if was:
        return event_line("DELETED", change.last or (change.after.raw if change.after else b""))
    return b""


def event_line(event_type: str, raw: bytes) -> bytes:
    """Return a line of a watch."""
    return b'{"type":"%b","object":%b}\n' % (event_type.encode(), raw)


def status_body(code: int, reason: str, message: str, retry_after_s: int | None = None) -> bytes:
    """Return a Status object, which is the body of a refusal in the API."""
    details = {"retryAfterSeconds": retry_after_s} if retry_after_s is not None else {}
    return json.dumps(
        {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "details": details,
            "code": code,
        }
    ).encode()


def selector(label_selector: str, field_selector: str) -> Selected:
    """Return a function that tests both selectors: `a=b`, `a==b`, `a!=b`, `a`, `!a`, `a in (b,c)`, `a notin (b,c)`."""
    wants = [(_requirement(term), True) for term in _terms(label_selector)]
    wants += [(_requirement(term), False) for term in _terms(field_selector)]
    return lambda stored: all(want(stored.labels if labels else stored.fields) for want, labels in wants)


def _terms(text: str) -> list[str]:
    return [term.strip() for term in re.split(r",(?![^(]*\))", text) if term.strip()]


def _requirement(term: str) -> Callable[[dict[str, str]], bool]:
    if found := re.fullmatch(r"(\S+)\s+(in|notin)\s+\(([^)]*)\)", term):
        key, operator, values = found[1], found[2], {value.strip() for value in found[3].split(",")}
        return lambda held: (held.get(key) in values) == (operator == "in")
    if found := re.fullmatch(r"([^!=\s]+)\s*(==|=|!=)\s*([^=\s]*)", term):
        key, operator, value = found[1], found[2], found[3]
        return lambda held: (held.get(key) == value) == (operator != "!=")
    if term.startswith("!"):
        return lambda held: term[1:] not in held
    return lambda held: term in held

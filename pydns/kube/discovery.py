"""Finds out whether an API server has a kind. CRDs may be installed or removed, or served in other versions.

Every authenticated client can read the list of resources of an API version, so no RBAC rule is needed. An unclear
answer counts as yes. Then the request that lists the objects of the kind shows the problem.
"""

import msgspec

NOT_SERVED = "the API server doesn't have it"


def resources_path(path: str) -> str:
    """Return the path of the resources of the API version that a list's `path` is in."""
    return path.rpartition("/")[0]


def is_served(path: str, status: int, body: bytes) -> bool:
    """Return whether an answer for `resources_path` shows the list at `path`."""
    if status == 404:
        return False
    try:
        resources = _LISTS.decode(body).resources
    except msgspec.DecodeError:
        return True
    return status != 200 or any(each.name == path.rpartition("/")[2] for each in resources)


class _Resource(msgspec.Struct, gc=False):
    name: str


class _List(msgspec.Struct, gc=False):
    resources: list[_Resource]


_LISTS = msgspec.json.Decoder(_List)

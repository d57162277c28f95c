"""Finds out whether an API server has a kind. CRDs may be installed or removed, or served in other versions.

Every authenticated client can read the list of resources of an API version, so no RBAC rule is needed. If the answer is
unclear, the kind is treated as existing. Then the request that lists its objects shows the problem.
"""

import msgspec

NOT_SERVED = "the API server doesn't have the kind"


def resources_path(path: str) -> str:
    """Return the path at which the API server lists the resources of an API version.

    `path` is the path of a kind in this version.
    """
    return path.rpartition("/")[0]


def is_served(path: str, status: int, body: bytes) -> bool:
    """Return whether an answer for `resources_path` shows that the API server has the kind at `path`."""
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

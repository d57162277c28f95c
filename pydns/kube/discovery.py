"""Finds out whether an API server has a kind.

A CRD may be installed or removed at any time, or served in other versions. Every authenticated client may read which
resources an API version has, so no RBAC rule is needed. If the answer is unclear, pydns assumes that the server has the
kind. Then the request that lists the objects of the kind shows the problem.
"""

import msgspec

NOT_SERVED = "the API server doesn't have the kind"


def resources_path(path: str) -> str:
    """Return the path at which the API server lists the resources of an API version.

    `path` is the path at which the API version lists the objects of a kind.
    """
    return path.rpartition("/")[0]


def is_served(path: str, status: int, body: bytes) -> bool:
    """Return whether the API server has the kind at `path`.

    `status` and `body` are the server's answer to a request for the path that `resources_path` returns.
    """
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

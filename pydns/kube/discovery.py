"""Whether an API server has a kind: CRDs may be installed, removed, and served in other versions.

The list of a version's resources is open to every authenticated client, so this needs no right. An answer that isn't
definite counts as yes: the list of the kind itself shows then what is wrong.
"""

import msgspec

from pydns.kube.kinds import Kind

NOT_SERVED = "the API server doesn't have it"


def path(kind: Kind) -> str:
    """Return the path of the resources of a kind's version."""
    return kind.row.path.rpartition("/")[0]


def is_served(kind: Kind, status: int, body: bytes) -> bool:
    """Return whether an answer shows the kind."""
    if status == 404:
        return False
    try:
        resources = _LISTS.decode(body).resources
    except msgspec.DecodeError:
        return True
    return status != 200 or any(each.name == kind.row.path.rpartition("/")[2] for each in resources)


class _Resource(msgspec.Struct, gc=False):
    name: str


class _List(msgspec.Struct, gc=False):
    resources: list[_Resource]


_LISTS = msgspec.json.Decoder(_List)

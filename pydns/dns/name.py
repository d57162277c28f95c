"""Domain names in wire form (RFC 1035 section 3.1): `bytes` with length-prefixed labels and the root's final zero.

All code uses names in wire form, because messages and lookups need this form. Text is only for people. A wire name is
always valid, absolute and uncompressed. Names are compared in lower case (ASCII letters only). A length octet is at
most 63, which is less than any letter. So `bytes.lower()` on a whole wire name changes only letters.
"""

import re
from collections.abc import Iterator
from typing import Final

MAX_NAME: Final = 255  # octets of a whole name, with length octets and the root's zero (RFC 1035 section 2.3.4)
MAX_LABEL: Final = 63
ROOT: Final = b"\0"
WILDCARD: Final = b"\1*"  # the first label of a wildcard (RFC 4592 section 2.1.1)
_KUBERNETES_LABEL: Final = re.compile("[a-z0-9]([-a-z0-9]*[a-z0-9])?")


class BadName(ValueError):
    """A text is not a domain name. The message says why, such as "is empty"."""


def is_kubernetes_label(text: str) -> bool:
    """Return whether `text` is an RFC 1123 label.

    The API server requires this form for the names of namespaces and other objects.
    """
    return len(text) <= MAX_LABEL and _KUBERNETES_LABEL.fullmatch(text) is not None


def from_labels(*labels: bytes) -> bytes:
    """Compose a wire name from labels, with the leftmost label first.

    The caller must check the lengths of the labels.
    """
    return b"".join([len(label).to_bytes(1) + label for label in labels]) + ROOT


def from_text(text: str) -> bytes:
    r"""Parse a name in presentation form (RFC 1035 section 5.1).

    The escapes `\.` and `\DDD` are allowed. The final dot is optional. The case of letters is kept. Raises `BadName`
    for an empty name or label, and for a name or label that is too long. Non-ASCII text is refused: internationalized
    names must be written as A-labels.
    """
    if text in ("", "."):
        if text:
            return ROOT
        raise BadName("is empty")
    labels: list[bytes] = []
    label = bytearray()
    position = 0
    while position < len(text):
        char = text[position]
        position += 1
        if char == "\\":
            digits = text[position : position + 3]
            if len(digits) == 3 and digits.isascii() and digits.isdigit() and int(digits) < 256:
                label.append(int(digits))
                position += 3
            elif position < len(text) and text[position].isascii() and not text[position].isdigit():
                label.append(ord(text[position]))
                position += 1
            else:
                raise BadName("has a broken escape")
        elif char == ".":
            if not label:
                raise BadName("has an empty label")
            labels.append(bytes(label))
            label.clear()
        elif char.isascii():
            label.append(ord(char))
        else:
            raise BadName(f"has a character beyond ASCII: {char!r}")
    if label:
        labels.append(bytes(label))
    if any(len(each) > MAX_LABEL for each in labels):
        raise BadName(f"has a label of more than {MAX_LABEL} octets")
    name = from_labels(*labels)
    if len(name) > MAX_NAME:
        raise BadName(f"is longer than {MAX_NAME} octets")
    return name


def to_text(name: bytes) -> str:
    """Return a name in presentation form, with escapes and a final dot.

    `from_text` converts this text back to the same name.
    """
    if name == ROOT:
        return "."
    return "".join(label_to_text(label) + "." for label in labels_of(name))


def label_to_text(label: bytes) -> str:
    """Return one label in presentation form, with escapes."""
    return "".join([_TEXTS[octet] for octet in label])


def _octet_to_text(octet: int) -> str:
    if not 33 <= octet <= 126:
        return f"\\{octet:03d}"
    return "\\" + chr(octet) if chr(octet) in '."\\();@$' else chr(octet)


_TEXTS: Final = [_octet_to_text(octet) for octet in range(256)]  # this table saves 3 µs for a line of the query log


def labels_of(name: bytes) -> list[bytes]:
    """Return the labels of a name, leftmost first. The root's empty label is left out."""
    labels = []
    position = 0
    while length := name[position]:
        position += 1 + length
        labels.append(name[position - length : position])
    return labels


def ancestors(name: bytes) -> Iterator[bytes]:
    """Yield the ancestors of a name: the parent first, and the root last. The root itself has no ancestors."""
    position = 0
    while length := name[position]:
        position += 1 + length
        yield name[position:]


def tree_key(name: bytes) -> bytes:
    """Return the tree key of a name: its labels in lower case, rightmost label first, each with its length octet.

    So a tree key is a path from the root. Name A is at or below name B if and only if A's tree key begins with B's. In
    sorted order, all names below a name come directly after it.
    """
    lowered = name.lower()
    parts = []
    position = 0
    while length := lowered[position]:
        parts.append(lowered[position : position + 1 + length])
        position += 1 + length
    parts.reverse()
    return b"".join(parts)


def from_tree_key(tree: bytes) -> bytes:
    """Return the name, in lower case, whose tree key is `tree`."""
    return from_labels(*reversed(labels_of(tree + ROOT)))


def is_at_or_below(name: bytes, ancestor: bytes) -> bool:
    """Return whether `name` is at or below `ancestor`. Whole labels are compared, and case is ignored."""
    if not name.lower().endswith(ancestor.lower()):
        return False
    surplus = len(name) - len(ancestor)
    position = 0
    while position < surplus:  # the octets of `ancestor` may begin in the middle of a label of `name`
        position += 1 + name[position]
    return position == surplus


def is_wildcard(name: bytes) -> bool:
    """Return whether the first label of a name is `*`."""
    return name.startswith(WILDCARD)


def reverse_name(address: bytes) -> bytes:
    """Return the owner of an address's PTR records (RFC 1035 section 3.5, RFC 3596 section 2.5)."""
    if len(address) == 4:
        a, b, c, d = address
        return _OCTET_LABELS[d] + _OCTET_LABELS[c] + _OCTET_LABELS[b] + _OCTET_LABELS[a] + _IN_ADDR_ARPA
    return b"".join([_NIBBLE_LABELS[octet] for octet in reversed(address)]) + _IP6_ARPA


def reverse_tree_key(address: bytes) -> bytes:
    """Return the tree key of `reverse_name(address)`.

    This function takes less time, because it doesn't compose the name first.
    """
    if len(address) == 4:
        a, b, c, d = address
        return b"\4arpa\7in-addr" + _OCTET_LABELS[a] + _OCTET_LABELS[b] + _OCTET_LABELS[c] + _OCTET_LABELS[d]
    return b"\4arpa\3ip6" + b"".join([b"\1%x\1%x" % (octet >> 4, octet & 15) for octet in address])


_IN_ADDR_ARPA: Final = from_labels(b"in-addr", b"arpa")
_IP6_ARPA = from_labels(b"ip6", b"arpa")
_OCTET_LABELS: Final = [len(str(octet)).to_bytes(1) + str(octet).encode() for octet in range(256)]
_NIBBLE_LABELS = [b"\1%x\1%x" % (octet & 15, octet >> 4) for octet in range(256)]

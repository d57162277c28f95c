"""The status: its document, and how readers handle JSON from other versions."""

import json
import re
import types
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest

from pydns.table import status
from pydns.table.status import UNKNOWN, KindStatus, Status, decode, encode, encode_lines

DOCUMENT = (Path(__file__).parents[2] / "docs" / "status.md").read_text()
SECTIONS: dict[str, type[msgspec.Struct]] = {
    "Status": Status,
    "Configuration": status.ConfigStatus,
    "Filter": status.Filter,
    "Kind": KindStatus,
    "Source": status.SourceStatus,
    "External zones": status.ExternalStatus,
    "Zone file": status.ZoneStatus,
    "Table": status.TableStatus,
    "Upstream": status.UpstreamStatus,
    "Route": status.RouteStatus,
    "Indicator": status.IndicatorStatus,
    "Process": status.ProcessStatus,
}
NAMES = {struct: section for section, struct in SECTIONS.items()}
PLAIN = {int: "number", float: "number", str: "text", bool: "true or false", types.NoneType: "null"}


def documented() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield the sections of the document, each with its keys and their types."""
    for section in DOCUMENT.split("\n## ")[1:]:
        yield section.partition("\n")[0], re.findall(r"^\| `(\w+)` \| ([^|]+) \|", section, re.MULTILINE)


def type_text(wanted: Any) -> str:
    """Return a type in the notation of the document."""
    if get_origin(wanted) in (Union, types.UnionType):
        return " or ".join(map(type_text, get_args(wanted)))
    if get_origin(wanted) is tuple:
        return f"list of {type_text(get_args(wanted)[0])}"
    if get_origin(wanted) is dict:
        return f"object of {type_text(get_args(wanted)[1])}"
    if isinstance(wanted, type) and issubclass(wanted, Enum):
        return "text"
    return NAMES.get(wanted) or PLAIN[wanted]


def test_the_document_has_every_key_with_its_type() -> None:
    structs = {
        section: [
            (field.encode_name, type_text(get_type_hints(struct, {"bytes": int})[field.name]))
            for field in msgspec.structs.fields(struct)
        ]
        for section, struct in SECTIONS.items()
    }
    assert dict(documented()) == structs


def test_the_document_has_the_version_and_every_state() -> None:
    assert f"`version` is {status.VERSION}." in DOCUMENT
    states = next(line for line in DOCUMENT.splitlines() if line.startswith("| `state`"))
    assert [each.value for each in status.ConfigState if f"`{each.value}`" not in states] == []


def test_a_status_with_every_key_survives_json() -> None:
    known = Status(time=1.5, kinds={"Service": KindStatus(errors={"410": 1})}, table=status.TableStatus(answers=3))
    assert decode(encode(known)) == decode(encode_lines(known)) == known
    assert list(json.loads(encode(UNKNOWN))) == list(Status.__struct_fields__)


@pytest.mark.parametrize(
    ("octets", "wanted"),
    [
        (b"", UNKNOWN),
        (b"{}", UNKNOWN),
        (b'{"synced":true,"of a later version":[1]}', Status(synced=True)),
        (b'{"synced":true,"kinds":[]}', UNKNOWN),
        (b"no JSON", UNKNOWN),
    ],
)
def test_readable_fields_in_the_json_of_another_version_are_kept(octets: bytes, wanted: Status) -> None:
    assert decode(octets) == wanted

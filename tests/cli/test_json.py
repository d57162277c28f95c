"""docs/json.md describes every key that `-o json` prints."""

import re
from pathlib import Path
from typing import get_type_hints

import msgspec
import pytest

from pydns.cli.check import Checked
from pydns.cli.diff import ChangedAnswer, Diff, Outcome
from pydns.cli.explanation import Answer, Explanation
from pydns.cli.slo import DataAge, ReplicaReport, Report, Reports
from pydns.cli.status import ReplicaStatus, ReplicaStatuses
from pydns.cli.tail import Line
from pydns.cli.top import Row, Top, WastedRow
from pydns.table.status import IndicatorStatus, Status

DOCUMENT = (Path(__file__).parents[2] / "docs" / "json.md").read_text()
TYPES = {
    int: "number",
    bool: "true or false",
    str: "text",
    float: "number",
    int | None: "number or null",
    float | None: "number or null",
    str | None: "text or null",
    tuple[str, ...]: "list of text",
    tuple[Answer, ...]: "list of Answer",
    tuple[ChangedAnswer, ...]: "list of Changed answer",
    Outcome: "Outcome",
    tuple[Row, ...]: "list of Row",
    tuple[WastedRow, ...]: "list of Wasted row",
    tuple[IndicatorStatus, ...]: "list of Indicator",
    DataAge: "Data age",
    dict[str, str]: "object of text",
    tuple[ReplicaStatus, ...]: "list of Replica status",
    tuple[ReplicaReport, ...]: "list of Replica report",
    Status | None: "Status or null",
    Report | None: "slo or null",
}


@pytest.mark.parametrize(
    ("section", "struct"),
    [
        ("check", Checked),
        ("explain", Explanation),
        ("Answer", Answer),
        ("diff", Diff),
        ("Changed answer", ChangedAnswer),
        ("Outcome", Outcome),
        ("slo", Report),
        ("Data age", DataAge),
        ("tail", Line),
        ("top", Top),
        ("Row", Row),
        ("Wasted row", WastedRow),
        ("status --all", ReplicaStatuses),
        ("Replica status", ReplicaStatus),
        ("slo --all", Reports),
        ("Replica report", ReplicaReport),
    ],
)
def test_the_document_has_every_key_with_its_type(section: str, struct: type[msgspec.Struct]) -> None:
    text = DOCUMENT.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    hints = get_type_hints(struct)
    keys = [(field.encode_name, TYPES[hints[field.name]]) for field in msgspec.structs.fields(struct)]
    assert re.findall(r"^\| `(\w+)` \| ([^|]+) \|", text, re.MULTILINE) == keys

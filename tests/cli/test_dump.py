"""`pydns dump` prints the records of the table, and nothing that only pydns itself needs."""

from pathlib import Path

import pytest

from pydns.cli.main import main
from pydns.dns import name
from pydns.table.writer import Writer
from pydns.zones.compile import combine
from pydns.zones.special import special_zones
from tests.subject import load


def test_dump_leaves_out_records_that_only_make_names_exist(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zone = load([])
    facts = zone.facts(serial=1, synced=True)
    statics = combine(special_zones(), (), [name.from_text("cluster.local")], (), ())
    writer = Writer(tmp_path, facts)
    writer.put_static(statics.contents, statics.zones)
    writer.replace(zone.contents, facts)
    writer.close()
    assert main(["dump", "--state-dir", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "resolver.arpa." in printed
    assert "TYPE65534" not in printed

"""The explanation of a name for the console. The client is given as a namespace, a pod or an address."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pydns.cli.explain import explain_pasted
from pydns.table.reader import Reader
from pydns.table.writer import Writer
from tests.fakes.manifests import service
from tests.subject import load


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    zone = load([service("web", "10.96.1.1")])
    facts = zone.facts(serial=7, synced=True)
    writer = Writer(tmp_path, facts)
    writer.replace(zone.contents, facts)
    writer.close()
    reader = Reader(tmp_path)
    yield reader
    reader.close()


@pytest.mark.parametrize(
    ("asker", "search", "pod"),
    [
        ("", "default", None),
        ("batch", "batch", None),
        ("batch/job-0", "batch", "batch/job-0"),
        ("10.1.2.3", "default", None),
    ],
)
def test_a_name_is_looked_up_as_the_client_does(reader: Reader, asker: str, search: str, pod: str | None) -> None:
    found = explain_pasted(reader, "http://web.shop:8080/", "", asker)
    assert (found.search, found.pod) == (search, pod)
    assert found.tried[0].name == f"web.shop.{search}.svc.cluster.local."
    assert found.resolver is not None


@pytest.mark.parametrize(
    ("text", "rtype", "asker", "error"),
    [
        ("a..b", "", "", 'NAME: "a..b" is not'),
        ("web", "NOPE", "", 'TYPE: "NOPE" is not'),
        ("web", "", "Shop", 'Asked by: "Shop" is not the name of a namespace'),
        ("web", "", "a/b/c", 'Asked by: "a/b/c" is not NAMESPACE/POD'),
        ("web", "", "<b>", 'Asked by: "<b>" is not'),
    ],
)
def test_an_invalid_question_is_reported(reader: Reader, text: str, rtype: str, asker: str, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        explain_pasted(reader, text, rtype, asker)

"""The server finds out its own namespace."""

from pathlib import Path

import pytest

from pydns.control.source_choice import own_namespace


@pytest.mark.parametrize(
    ("octets", "namespace"),
    [(b"pydns\n", "pydns"), (b"", "kube-system"), (b"\xff", "kube-system"), (None, "kube-system")],
)
def test_the_servers_namespace_is_the_one_of_its_service_account(
    octets: bytes | None, namespace: str, tmp_path: Path
) -> None:
    if octets is not None:
        (tmp_path / "namespace").write_bytes(octets)
    assert own_namespace(tmp_path) == namespace

"""The query log has the reason of every reply that isn't a success, whether the client gets it or not."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from msgspec.structs import replace

from pydns.config import model
from pydns.config.inputs import read_file
from pydns.config.read import Accepted
from pydns.log import Log
from pydns.serve.query_log import QueryLog
from tests.serve.simulated import Worker
from tests.subject import load, load_static
from tests.test_cases import FILES, File, compose

# Files whose cases have reasons of ours, and need no TCP to upstreams.
_NAMES = "extras", "families-ipv4", "reasons", "reasons-forwarding", "rules"
CHOSEN = [file for file in FILES if file.path.stem in _NAMES]


class _Lines:
    """The lines of a log."""

    def __init__(self) -> None:
        self._text = b""

    def write(self, piece: bytes) -> bool:
        self._text += piece
        return True

    def take(self) -> list[str]:
        text, self._text = self._text.decode(), b""
        return text.splitlines()


class _Logged:
    """A worker in this process with a query log."""

    def __init__(self, state_dir: Path, file: File, *, ede: bool) -> None:
        config: dict[str, Any] = {"upstreams": ["192.0.2.1"]} if file.upstream else {}
        config["edns"] = {"ede": ede}
        read = read_file("config.yaml", yaml.safe_dump(config | file.config).encode())
        assert isinstance(read, Accepted), read
        zone = load(file.cluster, file.flags, file.host, file.config)
        statics = load_static(file.zones, (), file.flags, file.config)
        soa = next(iter(file.soa.values()), "")
        self._lines = _Lines()
        self.worker = Worker(state_dir, read.config, file.upstream, soa, zone=zone, statics=statics)
        batch = self.worker.batch
        self._log = QueryLog(Log(outlet=self._lines), lambda *_: None, why=batch.why)  # type: ignore[arg-type]
        self._log.configure(replace(read.config, log=model.LogOptions(model.QueryLogOptions())))
        self.worker.observers.append(self._log)

    def reasons(self, message: bytes, client: str = "") -> list[str | None]:
        """Return the reason in each line that a query adds to the log."""
        self.worker.send(message, client)
        self.worker.deliver()
        self._log.write()
        found = [re.search(r" reason=(\S+)", line) for line in self._lines.take()]
        return [each and each[1] for each in found]


@pytest.mark.parametrize("ede", [True, False])
@pytest.mark.parametrize("file", [pytest.param(file, id=file.path.stem) for file in CHOSEN])
def test_a_line_has_the_reason_that_a_client_with_edns_gets(file: File, ede: bool, tmp_path: Path) -> None:
    logged = _Logged(tmp_path, file, ede=ede)
    wrong = []
    for case in file.cases:
        if "ask" not in case or case.get("reply") == "none" or case["rcode"] in ("FORMERR", "NOTIMP", "BADVERS"):
            continue
        errors = case.get("opt", {}).get("errors", []) if "edns" in case else None
        if errors == ["15 blocked"]:  # this worker has no zones of blocked names
            continue
        ways = [case] if case.get("edns", {}).get("do") else [case, {**case, "edns": None}]  # DO may change the answer
        for shown in ways:
            # Twice: the second time, the answer of an upstream comes from the cache.
            found = [logged.reasons(compose(file, shown), case.get("client", "")) for _ in range(2)]
            if errors is not None:
                wanted = [_code(errors[0])] if errors else [None]
                if found != [wanted] * 2:
                    wrong.append((case["name"], shown.get("edns"), found, wanted))
    logged.worker.close()
    assert not wrong


def _code(error: str) -> str:
    """Return what the log shows for an extended error, written as `INFO-CODE [EXTRA-TEXT]`."""
    number, _, text = error.partition(" ")
    return text or f"ede-{number}"

"""Real Corefiles, served by pydns: the answers are those of CoreDNS. `tests/corefiles/README.md` explains the data.

With PYDNS_TEST_SUBJECT=PROGRAM, a CoreDNS reads the same Corefiles and gets the same questions.
"""

import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import dns.exception
import dns.message
import dns.query
import pytest
import trustme

from tests.corefiles import coredns, shape
from tests.corefiles.shape import CLIENT, CLUSTER, Shape
from tests.fakes.upstream import FakeUpstream
from tests.subject import Server
from tests.waiting import PATIENCE_S

SHAPES = shape.read()
SUBJECT = os.environ.get("PYDNS_TEST_SUBJECT")
_SILENCE_S = 2.0  # the test waits this long for a reply, and then assumes that there is none

pytestmark = pytest.mark.processes


class Fakes(NamedTuple):
    """The fake upstreams of all shapes."""

    addresses: dict[str, str]  # name -> IP:port
    ca_file: str  # the CA that signed the certificate of the upstream over TLS


@pytest.fixture(scope="module")
def fakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fakes]:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("dns.corp.example").configure_cert(context)
    ca_file = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    with ExitStack() as stack:
        started = {
            name: stack.enter_context(
                closing(FakeUpstream(shape.answers(name), tls=context if name == "secure" else None))
            )
            for name in shape.UPSTREAMS
        }
        yield Fakes({name: f"127.0.0.1:{each.port}" for name, each in started.items()}, str(ca_file))


@pytest.mark.parametrize("each", SHAPES, ids=lambda each: each.name)
def test_a_corefile_gets_the_answers_of_coredns(each: Shape, fakes: Fakes, tmp_path: Path) -> None:
    serve = _pydns if SUBJECT is None else coredns.serving
    with serve(each, fakes, tmp_path) as address:
        found = [{**_question(ask), **shape.described(_reply(address, ask))} for ask in each.asks]
    assert found == [_wanted(ask) for ask in each.asks]


@contextmanager
def _pydns(each: Shape, fakes: Fakes, folder: Path) -> Iterator[tuple[str, int]]:
    config = folder / "config"
    config.mkdir()
    for name, text in _config_map(each, fakes.addresses, fakes.ca_file).items():
        (config / name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in _environment(each, fakes.addresses).items():
            patch.setenv(variable, value)
        server = Server(CLUSTER, ["--config", str(config)])
    with closing(server):
        yield server.address.host, server.address.port


def _config_map(each: Shape, addresses: Mapping[str, str], ca_file: str) -> dict[str, str]:
    """Return the keys of the ConfigMap: the Corefile, and its files by the last segments of their paths."""
    texts = {"Corefile": each.corefile} | {path.rpartition("/")[2]: text for path, text in each.files.items()}
    return {name: each.replaced(text, addresses, ca_file) for name, text in texts.items()}


def _environment(each: Shape, addresses: Mapping[str, str]) -> dict[str, str]:
    return {variable: each.replaced(value, addresses, "") for variable, value in each.environment.items()}


def _reply(address: tuple[str, int], ask: Mapping[str, Any]) -> dns.message.Message | None:
    host, port = address
    source = ask.get("client", CLIENT if host == CLIENT else None)
    wait_s = _SILENCE_S if _wanted(ask).get("reply") == "none" else PATIENCE_S
    try:
        return dns.query.udp(shape.query(ask), host, port=port, timeout=wait_s, source=source)
    except dns.exception.Timeout:
        return None


def _question(ask: Mapping[str, Any]) -> dict[str, Any]:
    return {key: ask[key] for key in ("ask", "client") if key in ask}


def _wanted(ask: Mapping[str, Any]) -> dict[str, Any]:
    """Return the question with the reply that is right for the server under test.

    The key `pydns` has the reply of pydns where it differs from CoreDNS on purpose.
    """
    differs = ask.get("pydns") if SUBJECT is None else None
    reply = differs or {key: value for key, value in ask.items() if key not in ("ask", "client", "pydns")}
    return {**_question(ask), **{key: value for key, value in reply.items() if key != "why"}}

"""Clients can learn about the server by questions in class CH and by NSID."""

import socket
from pathlib import Path

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest

from pydns import __version__
from pydns.config.model import AnyQueries, ChaosName, ChaosOptions, Config, NsidOptions
from pydns.dns.message import Edns, Query, parse_query, reply_facts
from pydns.serve.extras import Extras
from tests.serve.simulated import Worker

HOST = socket.gethostname()
VERSION = f"pydns {__version__}"
NSID = dns.edns.GenericOption(dns.edns.OptionType.NSID, b"")


@pytest.mark.parametrize(
    ("qname", "options", "texts"),
    [
        ("version.bind.", ChaosOptions(), [VERSION]),
        ("VERSION.server.", ChaosOptions(), [VERSION]),
        ("version.bind.", ChaosOptions(version="dns 1"), ["dns 1"]),
        ("hostname.bind.", ChaosOptions(), [HOST]),
        ("id.server.", ChaosOptions(), [HOST]),
        ("authors.bind.", ChaosOptions(authors=("Mr X", "Ms Y")), ["Mr X", "Ms Y"]),
        ("authors.bind.", ChaosOptions(), None),
        ("version.bind.", ChaosOptions(names=(ChaosName.HOSTNAME_BIND,)), None),
        ("foo.bind.", ChaosOptions(), None),
        ("version.bind.", None, None),
    ],
)
def test_questions_for_names_in_class_ch_are_answered(
    tmp_path: Path, qname: str, options: ChaosOptions | None, texts: list[str] | None
) -> None:
    reply = _asked(tmp_path, Config(upstreams=(), chaos=options), dns.message.make_query(qname, "TXT", "CH"))
    lines = [line for each in reply.answer for line in each.to_text().split("\n")]
    assert lines == [f'{qname} 0 CH TXT "{text}"' for text in texts or ()]
    assert reply.rcode() == (dns.rcode.REFUSED if texts is None else dns.rcode.NOERROR)


@pytest.mark.parametrize(
    ("options", "data"), [(NsidOptions(), HOST.encode()), (NsidOptions("eu-1a"), b"eu-1a"), (None, None)]
)
def test_a_client_that_requests_the_server_identifier_gets_it(
    tmp_path: Path, options: NsidOptions | None, data: bytes | None
) -> None:
    query = dns.message.make_query("cluster.local.", "SOA", use_edns=0, options=[NSID])
    reply = _asked(tmp_path, Config(upstreams=(), nsid=options), query)
    assert [each.to_wire() for each in reply.options] == ([] if data is None else [data])


@pytest.mark.parametrize("dnssec_ok", [True, False])
def test_a_reply_with_an_identifier_is_counted_by_its_dnssec_flag(dnssec_ok: bool) -> None:
    extras = Extras.of(Config(any=AnyQueries.HINFO, nsid=NsidOptions()), "host")
    query = dns.message.make_query("example.org.", "ANY", use_edns=0, want_dnssec=dnssec_ok, options=[NSID])
    parsed = parse_query(query.to_wire())
    assert isinstance(parsed, Query) and isinstance(parsed.edns, Edns)
    reply = extras.reply(extras.identified(parsed))
    assert reply is not None
    assert reply_facts(reply) == (255, 0, dnssec_ok)


def test_texts_that_do_not_fit_into_a_datagram_are_truncated(tmp_path: Path) -> None:
    authors = ChaosOptions(authors=tuple([f"{i}" + "x" * 200 for i in range(5)]))
    query = dns.message.make_query("authors.bind.", "TXT", "CH")
    reply = _asked(tmp_path, Config(upstreams=(), chaos=authors), query)
    assert reply.flags & dns.flags.TC and len(reply.to_wire()) <= 512


def _asked(state_dir: Path, config: Config, query: dns.message.Message) -> dns.message.Message:
    worker = Worker(state_dir, config, [], "")
    try:
        (reply,) = worker.send(query.to_wire())
    finally:
        worker.close()
    return dns.message.from_wire(reply)

"""Asks upstreams for a name, for `explain --ask`. Each server gets one query.

No answer is cached, and no query is repeated.
"""

import ssl
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype

from pydns.config.model import AnyServer, ServerSpec, Transport
from pydns.config.summary import server_text
from pydns.log import one_line

_ANSWER_S = 2.0
_MAX_RECORDS = 20


class Asked(NamedTuple):
    """The result for a server: the server's answer, or the reason why the server got no query."""

    text: str
    has_answer: bool  # whether the reply has records of the requested type
    reply: str = ""  # the rcode, or NODATA; empty if no usable reply came


def ask(servers: Iterable[AnyServer], qname: bytes, qtype: int) -> Iterator[Asked]:
    """Send the question to one server after the other, and yield each result. Wait at most 2 s for each reply."""
    query = dns.message.make_query(dns.name.from_wire(qname, 0)[0], dns.rdatatype.RdataType.make(qtype), use_edns=0)
    for server in dict.fromkeys(servers):
        title = f"asked {server_text(server)}"
        if not isinstance(server, ServerSpec):
            yield Asked(f"{title}: no query, because --ask asks only servers with an address", has_answer=False)
            continue
        began = time.monotonic()
        try:
            reply = _exchange(server, query)
        except dns.exception.Timeout:
            yield Asked(f"{title}: no reply within {_ANSWER_S:.0f} s", has_answer=False)
        except (dns.exception.DNSException, OSError, ssl.SSLError, EOFError, ValueError) as error:
            reason = one_line(error)
            yield Asked(f"{title}: {reason}", has_answer=False)
        else:
            took = f"{(time.monotonic() - began) * 1000:.1f} ms"
            text = f"{title}: {_rcode(reply)} in {took}{_records(reply)}"
            yield Asked(text, _has_answer(reply, qtype), _rcode(reply))


def _exchange(server: ServerSpec, query: dns.message.Message) -> dns.message.Message:
    if server.transport is Transport.UDP:
        reply = dns.query.udp(query, server.ip, _ANSWER_S, server.port, source=server.source)
        if not reply.flags & dns.flags.TC:
            return reply
    if server.transport in (Transport.UDP, Transport.TCP):
        return dns.query.tcp(query, server.ip, _ANSWER_S, server.port, source=server.source)
    if server.transport is Transport.TLS:
        context = ssl.create_default_context(cafile=server.tls.ca)
        if server.tls.certificate is not None:
            context.load_cert_chain(server.tls.certificate, server.tls.key)
        name = server.server_name or server.ip
        return dns.query.tls(
            query, server.ip, _ANSWER_S, server.port, server.source, ssl_context=context, server_hostname=name
        )
    raise ValueError(f"not asked over {server.transport.value}")


def _rcode(reply: dns.message.Message) -> str:
    is_nodata = reply.rcode() == dns.rcode.NOERROR and not reply.answer
    return "NODATA" if is_nodata else dns.rcode.to_text(reply.rcode())


def _records(reply: dns.message.Message) -> str:
    records = [line for rrset in reply.answer for line in rrset.to_text().splitlines()]
    more = [f"and {len(records) - _MAX_RECORDS} more"] if len(records) > _MAX_RECORDS else []
    return "".join([f"; {each}" for each in (*records[:_MAX_RECORDS], *more)])


def _has_answer(reply: dns.message.Message, qtype: int) -> bool:
    return any(rrset.rdtype == qtype for rrset in reply.answer)

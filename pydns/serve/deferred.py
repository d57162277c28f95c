"""What the responder returns for a question that upstreams must answer, and the later reply to the client.

At present, clients wait only for upstreams. If other code makes a client wait, it must also return an `Asked`, and end
the wait with `Waiting.answer`.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, final

from pydns.dns.compiled import fit
from pydns.dns.message import AA, AD, CD, RA, RD, TC, reply_flags, with_error, with_flags
from pydns.dns.response import UpstreamAnswer
from pydns.dns.rrset import RRset
from pydns.ring.layout import Origin
from pydns.serve.port import Port
from pydns.upstream.key import ASK_AD, ASK_CD, ASK_DO


@final
class Asked(NamedTuple):
    """A question for upstreams, and what is needed to compose the reply to the client."""

    id: bytes
    question: bytes  # the question as the client sent it
    bits: int  # the flags of the question: a combination of ASK_DO, ASK_CD and ASK_AD
    opt: bytes  # the OPT record of the reply; empty if the query had no OPT record
    limit: int  # maximum octets of the reply
    query_octets: int
    zone: str  # text of the zone under which metrics count the query; a dot if no zone of pydns contains the name
    chain: Sequence[RRset] = ()  # CNAMEs from zones of pydns; the target of the last one is outside these zones
    # The last target of `chain`. If a rule has replaced the question, the name in the question. Otherwise empty.
    onward: bytes = b""


class Waiting(NamedTuple):
    """A client that waits for the answer to `asked`."""

    asked: Asked
    port: Port
    peer: Any  # `Port.peer` of the client
    came: float  # when the client's query came

    def answer(
        self, answer: UpstreamAnswer, now: float, in_batch: bool, origin: Origin, server: str, shows_error: bool
    ) -> None:
        """Send the reply and count it.

        If `in_batch` is true, the caller counts the time for the whole batch. `server` is the upstream that answered,
        or empty if no upstream did. If the reply is longer than the client accepts, it contains as many whole records
        as fit, and TC is set. `shows_error` says whether the client may get the extended error of the answer. Observers
        always get this error.
        """
        asked, port, peer, came = self
        query_id, question, bits, opt, limit, query_octets, zone, chain, _ = asked
        rcode, counts, records, extended_error, _, is_authentic = answer
        if opt and extended_error is not None and shows_error:
            opt = with_error(opt, extended_error)
        head = _HEADS[bits & ASK_CD | (_FIRST_IS_OURS if chain else 0)][rcode]
        # AD is set only if the client sent AD or DO, because other clients may not understand AD (RFC 6840 section
        # 5.8).
        if is_authentic and bits & (ASK_AD | ASK_DO):
            head = head[:1] + bytes([head[1] | AD]) + head[2:]
        additionals = b"\0\1" if opt else b"\0\0"
        reply = _join((query_id, head, counts, additionals, question, records, opt))
        if len(reply) > limit and opt is not asked.opt:  # the extended error is left out first (RFC 8914 section 3)
            opt = asked.opt
            reply = _join((query_id, head, counts, additionals, question, records, opt))
        if len(reply) > limit:
            answers, authorities, end = fit(int.from_bytes(counts[:2]), records, limit - len(reply) + len(records))
            counts = answers.to_bytes(2) + authorities.to_bytes(2)
            reply = with_flags(_join((query_id, head, counts, additionals, question, records[:end], opt)), TC)
        port.reply_later(reply, peer)
        tally, rtype, dnssec_ok = port.tally, question[-4:-2], opt != b"" and bits & ASK_DO != 0
        if in_batch:
            tally.count_cached(rtype, rcode, query_octets, reply, dnssec_ok)
        else:
            tally.count_waited(zone, rtype, rcode, query_octets, reply, dnssec_ok, now - came)
        for observer in port.observers:
            observer.replied_later(port, peer, reply, came, now - came, origin, server, extended_error)


_join: Final = b"".join
_FIRST_IS_OURS: Final = 1  # a bit in the keys of `_HEADS`; the only other bit is ASK_CD
# Key -> for each rcode, the flags and QDCOUNT of the reply. The key says whether CD is set, and whether the first
# record is from a zone of pydns. RD is always set, because only questions with RD are deferred.
_HEADS: Final = {
    cd | ours: [reply_flags(RD | (CD if cd else 0), rcode, RA, AA if ours else 0) + b"\0\1" for rcode in range(16)]
    for cd in (0, ASK_CD)
    for ours in (0, _FIRST_IS_OURS)
}

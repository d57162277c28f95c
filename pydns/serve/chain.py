"""A chain of CNAMEs in which pydns has the records of some names, and upstreams have the records of other names."""

from collections.abc import Callable, Iterable

from pydns.dns.compiled import TO_QUESTION, walk
from pydns.dns.message import Rcode
from pydns.dns.reason import Reason
from pydns.dns.response import UpstreamAnswer, uncompressed
from pydns.dns.rewrite import Answer
from pydns.dns.rrset import CLASS_IN, RRset
from pydns.serve.follow import MAX_CHASE
from pydns.serve.rules import Lead


class Chain:
    """A question whose answer is a chain of CNAMEs: the records so far, and the question that has no answer yet.

    The chain keeps the records without name compression, with one exception. An owner that equals the name in the
    client's question is replaced by a pointer to the question.
    """

    def __init__(
        self,
        question: bytes,
        bits: int,
        answers: Iterable[RRset],
        seen: Iterable[bytes],
        finish: Callable[[UpstreamAnswer], None],
        go_on: "Callable[[Chain, bytes], None]",
        source: bytes | None = None,
    ) -> None:
        """`finish` gets the whole answer. `go_on` gets the last CNAME target of an answer, and looks it up.

        `source` contains the octets of the client's IP address. The forwarder counts the client's places by this
        address.
        """
        self.source = source
        self._go_on = go_on
        self._client_qname = question[:-4].lower()
        self.question = question  # the question that has no answer yet
        self.qtype = int.from_bytes(question[-4:-2])
        self.bits = bits
        self._finish = finish
        self._seen = set(seen)
        self._records = b""
        self._count = 0
        self._is_authentic = True  # whether all records are authentic
        self.add(answers)

    @property
    def address(self) -> bytes:
        """The octets of the client's IP address. In zones of pydns, records may depend on the address."""
        return self.source or b""

    def below(self, lead: Lead) -> "Chain":
        """Return a new chain, for the question that a rule makes of this chain's question.

        The answer to the new question becomes the answer to this chain's question. The names of both chains are counted
        together, so rules and upstreams can't cause an endless chain.
        """
        asked = self.question
        sub = Chain(
            lead.qname + lead.qtype.to_bytes(2) + asked[-2:],
            self.bits,
            (),
            (),
            lambda answer: self.answered(reverted(lead, asked, answer)),
            self._go_on,
            self.source,
        )
        sub._seen = self._seen
        return sub

    def add(self, rrsets: Iterable[RRset]) -> None:
        """Add records of zones of pydns to the answer."""
        for rrset in rrsets:
            self._is_authentic = False
            self._records += self._wire(rrset)
            self._count += len(rrset.rdatas)

    def visit(self, qname: bytes) -> bool:
        """Make `qname` the current name. Return False if the chain contains `qname` already or is too long."""
        if qname in self._seen or len(self._seen) > MAX_CHASE:
            return False
        self._seen.add(qname)
        self.question = qname + self.question[-4:]
        return True

    def answered(self, answer: UpstreamAnswer) -> None:
        """Take the upstream's answer to the current question. Then look up the target of its last CNAME, or finish."""
        records = self._records + uncompressed(self.question, answer, self._client_qname)
        count = self._count + int.from_bytes(answer.counts[:2])
        self._is_authentic &= answer.is_authentic
        if answer.onward:
            self._records, self._count = records, count
            self._go_on(self, answer.onward)
        else:
            counts = count.to_bytes(2) + answer.counts[2:]
            whole = answer.rcode, counts, records, answer.extended_error, b"", self._is_authentic
            self._finish(UpstreamAnswer(*whole))

    def end(self, rcode: Rcode, authorities: Iterable[RRset] = (), reason: Reason | None = None) -> None:
        """Finish without an upstream, because the table has the rest of the chain, or because the chain is too long."""
        authority = b"".join([self._wire(rrset) for rrset in authorities])
        counts = self._count.to_bytes(2) + sum(len(rrset.rdatas) for rrset in authorities).to_bytes(2)
        self._finish(UpstreamAnswer(rcode, counts, self._records + authority, reason))

    def _wire(self, rrset: RRset) -> bytes:
        # With a pointer to the question, the owner has the same upper and lower case as the name in the query.
        owner = TO_QUESTION if rrset.owner == self._client_qname else rrset.owner
        return _wire(owner, rrset)


def reverted(lead: Lead, asked: bytes, answer: UpstreamAnswer) -> UpstreamAnswer:
    """Return the answer to the question `asked`. `answer` is the answer to the question of `lead`."""
    looked_up = lead.qname + lead.qtype.to_bytes(2) + asked[-2:]
    records = uncompressed(looked_up, answer)
    count = int.from_bytes(answer.counts[:2])
    rrsets = [_rrset(records, each) for each in walk(records)]
    found = lead.revert(asked[:-4].lower(), Answer(answer.rcode, rrsets[:count], rrsets[count:], (), answer.onward))
    counts = len(found.answers).to_bytes(2) + len(found.authorities).to_bytes(2)
    wire = b"".join([_wire(rrset.owner, rrset) for rrset in (*found.answers, *found.authorities)])
    return UpstreamAnswer(found.rcode, counts, wire, answer.extended_error, found.onward)


def _rrset(records: bytes, place: tuple[int, int, int]) -> RRset:
    begin, fixed, end = place
    rtype, ttl_s = int.from_bytes(records[fixed : fixed + 2]), int.from_bytes(records[fixed + 4 : fixed + 8])
    return RRset(records[begin:fixed], rtype, ttl_s, (records[fixed + 10 : end],))


def _wire(owner: bytes, rrset: RRset) -> bytes:
    fixed = owner + rrset.rtype.to_bytes(2) + CLASS_IN.to_bytes(2) + rrset.ttl_s.to_bytes(4)
    return b"".join([fixed + len(rdata).to_bytes(2) + rdata for rdata in rrset.rdatas])

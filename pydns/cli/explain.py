"""The verb `explain`: prints the reply for a name, and the reasons for this reply.

If a pod is given, `explain` prints every name that the pod tries. The answer is made by the same code as the answers to
clients. `pydns.cli.reasons` finds the reasons, and `pydns.cli.lookup` makes the whole lookup of a pod. With `--ask`,
`pydns.cli.ask` sends queries to the upstreams. Without `--ask`, no query is sent.
"""

import re
import sys
import time
from argparse import Namespace
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import dns.exception
import dns.rdatatype
import msgspec

from pydns.cli.ask import Asked, ask
from pydns.cli.explanation import Answer, Explanation
from pydns.cli.explanation_text import lines
from pydns.cli.lookup import PAIR, kubelet_searching, look_up
from pydns.cli.output import encode, fail, write_lines
from pydns.cli.reasons import Reply, Witness, type_text
from pydns.config import flags, model
from pydns.config.mistakes import ConfigError, Wanted, quote
from pydns.config.model import ClientSource
from pydns.config.resolv_conf import read_searching
from pydns.config.settings import OutputFormat
from pydns.config.shapes import Mistakes
from pydns.config.texts import REVERSE_TREES, parse_domain, parse_ip
from pydns.dns import name
from pydns.dns.address import address_text
from pydns.dns.walk import NDOTS, Resolver, Searching, candidates
from pydns.table.client_names import ClientName, read_client_names
from pydns.table.reader import Reader, TableError
from pydns.table.status import Status, decode

_MAX_RESOLV_CONF = 64 * 1024  # octets
_QUIET_S = 5.0  # an older status leads to a note, because the controller publishes one every second
_ASSUMED = (
    "the pod's resolv.conf is assumed: dnsPolicy ClusterFirst, no dnsConfig; give the real file with --pod-resolv-conf"
)


class Wish(NamedTuple):
    """The question to explain."""

    qname: bytes
    is_absolute: bool  # True: no search list is applied
    qtypes: tuple[int, ...]
    namespace: str | None  # the namespace of the pod that looks up the name; None if no namespace is given
    note: str = ""  # a note for the operator if only a part of the argument is the name
    client: bytes = b""  # the octets of the client's address; empty for a client without a class
    asks: bool = False  # True: queries are sent to the upstreams
    pod: tuple[str, str] | None = None  # namespace and name of the pod
    resolver: Resolver | None = None
    searching: Searching | None = None  # the options in the pod's resolv.conf; None if no file is given

    @property
    def is_lookup(self) -> bool:
        """Return whether the whole lookup of a pod is wanted."""
        return self.pod is not None or self.resolver is not None or self.searching is not None


class Pod(NamedTuple):
    """The pod whose lookup is explained."""

    namespace: str
    address: bytes  # empty: unknown
    title: str | None  # NAMESPACE/POD, with the pod's node and zone; None if the pod is unknown
    notes: tuple[str, ...]


def run(options: Namespace) -> int:
    """Print the explanation. Return 0 if the table or an upstream has an answer of the type, otherwise 1.

    Return 2 if the question is invalid.
    """
    mistakes = Mistakes()
    output = flags.OUTPUT.read(options.output, mistakes)
    client = flags.CLIENT.read(options.client, mistakes)
    pod = flags.POD.read(options.pod, mistakes)
    resolver = flags.RESOLVER.read(options.resolver, mistakes)
    resolv_conf = flags.POD_RESOLV_CONF.read(options.pod_resolv_conf, mistakes)
    asks = flags.ASK.read(options.ask, mistakes)
    if mistakes:
        return fail("explain", mistakes[0], 2)
    if pod and client:
        return fail("explain", "--pod and --client exclude each other", 2)
    try:
        searching = None if resolv_conf is None else read_searching(_text(resolv_conf))
        wish = parse(options.name, options.type, options.namespace, is_lookup=bool(pod or resolver or searching))
    except ValueError as error:
        return fail("explain", error, 2)
    wish = wish._replace(client=client or b"", asks=asks, pod=pod, resolver=resolver, searching=searching)
    try:
        explanation = explain(Path(options.state_dir), wish)
    except TableError as error:
        return fail("explain", error)
    write_lines([encode(explanation)] if output is OutputFormat.JSON else lines(explanation))
    return 0 if explanation.has_answer else 1


def _text(path: Path) -> str:
    """Return the text of the pod's resolv.conf. Raises `ValueError`."""
    try:
        if str(path) == "-":
            raw = sys.stdin.buffer.read(_MAX_RESOLV_CONF + 1)
        else:
            with path.open("rb") as file:
                raw = file.read(_MAX_RESOLV_CONF + 1)
    except OSError as error:
        raise ValueError(f"--pod-resolv-conf {path}: {error.strerror}") from None
    if len(raw) > _MAX_RESOLV_CONF:
        raise ValueError(f"--pod-resolv-conf {path}: it has more than {_MAX_RESOLV_CONF:,} octets")
    return raw.decode(errors="replace")


def parse(name_text: str, qtype_text: str, namespace_text: str | None, *, is_lookup: bool = False) -> Wish:
    """Parse the command line. The default type is PTR for an address and A for a name.

    The lookup of a pod asks for A and AAAA.

    Raises `ValueError`. The message of the error contains the invalid argument and the reason.
    """
    mistakes = Mistakes()
    namespace = flags.NAMESPACE.read(namespace_text, mistakes)
    host = _host(name_text)
    note = "" if host == name_text else f"{quote(host)} is the host in {quote(name_text)}"
    address = parse_ip(host)
    is_address = not isinstance(address, Wanted)
    qname = parse_domain(host) if isinstance(address, Wanted) else name.reverse_name(address)
    if isinstance(qname, Wanted):
        raise ValueError(ConfigError("NAME", quote(name_text), qname.text))
    qtype = _parse_type(qtype_text or ("PTR" if is_address else "A"))
    if qtype is None:
        raise ValueError(ConfigError("TYPE", quote(qtype_text), "a type of records, such as A, SRV or TYPE65"))
    if mistakes:
        raise ValueError(mistakes[0])
    is_absolute = is_address or (host.endswith(".") and not host.endswith("\\."))
    qtypes = PAIR if is_lookup and not qtype_text and not is_address else (qtype,)
    return Wish(qname, is_absolute, qtypes, namespace, note)


def _host(text: str) -> str:
    """Return the host in a URL or in HOST:PORT. Return a text of another form unchanged."""
    try:
        if "://" in text:
            return urlsplit(text).hostname or text
        host, colon, port = text.rpartition(":")
        if colon and port.isdecimal() and (":" not in host or host.startswith("[")):
            return host.removeprefix("[").removesuffix("]")
    except ValueError:  # an invalid URL such as http://[::1
        pass
    return text


def _parse_type(text: str) -> int | None:
    try:
        qtype = dns.rdatatype.from_text(text)
    except (dns.exception.DNSException, ValueError):
        return None
    return None if qtype == dns.rdatatype.NONE or dns.rdatatype.is_metatype(qtype) else qtype


def explain(state_dir: Path, wish: Wish) -> Explanation:
    """Return the names that a pod tries, each with its reply. Raises `TableError`."""
    return _explain(Reader(state_dir), wish)


def explain_pasted(reader: Reader, text: str, qtype_text: str, asker: str) -> Explanation:
    """Return the explanation of a name for the console. `asker` is a namespace, NAMESPACE/POD, an address or empty.

    Raises `ValueError` for an invalid question.
    """
    mistakes = Mistakes()
    is_address = not isinstance(parse_ip(asker), Wanted)
    client = flags.CLIENT.read(asker, mistakes) if is_address else b""
    pod = flags.POD.read(asker, mistakes) if "/" in asker and not is_address else None
    namespace = None if is_address or "/" in asker else asker
    flags.NAMESPACE.read(namespace, mistakes)
    if mistakes:
        raise ValueError(re.sub(r"^--\w+", "Asked by", str(mistakes[0])))
    wish = parse(text, qtype_text, namespace, is_lookup=True)
    return _explain(reader, wish._replace(client=client or b"", pod=pod, resolver=Resolver.GLIBC))


def _explain(reader: Reader, wish: Wish) -> Explanation:
    pod = _find_pod(reader, wish)
    with reader.transaction() as transaction:
        witness = Witness(reader, transaction, pod.address)
        notes = [*filter(None, [wish.note, witness.client_text()]), *pod.notes]
        if wish.is_lookup or pod.title is not None:
            return _lookup(witness, wish, pod, notes)
        if pod.address and not witness.client_text():
            notes.append(f"client {address_text(pod.address)}: not known, so it gets the plain answer")
        is_whole = wish.is_absolute or _is_whole(wish.qname, witness.domains)
        if is_whole and not wish.is_absolute and len(name.labels_of(wish.qname)) <= NDOTS:
            notes.append("a pod tries the names of its search list first; a final dot avoids these queries")
        if witness.depends_on_client:
            notes.append("`acl` or `views` may give a client another answer; name the client with --client")
        searching = kubelet_searching(pod.namespace, witness.domain)
        tried: list[Answer] = []
        age_s = _age_s(witness.status)
        for qname in [wish.qname] if is_whole else candidates(wish.qname, False, searching, Resolver.GLIBC):
            reply = witness.reply_to_client(qname, wish.qtypes[0])
            asked = tuple(ask(reply.servers, reply.onward, reply.qtype)) if wish.asks and reply.servers else ()
            tried.append(_answer(reply, asked, age_s))
            if tried[-1].has_answer:
                break
        return Explanation(
            has_answer=tried[-1].has_answer,
            search=None if is_whole else pod.namespace,
            tried=tuple(tried),
            notes=(*notes, *_silence(witness.status)),
        )


def _find_pod(reader: Reader, wish: Wish) -> Pod:
    """Return what pydns knows about the pod that asks. The names of pods come from EndpointSlices, or from Pods."""
    if wish.pod is None and not wish.client:
        return Pod(wish.namespace or "default", b"", None, ())
    names = read_client_names(reader)
    if wish.pod is not None:
        namespace, pod = wish.pod
        addresses = names.addresses_of(namespace, pod)
        known = names.name_of(addresses[0]) if addresses else None
        notes = () if addresses else (_why_unknown(reader, names.node_with(namespace, pod)),)
        title = _place(f"{namespace}/{pod}", known)
        return Pod(wish.namespace or namespace, addresses[0] if addresses else b"", title, notes)
    known = names.name_of(wish.client)
    if known is None or not known.namespace:
        return Pod(wish.namespace or "default", wish.client, None, ())
    title = _place(f"{known} at {address_text(wish.client)}", known)
    return Pod(wish.namespace or known.namespace, wish.client, title, ())


def _why_unknown(reader: Reader, node: str) -> str:
    """Return why the address of a pod isn't known. `node` is the node whose network the pod uses, or empty."""
    if node:
        return (
            f"the pod is on the network of node {node}: it uses the node's resolv.conf, and asks the node's servers, "
            "unless its dnsPolicy is ClusterFirstWithHostNet"
        )
    with reader.transaction() as transaction:
        status = decode(reader.status(transaction))
        try:
            clients = model.load(reader.config(transaction)).clients
        except msgspec.DecodeError:  # the table has no configuration yet
            clients = ClientSource.ENDPOINTS
    unknown = "so its address, node and zone are unknown"
    if clients is not ClientSource.PODS:
        return f"pydns doesn't know the pod, {unknown} (`clients: pods` watches all pods)"
    pods = status.kinds.get("Pod")
    if pods is not None and pods.synced:
        return f"no pod with this name is running, {unknown}"
    return f"pods aren't listed{f' ({pods.problem})' if pods is not None and pods.problem else ''}, {unknown}"


def _place(pod: str, known: ClientName | None) -> str:
    places = [] if known is None else [("on node", known.node), ("in zone", known.zone)]
    return pod + ",".join([f" {where} {what}" for where, what in places if what])


def _lookup(witness: Witness, wish: Wish, pod: Pod, notes: list[str]) -> Explanation:
    resolver = wish.resolver or Resolver.GLIBC
    searching = wish.searching or kubelet_searching(pod.namespace, witness.domain)
    qtypes = PAIR if wish.qtypes == PAIR[:1] and not wish.is_lookup else wish.qtypes
    found = look_up(witness, resolver, wish.qname, wish.is_absolute, searching, qtypes, asks=wish.asks)
    if wish.searching is None and not wish.is_absolute:
        notes.append(_ASSUMED)
    if witness.depends_on_client:
        notes.append("`acl` or `views` may give a client another answer; name the client with --client")
    age_s = _age_s(witness.status)
    tried = tuple([_answer(each.reply, each.asked, age_s) for each in found.steps])
    return Explanation(
        has_answer=any(each.has_answer for each in tried),
        search=None if wish.is_absolute else pod.namespace,
        tried=tried,
        notes=(*notes, *_silence(witness.status)),
        pod=pod.title,
        resolver=resolver.value,
        domains=()
        if wish.is_absolute
        else tuple([name.to_text(each).rstrip(".") or "." for each in searching.domains]),
        ndots=searching.ndots,
        result=found.result,
        hints=found.hints,
    )


def _answer(reply: Reply, asked: tuple[Asked, ...], age_s: float | None) -> Answer:
    return Answer(
        name=name.to_text(reply.qname),
        type=type_text(reply.qtype),
        has_answer=reply.has_answer or any(each.has_answer for each in asked),
        reply=reply.said,
        reason=None if reply.reason is None else reply.reason.code,
        cached_s=reply.kept_s,
        age_s=None if reply.servers else age_s,
        records=tuple(reply.records),
        source=reply.source,
        why=tuple(reply.why),
        asked=tuple(each.text for each in asked),
    )


def _is_whole(qname: bytes, domains: Iterable[bytes]) -> bool:
    """Return whether a name is complete. A complete name is in a domain of the cluster or in a reverse tree."""
    return any(name.is_at_or_below(qname, tree) for tree in (*domains, *REVERSE_TREES))


def _age_s(status: Status) -> float | None:
    """Return the age of the oldest data of the cluster in the table, or None if the age isn't known."""
    ages = [each.data_age_s for each in status.kinds.values() if each.served and each.data_age_s is not None]
    return max(ages) + max(time.time() - status.time, 0.0) if ages and status.time else None


def _silence(status: Status) -> Iterator[str]:
    silence_s = time.time() - status.time
    if status.time and silence_s > _QUIET_S:
        yield f"pydns has reported nothing for {silence_s:.0f} s: the table may be out of date"

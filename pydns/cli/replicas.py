"""Finds the replicas of pydns and reads their pages, for the verbs with `--all`.

1. The replicas are the pods behind the same Services as this pod. They are found in the EndpointSlices of these
   Services. The pages (`pydns.control.peer_pages`) are on the port with the name `metrics`.
2. Another program may answer at a replica's address. So each answer is limited in time and in octets, and no text of an
   answer can control a terminal.
3. A replica that doesn't answer is reported by name. The other replicas are asked all the same.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar
from urllib.parse import urlencode

import h11
import msgspec
from msgspec import Struct

from pydns.cli.output import fail
from pydns.control import ring_page
from pydns.control.source_choice import own_namespace
from pydns.dns.address import BadAddress, endpoint_text, parse_address
from pydns.log import one_line
from pydns.process.sources import PEER_TOKEN
from pydns.ring.queries import Query
from pydns.table.status import VERSION, Status

if TYPE_CHECKING:
    from pydns.control.api_client import ApiClient

SILENT = 3  # exit status: some replicas didn't answer
ANSWER_S = 6.0  # longer than the 5 s after which a replica's server gives up
MOST = 100  # the most replicas that are asked
_MOST_QUERIES = 60_000  # the most queries of all replicas together: reading so many takes 60 MB
_LARGEST_STATUS = 1 << 20
_LARGEST_LIST = 8 << 20
_LARGEST_HEAD = 8192
_PORT = "metrics"
_SLICES = "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices"
_SERVICE = "kubernetes.io/service-name"


class ReplicasError(Exception):
    """The replicas can't be found. The message of this error has the reason."""


class Replica(NamedTuple):
    """A pod of pydns."""

    name: str
    address: str
    port: int

    def __str__(self) -> str:
        """Return the name and the address of the replica as text."""
        return f"{self.name} ({self.address})"


Value = TypeVar("Value")


class Answer(NamedTuple, Generic[Value]):
    """What a replica answered. If `value` is None, `problem` has the reason."""

    replica: Replica
    value: Value | None
    problem: str = ""


class _Reference(Struct):
    kind: str = ""
    name: str = ""


class _Endpoint(Struct, rename="camel"):
    addresses: list[str] = []
    target_ref: _Reference | None = None


class _Port(Struct):
    name: str | None = None
    port: int | None = None


class _Metadata(Struct):
    labels: dict[str, str] | None = None


class _Slice(Struct):
    metadata: _Metadata
    endpoints: list[_Endpoint] | None = None
    ports: list[_Port] | None = None


class _Slices(Struct):
    items: list[_Slice]


def statuses() -> list[Answer[Status]]:
    """Return the status of every replica. Raises `ReplicasError`."""
    replicas, token = _known()
    return _read(ask(replicas, "/status", token, _LARGEST_STATUS), _status)


def queries(since_s: float) -> list[Answer[list[Query]]]:
    """Return the queries of the last `since_s` seconds of every replica. Raises `ReplicasError`."""
    replicas, token = _known()
    most = min(ring_page.MOST, _MOST_QUERIES // len(replicas))
    path = "/ring?" + urlencode({"seconds": f"{since_s:.3f}", "most": most})
    answers = ask(replicas, path, token, most * ring_page.MOST_OCTETS + 1024)
    return _read(answers, lambda body: ring_page.decode(body, most))


def complain(verb: str, answers: Sequence[Answer[Any]]) -> bool:
    """Write a line for each replica without a usable answer. Return whether there was such a replica."""
    silent = [each for each in answers if each.value is None]
    for each in silent:
        fail(verb, f"replica {each.replica}: {each.problem}")
    return bool(silent)


def _known() -> tuple[list[Replica], str]:
    """Return the replicas, and the token for their pages."""
    try:
        token = PEER_TOKEN.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ReplicasError(f"{PEER_TOKEN}: {getattr(error, 'strerror', error)}; see docs/observe.md") from None
    from pydns.control.api_client import connect  # this module imports urllib3, which is needed only for `--all`
    from pydns.control.kubeconfig import ConnectError

    try:
        client = connect(None)
    except ConnectError as error:
        raise ReplicasError(str(error)) from None
    return find(client, own_namespace(), os.environ.get("POD_NAME") or socket.gethostname()), token


def _read(answers: Sequence[Answer[bytes]], read: Callable[[bytes], Value]) -> list[Answer[Value]]:
    """Return the values that `read` makes of the answers.

    If an answer can't be read, the field `problem` of the result has the reason.
    """
    found = []
    for replica, body, problem in answers:
        value = None
        if body is not None:
            try:
                value = read(body)
            except (ValueError, RecursionError) as error:
                problem = f"its answer can't be used: {printable(str(error))}"
        found.append(Answer(replica, value, problem))
    return found


def _status(body: bytes) -> Status:
    known = msgspec.convert(_printable(msgspec.json.decode(body)), Status)
    if known.version != VERSION:
        raise ValueError(f"it has version {known.version} of the status, and this replica has {VERSION}")
    return known


def _printable(value: Any) -> Any:
    """Return a JSON value with its texts escaped, so that they can't control a terminal."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [_printable(each) for each in value]
    if isinstance(value, dict):
        return {printable(key): _printable(each) for key, each in value.items()}
    return value


def find(client: "ApiClient", namespace: str, pod: str) -> list[Replica]:
    """Return the replicas behind the same Services as a pod, sorted by name. Raises `ReplicasError`."""
    try:
        response = client.request(_SLICES.format(namespace), [], ANSWER_S)
        body = response.read(_LARGEST_LIST + 1)
        response.release_conn()
        if response.status != 200:
            raise ReplicasError(f"the API server doesn't list EndpointSlices: {response.status} {response.reason}")
        if len(body) > _LARGEST_LIST:
            raise ReplicasError(f"the EndpointSlices of namespace {namespace} have more than {_LARGEST_LIST} octets")
        slices = msgspec.json.decode(body, type=_Slices).items
    except ReplicasError:
        raise
    except Exception as error:  # credentials come from files and programs, which may raise anything
        raise ReplicasError(f"the EndpointSlices can't be listed: {one_line(error)[:200]}") from None
    own = {_service(each) for each in slices if pod in _pods(each)} - {""}
    if not own:
        raise ReplicasError(f"the pod {namespace}/{pod} is behind no Service")
    found: dict[str, Replica] = {}
    for each in slices:
        port = next(
            (port.port for port in each.ports or () if port.name == _PORT and 0 < (port.port or 0) < 65536), None
        )
        if _service(each) in own and port is not None:
            for name, address in _pods(each).items():
                if len(found) < MOST:
                    found.setdefault(name, Replica(name, address, port))
    if not found:
        raise ReplicasError(f"the Services {', '.join(sorted(own))} have no port of the name {_PORT}")
    return sorted(found.values())


def _service(each: _Slice) -> str:
    return (each.metadata.labels or {}).get(_SERVICE, "")


def _pods(each: _Slice) -> Mapping[str, str]:
    """Return the names and addresses of the pods in a slice. Endpoints that aren't pods are left out."""
    found = {}
    for endpoint in each.endpoints or ():
        if endpoint.target_ref is not None and endpoint.target_ref.kind == "Pod" and endpoint.addresses:
            try:
                parse_address(endpoint.addresses[0])
            except BadAddress:
                continue
            found[endpoint.target_ref.name] = endpoint.addresses[0]
    return found


def ask(
    replicas: Sequence[Replica], path: str, token: str, limit: int, answer_s: float = ANSWER_S
) -> list[Answer[bytes]]:
    """Send a GET to each replica and return the answers. An answer has at most `limit` octets.

    `ask` waits at most `answer_s` for all answers together.
    """
    end = time.monotonic() + answer_s
    found: dict[Replica, Answer[bytes]] = {}

    def ask_one(replica: Replica) -> None:
        try:
            found[replica] = Answer(replica, _get(replica, path, token, limit, end))
        except TimeoutError:
            found[replica] = Answer(replica, None, f"no answer within {answer_s:g} s")
        except h11.ProtocolError as error:
            found[replica] = Answer(replica, None, f"its answer isn't HTTP: {printable(str(error))}")
        except OSError as error:
            found[replica] = Answer(replica, None, printable(error.strerror or str(error)))

    threads = [threading.Thread(target=ask_one, args=[each], daemon=True) for each in replicas]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()) + 0.5)
    silent = f"no answer within {answer_s:g} s"
    return [found.get(each) or Answer(each, None, silent) for each in replicas]


def _get(replica: Replica, path: str, token: str, limit: int, end: float) -> bytes:
    """Return the body of a replica's page.

    Raises `OSError` if the status isn't 200 or the body has more than `limit` octets.
    """
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LARGEST_HEAD)
    host = endpoint_text(replica.address, replica.port)
    request = h11.Request(
        method="GET",
        target=path,
        headers=[("Host", host), ("Authorization", f"Bearer {token}"), ("Connection", "close")],
    )
    with closing(socket.create_connection((replica.address, replica.port), _left_s(end))) as sock:
        sock.settimeout(_left_s(end))
        sock.sendall((connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b""))
        status, body = 0, bytearray()
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                sock.settimeout(_left_s(end))
                connection.receive_data(sock.recv(1 << 16))
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > limit:
                    raise OSError(f"it sent more than {limit} octets")
            elif isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed)):
                break
    if status != 200:
        text = bytes(body[:200]).decode(errors="replace").strip()
        raise OSError(f"status {status}: {text}")
    return bytes(body)


def _left_s(end: float) -> float:
    left_s = end - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s


def printable(text: str) -> str:
    """Return a text in which characters that could control a terminal are escaped."""
    return "".join([each if each.isprintable() else ascii(each)[1:-1] for each in text])

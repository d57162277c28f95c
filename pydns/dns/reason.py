"""The reasons why a reply isn't a success. `pydns explain`, the query log and extended errors (RFC 8914) use them.

Each reason has a code, a text and advice. Clients that send EDNS get the code as EXTRA-TEXT, with the INFO-CODE that
fits best. `pydns explain` prints the same code. The table in docs/reasons.md is made from this module.

Rules:

1. A code keeps its meaning, because people search for it and scripts compare it. A code is at most 24 octets long, so a
   reply doesn't become too long.
2. The text describes what is known. The advice says what a person can change.
"""

from enum import Enum, IntEnum
from typing import Self

EDE_OPTION = 15  # the EDNS option code for extended errors (RFC 8914 section 2)


class Ede(IntEnum):
    """INFO-CODEs of extended DNS errors (RFC 8914, and the registry of IANA from 25 on)."""

    OTHER = 0
    STALE_ANSWER = 3
    NOT_READY = 14
    BLOCKED = 15
    FILTERED = 17
    STALE_NXDOMAIN_ANSWER = 19
    NOT_AUTHORITATIVE = 20
    NOT_SUPPORTED = 21
    NO_REACHABLE_AUTHORITY = 22
    NETWORK_ERROR = 23
    INVALID_DATA = 24
    SYNTHESIZED = 29
    INVALID_QUERY_TYPE = 30


class Reason(Enum):
    """Why a reply isn't a success."""

    # Denials from zones of pydns
    NO_TYPE = "no-type", Ede.OTHER, "The name exists, but it has no record of this type.", "Ask for another type."
    NO_NAME = (
        "no-name",
        Ede.OTHER,
        "The zone has no such name.",
        "Check the spelling. Services are called SERVICE.NAMESPACE.svc.DOMAIN.",
    )
    NO_NAMESPACE = (
        "no-namespace",
        Ede.OTHER,
        "The cluster has no namespace of this name, or the namespace isn't served.",
        "Check the namespace. In a search list, this reason is normal, because the next name may exist.",
    )
    NO_SERVICE = (
        "no-service",
        Ede.OTHER,
        "The namespace has no Service of this name.",
        "Check the name and the namespace: another namespace may have the Service.",
    )
    NO_READY_ENDPOINT = (
        "no-ready-endpoint",
        Ede.OTHER,
        "The Service is headless, and none of its endpoints is ready. Such a Service and its endpoints have no names.",
        "Find out why its pods fail their readiness probes. Pods that must find each other before they are ready need "
        "`publishNotReadyAddresses: true`.",
    )
    NO_ENDPOINT = (
        "no-endpoint",
        Ede.OTHER,
        "The Service exists, but has no ready endpoint or port of this name.",
        "Check the hostname of the pod, or the name of the port.",
    )
    NO_POD = (
        "no-pod",
        Ede.OTHER,
        "The namespace has no pod with this address, or the label is no address.",
        "Names of pods are addresses with dashes, such as 10-0-0-1.NAMESPACE.pod.DOMAIN.",
    )
    NOT_FOR_CLIENT = (
        "not-for-client",
        Ede.OTHER,
        "The name has records of this type, but none for this client: answers by zone or hairpin answers leave "
        "them out.",
        "Run `pydns explain NAME --client ADDRESS`.",
    )
    PENDING = (
        "pending",
        Ede.NOT_READY,
        "The object of this name has no address yet.",
        "Look at the object's status, such as the load balancer of a Service.",
    )
    NOT_SYNCED = (
        "not-synced",
        Ede.NOT_READY,
        "pydns hasn't listed the whole cluster yet, so the name may exist.",
        "Look at `pydns status`. Clients should ask again.",
    )

    # Rules of the configuration
    ACL_BLOCK = "acl-block", Ede.BLOCKED, "A rule of `acl` refuses this client's question.", "Change the key `acl`."
    ACL_FILTER = "acl-filter", Ede.FILTERED, "A rule of `acl` empties the answer.", "Change the key `acl`."
    ACL_DROP = "acl-drop", Ede.OTHER, "A rule of `acl` drops the query: there is no reply.", "Change the key `acl`."
    BLOCKED = (
        "blocked",
        Ede.BLOCKED,
        "The domain is blocked, or the name is a special name that pydns denies.",
        "Change the key `blocked`, the view, or `forwarded_special_names`.",
    )
    TEMPLATE = (
        "template",
        Ede.SYNTHESIZED,
        "A template of the configuration makes this reply.",
        "Change the key `templates`, or the view.",
    )
    RULE_LOOP = (
        "rule-loop",
        Ede.OTHER,
        "Aliases or rewrites lead from one to another, without end.",
        "Change the keys `aliases` and `rewrites`.",
    )
    RULE_TARGET = (
        "rule-target",
        Ede.INVALID_DATA,
        "A rewrite or an alias makes an invalid name.",
        "Change the keys `aliases` and `rewrites`.",
    )
    FAMILIES = (
        "families",
        Ede.FILTERED,
        "The key `families` leaves out addresses of this family.",
        "Change the key `families` if clients can use both families outside the cluster.",
    )

    # Chains of names
    CNAME_CHAIN = (
        "cname-chain",
        Ede.OTHER,
        "The CNAMEs lead in a circle, or there are more than 10.",
        "Change the records.",
    )
    DNAME_TOO_LONG = (
        "dname-too-long",
        Ede.OTHER,
        "A DNAME makes a name of more than 255 octets.",
        "Use a shorter name.",
    )

    # Questions that pydns doesn't answer
    NOT_OURS = (
        "not-ours",
        Ede.NOT_AUTHORITATIVE,
        "The name is in no zone of pydns, and pydns asks no upstream for it.",
        "Set `upstreams`, or a route for the domain. Queries without RD are never forwarded.",
    )
    NOT_SUPPORTED = (
        "not-supported",
        Ede.NOT_SUPPORTED,
        "pydns answers neither zone transfers nor classes other than IN.",
        "Ask for a record type in class IN.",
    )
    INVALID_TYPE = "invalid-type", Ede.INVALID_QUERY_TYPE, "The question's type is OPT.", "Ask for another type."

    # Upstreams
    UPSTREAM_TIMEOUT = (
        "upstream-timeout",
        Ede.NO_REACHABLE_AUTHORITY,
        "No upstream has answered in time.",
        "Run `pydns explain NAME. --ask`. Check the upstreams, and firewalls on the way.",
    )
    UPSTREAM_UNREACHABLE = (
        "upstream-unreachable",
        Ede.NETWORK_ERROR,
        "No packet reaches an upstream: no server listens there, or the names of the servers have no addresses.",
        "Run `pydns explain NAME. --ask`. Check the addresses of the upstreams.",
    )
    UPSTREAM_REPLY = (
        "upstream-reply",
        Ede.INVALID_DATA,
        "The replies of the upstreams can't be used. The log has the reason.",
        "Look at the log. Ask another upstream.",
    )
    UPSTREAM_ERROR = (
        "upstream-error",
        Ede.OTHER,
        "An upstream has answered with an error, but has sent no reason.",
        "Run `pydns explain NAME. --ask`. The cause is in the upstream, or in a server behind it.",
    )
    UPSTREAM_LOOP = (
        "upstream-loop",
        Ede.NO_REACHABLE_AUTHORITY,
        "The upstreams forward the questions of pydns back to pydns.",
        "Set `upstreams` to servers that don't use pydns.",
    )
    STALE = (
        "stale",
        Ede.STALE_ANSWER,
        "No upstream answers, so this is the last known answer.",
        "Follow the advice for `upstream-timeout`.",
    )
    STALE_DENIAL = (
        "stale-denial",
        Ede.STALE_NXDOMAIN_ANSWER,
        "No upstream answers, so this is the last known answer: the name didn't exist.",
        "Follow the advice for `upstream-timeout`.",
    )
    TOO_BUSY = (
        "too-busy",
        Ede.OTHER,
        "Too many questions wait for upstreams.",
        "Look for the client that sends so many questions. See `max_in_flight` and `packets_per_second`.",
    )

    code: str
    ede: Ede
    text: str
    advice: str
    option: bytes  # the extended error as an EDNS option

    def __new__(cls, code: str, ede: Ede, text: str, advice: str) -> Self:
        """Make a member whose value is its code."""
        self = object.__new__(cls)
        self._value_ = self.code = code
        self.ede, self.text, self.advice = ede, text, advice
        data = ede.to_bytes(2) + code.encode()
        self.option = EDE_OPTION.to_bytes(2) + len(data).to_bytes(2) + data
        return self


LONGEST_OPTION = max([len(each.option) for each in Reason])

"""Defines keys about whole replies: names of the server itself, EDNS, DNSSEC and limits."""

from pydns.config import texts
from pydns.config.model import AnyQueries, ChaosName, ChaosOptions, DnssecOptions, EdnsOptions, NsidOptions, SpecialName
from pydns.config.shapes import Key, ListOf, OneOf, Record, Switch, Text, Whole

_EDNS = Record(
    EdnsOptions,
    (
        Key(
            "max_udp_size",
            Whole(512, 4096),
            "Maximum length of a reply over UDP, in octets. A client may set a lower limit. Replies longer than "
            "1232 may be fragmented.",
            "1232",
            "511",
        ),
        Key(
            "ede",
            Switch(),
            "Whether clients that send EDNS get the reason of a reply that isn't a success, as an extended error (RFC "
            "8914). docs/reasons.md has all reasons.",
            "false",
            "none",
        ),
    ),
    "a mapping of options",
)

_DNSSEC = Record(
    DnssecOptions,
    (
        Key(
            "trust_ad",
            ListOf(Text(texts.SERVER_HOST, texts.parse_server_host), "servers"),
            "Servers of `upstreams` and `routes` that validate DNSSEC and are reached over a secure path. The AD bit "
            "in replies of these servers is passed on to clients that send AD or DO. AD is 0 in all other replies.",
            "[10.0.0.2, ns.acme.example]",
            "['10.0.0.2:53']",
            default="none",
        ),
    ),
    "a mapping of options",
)


_CHAOS = Record(
    ChaosOptions,
    (
        Key(
            "version",
            Text(texts.SHORT_TEXT, texts.parse_short_text),
            "The text that answers version.bind and version.server.",
            "dns 1",
            "''",
            default="name and version of pydns",
        ),
        Key(
            "authors",
            ListOf(Text(texts.SHORT_TEXT, texts.parse_short_text), "texts"),
            "The texts that answer authors.bind. Without authors, queries for this name get REFUSED.",
            "[the platform team]",
            "['']",
            default="none",
        ),
        Key(
            "names",
            ListOf(OneOf(ChaosName), "names"),
            "The names that pydns answers. For hostname.bind and id.server, the answer is the name of the host.",
            "[hostname.bind]",
            "[hostname]",
            default="all",
        ),
    ),
    "a mapping of options",
)

_NSID = Record(
    NsidOptions,
    (
        Key(
            "data",
            Text(texts.SHORT_TEXT, texts.parse_short_text),
            "The identifier.",
            "eu-1a",
            "''",
            default="the name of the host, which is the name of the pod",
        ),
    ),
    "a mapping of options",
)


SPECIAL_NAMES = Key(
    "forwarded_special_names",
    ListOf(OneOf(SpecialName), "special names"),
    "Special names that upstreams answer. pydns answers all other special names itself, so that clients don't change "
    "to another resolver. pydns answers that resolver.arpa has no records (RFC 9462), and that use-application-dns.net "
    "doesn't exist (Firefox).",
    "[use-application-dns.net]",
    "[localhost]",
    default="none",
)


RESPONSES_PER_SECOND = Key(
    "responses_per_second",
    Whole(0, 1_000_000),
    "How many equal replies per second one worker sends over UDP to one network (IPv4 /24, IPv6 /56). Set a limit if "
    "clients' addresses may be forged. Of the replies above the limit, half are sent truncated, so that clients ask "
    "over TCP, and half are dropped. 0: no limit.",
    "50",
    "-1",
    default="no limit, and 20 with `--answer external`",
)


KEYS = (
    Key(
        "local_names",
        Switch(),
        "Whether pydns itself answers localhost and the reverse names of 127.0.0.0/8, 0.0.0.0/8 and 255.0.0.0/8 (RFC "
        "6761).",
        "true",
        "localhost",
    ),
    Key(
        "any",
        OneOf(AnyQueries),
        "The answer to queries of type ANY (RFC 8482). records: one RRset of the name. hinfo: a made-up HINFO "
        "record for every name.",
        "hinfo",
        "refused",
    ),
    Key(
        "chaos", _CHAOS, "What clients learn about the server in class CH. Without this key, such queries get REFUSED."
    ),
    Key("nsid", _NSID, "The identifier that clients get if they ask with EDNS option 3 (RFC 5001)."),
    Key("edns", _EDNS, "How EDNS is used with clients."),
    Key("dnssec", _DNSSEC, "How DNSSEC validation by upstreams is used."),
)

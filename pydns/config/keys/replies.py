"""Keys about replies as a whole: names of the server itself, EDNS, DNSSEC and limits."""

from pydns.config import texts
from pydns.config.model import AnyQueries, ChaosName, ChaosOptions, DnssecOptions, EdnsOptions, NsidOptions, SpecialName
from pydns.config.shapes import Key, ListOf, OneOf, Record, Switch, Text, Whole

_EDNS = Record(
    EdnsOptions,
    (
        Key(
            "max_udp_size",
            Whole(512, 4096),
            "Limit of a reply over UDP in octets, to a client that takes as many. Above 1232, they may be fragmented.",
            "1232",
            "511",
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
            "Servers, as in `upstreams` and `routes`, that validate DNSSEC and are reached over a secure path. Clients "
            "that send AD or DO see their AD bit. AD is 0 in all other replies.",
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
            "The text of version.bind and version.server.",
            "dns 1",
            "''",
            default="name and version of pydns",
        ),
        Key(
            "authors",
            ListOf(Text(texts.SHORT_TEXT, texts.parse_short_text), "texts"),
            "The texts of authors.bind. Without authors, the name is refused.",
            "[the platform team]",
            "['']",
            default="none",
        ),
        Key(
            "names",
            ListOf(OneOf(ChaosName), "names"),
            "The names that are answered. hostname.bind and id.server have the name of the host.",
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
    "Special names that upstreams answer. The others are answered here, so that clients stay with this server: "
    "resolver.arpa has no records (RFC 9462), use-application-dns.net doesn't exist (Firefox).",
    "[use-application-dns.net]",
    "[localhost]",
    default="none",
)


RESPONSES_PER_SECOND = Key(
    "responses_per_second",
    Whole(0, 1_000_000),
    "Limit of one worker's equal replies over UDP to one network (IPv4 /24, IPv6 /56): for clients whose "
    "addresses may be forged. 0: no limit. Half of the replies beyond it are sent truncated, so that clients "
    "ask over TCP, the others are dropped.",
    "50",
    "-1",
    default="no limit, and 20 with `--answer external`",
)


KEYS = (
    Key(
        "local_names",
        Switch(),
        "Whether localhost and the names of 127.0.0.0/8, 0.0.0.0/8 and 255.0.0.0/8 are answered here (RFC 6761).",
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
    Key("chaos", _CHAOS, "What clients learn about the server in class CH. Without this key, they are refused."),
    Key("nsid", _NSID, "The server's identifier for clients that ask for it with EDNS option 3 (RFC 5001)."),
    Key("edns", _EDNS, "How EDNS is used with clients."),
    Key("dnssec", _DNSSEC, "What is made of upstreams' validation."),
)

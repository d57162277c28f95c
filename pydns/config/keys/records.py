"""Defines keys for names with fixed records: hosts, hosts files and zone files."""

from collections.abc import Callable
from functools import partial
from typing import Any

from pydns.config import texts
from pydns.config.keys.values import DOMAIN, TTL
from pydns.config.mistakes import Wanted
from pydns.config.model import Host, HostsFile, ZoneText
from pydns.config.shapes import Key, ListOf, MapOf, Record, Switch, Text, TextOrRecord

_HOST = Record(
    Host,
    (
        Key(
            "addresses",
            ListOf(Text("an IP address", texts.parse_ip), "IP addresses"),
            "IPv4 and IPv6 addresses of the name.",
            "[10.9.0.5, 'fd00::5']",
            "[10.9.0]",
            required=True,
        ),
        Key("ttl", TTL, "TTL of the records in seconds.", "300", "-1", field="ttl_s"),
        Key("ptr", Switch(), "Whether the addresses have PTR records with the name.", "false", "'off'"),
    ),
    'a host: a mapping with "addresses"',
    identity="qname",
)


_FILE_NAME = Text(texts.FILE, texts.parse_file)


def _made(make: Callable[[str], Any], text: str) -> Any:
    """Return what `make` builds from the name of a file, or a `Wanted` if the name is invalid."""
    file = texts.parse_file(text)
    return file if isinstance(file, Wanted) else make(file)


_HOSTS_FILES = TextOrRecord(
    Text(texts.FILE, partial(_made, HostsFile)),
    Record(
        HostsFile,
        (
            Key(
                "file",
                _FILE_NAME,
                "The file. If this is the only key, you can write the file without the mapping.",
                "NodeHosts",
                "custom/hosts",
                required=True,
            ),
            Key("ttl", TTL, "TTL of the records in seconds.", "300", "-1", field="ttl_s"),
            Key("ptr", Switch(), "Whether the addresses have PTR records with their names.", "false", "'off'"),
            Key(
                "zones",
                ListOf(DOMAIN, "domain names"),
                "Only names at or below these domains are read from the file.",
                "[corp.example]",
                "['']",
                default="all",
            ),
            Key(
                "except",
                ListOf(DOMAIN, "domain names"),
                "Names in these domains are not read from the file.",
                "[lab.corp.example]",
                "['']",
                default="none",
                field="except_",
            ),
        ),
        'a hosts file: a mapping with "file"',
    ),
)


_ZONE_FILES = TextOrRecord(
    Text(texts.FILE, partial(_made, ZoneText)),
    Record(
        ZoneText,
        (
            Key(
                "file",
                _FILE_NAME,
                "The zone file. If this is the only key, you can write the file without the mapping.",
                "db.example.org",
                "custom/db.example.org",
                required=True,
            ),
            Key(
                "zone",
                DOMAIN,
                "The zone in the file. Relative names in the file are relative to this zone.",
                "example.org",
                "example..org",
                default="the name of the file without .zone",
            ),
            Key(
                "fallthrough",
                Switch(),
                "Whether upstreams are asked for names that the zone lacks.",
                "true",
                "'yes'",
            ),
        ),
        'a zone file: a mapping with "file"',
    ),
)


KEYS = (
    Key(
        "hosts",
        MapOf(Text(texts.DOMAIN, texts.parse_host), _HOST, "a mapping of names to hosts"),
        "Names with fixed addresses.",
        "{db.corp.example: {addresses: [10.9.0.5]}}",
        "{db.corp.example: 10.9.0.5}",
        default="none",
    ),
    Key(
        "hosts_files",
        ListOf(_HOSTS_FILES, "files"),
        "Files in the format of /etc/hosts. Each is a key of the same ConfigMap (or a file beside config.yaml), or an "
        "absolute path. The names in the files are added to `hosts`. Upstreams are asked for all other names, unless "
        "`blocked` denies them.",
        "[NodeHosts, {file: /etc/hosts, ttl: 300}]",
        "[custom/hosts]",
        default="none",
    ),
    Key(
        "zone_files",
        ListOf(_ZONE_FILES, "files"),
        "Zone files in addition to those of `--zones`. Each is a key of the same ConfigMap (or a file beside "
        "config.yaml), or an absolute path. Keys of the ConfigMap such as example.org.zone are served even if this "
        "list doesn't name them.",
        "[{file: db.example.org, zone: example.org}]",
        "[custom/db.example.org]",
        default="none",
    ),
)

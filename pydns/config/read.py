"""Turns the texts of a ConfigMap into a configuration, or returns every mistake in them.

A ConfigMap may contain kube-dns's keys, `config.yaml` or both. If kube-dns's keys and `config.yaml` set the same value,
`config.yaml` wins. If a ConfigMap has neither kube-dns's keys nor `config.yaml`, it may contain a `Corefile` with the
files that the Corefile imports.
"""

from collections.abc import Collection, Iterable, Mapping
from itertools import chain
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from pydns.config import document, hosts_file, kube_dns, node, texts
from pydns.config.corefile.translate import Translation, translate
from pydns.config.keys import ROOT
from pydns.config.mistakes import ConfigError, ConfigNotice, Unsupported, quote
from pydns.config.model import Config, NamedUpstream, ServersFile, ServerSpec, ZoneText
from pydns.config.node import Scalar
from pydns.config.shapes import MAX_MISTAKES, Mistakes, Place, TooManyMistakes, suggestion
from pydns.dns import name

YAML_KEY = "config.yaml"
COREDNS_KEY = "Corefile"
ZONE_ENDING = ".zone"


class Surroundings(NamedTuple):
    """Facts that affect the meaning of a Corefile, but are not in the text of the Corefile."""

    # The cluster domain in lower case. A Corefile for another domain is refused. If this is None, a Corefile for any
    # domain is accepted.
    domain: bytes | None = None
    environment: Mapping[str, str] = MappingProxyType({})  # the environment variables that a Corefile can use
    lenient: bool = False  # True: unsupported parts of a Corefile are left out


ANYWHERE = Surroundings()


class Accepted(NamedTuple):
    """A configuration without mistakes."""

    config: Config
    notices: tuple[ConfigNotice, ...] = ()
    translated: node.Mapping | None = None  # the tree of an equivalent `config.yaml`, if the text was a Corefile
    left_out: tuple[Unsupported, ...] = ()  # unsupported parts of a Corefile that change answers


class Refused(NamedTuple):
    """The mistakes of a refused configuration: all, or the first hundred.

    Callers must use no part of the configuration.
    """

    errors: tuple[ConfigError, ...]


def read(
    data: Mapping[str, str], surroundings: Surroundings = ANYWHERE, binary: Collection[str] = ()
) -> Accepted | Refused:
    """Read the `data` of a ConfigMap. For a mounted ConfigMap, `data` maps the names of files to texts.

    Empty `data` means that the defaults apply. Never raises. An unknown key of a ConfigMap gives a notice and is not
    refused, because other programs may read the same ConfigMap. A Corefile is read only if the ConfigMap has no other
    configuration. `binary` contains the keys whose values aren't texts.
    """
    mistakes = Mistakes()
    if COREDNS_KEY in data and not data.keys() & {YAML_KEY, *kube_dns.KEYS}:
        beside = {key: text for key, text in data.items() if key != COREDNS_KEY}
        return read_corefile(COREDNS_KEY, data[COREDNS_KEY], beside, surroundings)
    try:
        by_kube_dns = kube_dns.read(data, mistakes)
        config = _read_yaml(YAML_KEY, data.get(YAML_KEY, ""), mistakes)
    except TooManyMistakes:
        return _too_many(mistakes)
    if mistakes:
        return Refused(tuple(mistakes))
    config, overridden = _combine(by_kube_dns, config)
    used = {file.file for file in config.hosts_files} | {file.file for file in config.zone_files}
    inline = [key for key in data if key.endswith(ZONE_ENDING) and key not in used and texts.is_file(key)]
    config = msgspec.structs.replace(config, zone_files=(*config.zone_files, *map(ZoneText, inline)))
    unknown = _unknown([key for key in (*data, *binary) if key not in used.union(inline)])
    notices = (*by_kube_dns.notices, *overridden, *unknown, *_not_servers(config))
    return _with_files(YAML_KEY, Accepted(config, notices), data)


def read_text(source: str, text: str) -> Accepted | Refused:
    """Read one text in the form of `config.yaml`. Errors begin with `source`. Never raises."""
    mistakes = Mistakes()
    try:
        config = _read_yaml(source, text, mistakes)
    except TooManyMistakes:
        return _too_many(mistakes)
    return Refused(tuple(mistakes)) if mistakes else _with_files(source, Accepted(config, (*_not_servers(config),)), {})


def read_corefile(
    source: str, text: str, files: Mapping[str, str], surroundings: Surroundings = ANYWHERE
) -> Accepted | Refused:
    """Read the text of a Corefile. `files` maps the name of each file that the Corefile may import to the file's text.

    Never raises.
    """
    translation = translate(source, text, files, surroundings.environment, surroundings.domain)
    errors = [*translation.refused, *_other_domain(translation, surroundings.domain)]
    left_out = [each for each in errors if isinstance(each, Unsupported)] if surroundings.lenient else []
    if len(left_out) < len(errors):
        return Refused(tuple(errors))
    mistakes = Mistakes()
    try:
        config = ROOT.read(translation.root, Place(source), mistakes)
    except TooManyMistakes:
        return _too_many(mistakes)
    if mistakes:
        return Refused(tuple(mistakes))
    return _with_files(source, Accepted(config, translation.notes, translation.root, tuple(left_out)), files)


def _with_files(source: str, accepted: Accepted, files: Mapping[str, str]) -> Accepted | Refused:
    """Add the contents of files beside the configuration: the hosts of hosts files, and the texts of zone files.

    Files with an absolute path are not read here.
    """
    config = accepted.config
    wanted = "a text beside the configuration: a key of the same ConfigMap; other files have an absolute path"
    errors = [
        ConfigError(f"{source}: {key}[{at}]", quote(each.file), wanted)
        for key in ("hosts_files", "zone_files")
        for at, each in enumerate(getattr(config, key))
        if each.file not in files and not each.file.startswith("/")
    ]
    if errors:
        return Refused(tuple(errors))
    entries = [hosts_file.read(each.file, files[each.file], each) for each in config.hosts_files if each.file in files]
    config = msgspec.structs.replace(
        config,
        hosts=(*config.hosts, *chain.from_iterable([each.hosts for each in entries])),
        hosts_files=tuple([each for each in config.hosts_files if each.file not in files]),
        zone_files=tuple([msgspec.structs.replace(each, text=files.get(each.file)) for each in config.zone_files]),
    )
    notices = chain.from_iterable([each.notices for each in entries])
    return accepted._replace(config=config, notices=(*accepted.notices, *notices))


def _other_domain(translation: Translation, domain: bytes | None) -> list[ConfigError]:
    written = translation.domain
    if written is None or domain is None or name.from_text(written.text).lower() == domain:
        return []
    wanted = f"the cluster domain, {name.to_text(domain)}; the flag --domain sets the first domain"
    return [ConfigError(f"{written.file}:{written.line}", quote(written.text), wanted)]


def _read_yaml(source: str, text: str, mistakes: Mistakes) -> Config:
    root = document.from_yaml(source, text)
    if isinstance(root, ConfigError):
        mistakes.append(root)
    elif not (isinstance(root, Scalar) and root.value is None):  # a text with only comments is read as a null
        config = ROOT.read(root, Place(source), mistakes)
        if config is not None:
            assert isinstance(config, Config)
            return config
    return Config()


def _combine(by_kube_dns: kube_dns.KubeDns, by_yaml: Config) -> tuple[Config, list[ConfigNotice]]:
    notices = []
    upstreams = by_yaml.upstreams
    if upstreams is None:
        upstreams = by_kube_dns.upstreams
    elif by_kube_dns.upstreams is not None:
        notices.append(ConfigNotice("upstreamNameservers", f"ignored: {YAML_KEY} sets upstreams"))
    routed = {route.domain for route in by_yaml.routes}
    stubs = []
    for stub in by_kube_dns.routes:
        if stub.domain in routed:
            domain = name.to_text(stub.domain)[:-1]
            notices.append(ConfigNotice(f"stubDomains[{quote(domain)}]", f"ignored: {YAML_KEY} has a route for it"))
        else:
            stubs.append(stub)
    return msgspec.structs.replace(by_yaml, upstreams=upstreams, routes=(*by_yaml.routes, *stubs)), notices


def _unknown(data: Iterable[str]) -> list[ConfigNotice]:
    known = (YAML_KEY, *kube_dns.KEYS)
    return [ConfigNotice(quote(key), f"ignored: {_why_unknown(key, known)}") for key in data if key not in known]


def _why_unknown(key: str, known: Iterable[str]) -> str:
    if key == COREDNS_KEY:
        return "the other keys are the configuration"
    return f"not a known key{suggestion(key, known)}"


def _not_servers(config: Config) -> list[ConfigNotice]:
    """Return notices about entries of `dnssec.trust_ad` that match no server.

    If a file like resolv.conf gives servers, there are no notices, because any entry may match a server in the file.
    """
    if config.upstreams is None:
        return []
    servers = [*config.upstreams, *(server for route in config.routes for server in route.servers)]
    if any(isinstance(each, ServersFile) for each in servers):
        return []
    known = {each.ip for each in servers if isinstance(each, ServerSpec)}
    known |= {name.to_text(each.qname) for each in servers if isinstance(each, NamedUpstream)}
    return [
        ConfigNotice(
            f"dnssec.trust_ad[{index}]", "ignored: no server of `upstreams` or `routes` has this name or address"
        )
        for index, each in enumerate(config.dnssec.trust_ad)
        if each not in known
    ]


def _too_many(mistakes: Mistakes) -> Refused:
    rest = ConfigError("and more", f"the rest, after {MAX_MISTAKES} mistakes,", "listed")
    return Refused((*mistakes, rest))

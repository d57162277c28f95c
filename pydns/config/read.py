"""The texts of a ConfigMap to a configuration, or to every mistake in them.

A ConfigMap may hold kube-dns's keys, `config.yaml` or both. If both set the same thing, `config.yaml` wins.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from pydns.config import document, kube_dns
from pydns.config.keys import ROOT
from pydns.config.mistakes import ConfigError, ConfigNotice, quote
from pydns.config.model import Config
from pydns.config.node import Scalar
from pydns.config.shapes import MAX_MISTAKES, Mistakes, Place, TooManyMistakes, suggestion
from pydns.dns import name

YAML_KEY = "config.yaml"
COREDNS_KEY = "Corefile"


class Accepted(NamedTuple):
    """A configuration without mistakes."""

    config: Config
    notices: tuple[ConfigNotice, ...] = ()


class Refused(NamedTuple):
    """The mistakes of a configuration: all of them, or the first hundred. Nothing of it may be used."""

    errors: tuple[ConfigError, ...]


def read(data: Mapping[str, str]) -> Accepted | Refused:
    """Read the `data` of a ConfigMap, or the files of a mounted one by name. No data means the defaults.

    Never raises. An unknown key of a ConfigMap gives a notice and is not refused, because other programs may read
    the same ConfigMap. A ConfigMap for CoreDNS alone is refused: with the defaults, its upstreams would be gone.
    """
    mistakes = Mistakes()
    if COREDNS_KEY in data and not data.keys() & {YAML_KEY, *kube_dns.KEYS}:
        wanted = f"one of pydns: write its upstreams and stub domains as {YAML_KEY}"
        return Refused((ConfigError(COREDNS_KEY, "a configuration of CoreDNS", wanted),))
    try:
        by_kube_dns = kube_dns.read(data, mistakes)
        config = _read_yaml(YAML_KEY, data.get(YAML_KEY, ""), mistakes)
    except TooManyMistakes:
        return _too_many(mistakes)
    if mistakes:
        return Refused(tuple(mistakes))
    config, overridden = _combine(by_kube_dns, config)
    return Accepted(config, (*by_kube_dns.notices, *overridden, *_unknown(data)))


def read_text(source: str, text: str) -> Accepted | Refused:
    """Read one text in the form of `config.yaml`. Its errors begin with `source`. Never raises."""
    mistakes = Mistakes()
    try:
        config = _read_yaml(source, text, mistakes)
    except TooManyMistakes:
        return _too_many(mistakes)
    return Refused(tuple(mistakes)) if mistakes else Accepted(config)


def _read_yaml(source: str, text: str, mistakes: Mistakes) -> Config:
    node = document.from_yaml(source, text)
    if isinstance(node, ConfigError):
        mistakes.append(node)
    elif not (isinstance(node, Scalar) and node.value is None):  # a text with comments alone is a null
        config = ROOT.read(node, Place(source), mistakes)
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


def _unknown(data: Mapping[str, str]) -> list[ConfigNotice]:
    known = (YAML_KEY, *kube_dns.KEYS)
    return [
        ConfigNotice(quote(key), f"ignored: not a known key{suggestion(key, known)}")
        for key in data
        if key not in known
    ]


def _too_many(mistakes: Mistakes) -> Refused:
    rest = ConfigError("and more", f"the rest, after {MAX_MISTAKES} mistakes,", "listed")
    return Refused((*mistakes, rest))

"""The table of directives: what pydns does with the directive of each CoreDNS plugin.

A row is a function that reads the directive, or a `NoEffect`, or an `Instead`. `NoEffect` gives the reason why a
directive changes no answer. `Instead` names the nearest replacement in pydns. The table follows the plugins of CoreDNS
1.14.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from pydns.config.corefile.acl import read_acl
from pydns.config.corefile.blocks import BadCorefile, Line, NotCarriedOut
from pydns.config.corefile.cache import read_cache
from pydns.config.corefile.dnstap import read_dnstap
from pydns.config.corefile.draft import Draft
from pydns.config.corefile.forward import read_forward
from pydns.config.corefile.hosts import read_hosts
from pydns.config.corefile.kubernetes import read_kubernetes
from pydns.config.corefile.log import read_log
from pydns.config.corefile.replies import (
    read_any,
    read_bufsize,
    read_chaos,
    read_dns64,
    read_header,
    read_loadbalance,
    read_local,
    read_nsid,
)
from pydns.config.corefile.rewrite import read_rewrite
from pydns.config.corefile.server import Server
from pydns.config.corefile.template import read_template
from pydns.config.corefile.view import read_view
from pydns.config.corefile.zone_files import read_auto, read_file
from pydns.config.mistakes import quote
from pydns.config.shapes import suggestion

Read = Callable[[Line, Server, Draft], None]  # raises `BadCorefile` for unsupported options


class NoEffect(NamedTuple):
    """A directive that changes no answer. `why` is the text of the note to the operator."""

    why: str


class Instead(NamedTuple):
    """An unsupported directive. `nearest` is the nearest replacement, or empty. `why` contains more details."""

    nearest: str = ""
    why: str = ""


CARRIED_OUT: Mapping[str, Read] = {
    "acl": read_acl,
    "any": read_any,
    "auto": read_auto,
    "bufsize": read_bufsize,
    "cache": read_cache,
    "chaos": read_chaos,
    "dns64": read_dns64,
    "dnstap": read_dnstap,
    "file": read_file,
    "forward": read_forward,
    "header": read_header,
    "hosts": read_hosts,
    "kubernetes": read_kubernetes,
    "loadbalance": read_loadbalance,
    "local": read_local,
    "log": read_log,
    "nsid": read_nsid,
    "rewrite": read_rewrite,
    "template": read_template,
    "view": read_view,
}

_ALWAYS = "no effect: pydns always does this"
_BY_FLAG = "no effect: set by the flag {}"
NO_EFFECT: Mapping[str, NoEffect] = {
    "bind": NoEffect(_BY_FLAG.format("--listen")),
    "cancel": NoEffect("no effect: every query has a time limit"),
    "debug": NoEffect(_BY_FLAG.format("--log-level")),
    "errors": NoEffect(_ALWAYS),
    "health": NoEffect(_BY_FLAG.format("--health; --drain-quiet and --drain-max replace lameduck")),
    "loop": NoEffect("no effect: a server that leads back to pydns is left out, but pydns keeps running"),
    "metadata": NoEffect("no effect: only other plugins need the metadata"),
    "minimal": NoEffect(_ALWAYS),
    "multisocket": NoEffect(_BY_FLAG.format("--workers")),
    "pprof": NoEffect("no effect: there is no Go program to profile"),
    "prometheus": NoEffect(_BY_FLAG.format("--metrics")),
    "ready": NoEffect(_BY_FLAG.format("--ready")),
    "reload": NoEffect(_ALWAYS),
    "shed": NoEffect(_ALWAYS),
    "timeouts": NoEffect("no effect: pydns limits each connection in other ways"),
    "tls": NoEffect("no effect: clients are answered over UDP and TCP"),
    "trace": NoEffect("no effect: `pydns explain` and the query log show where an answer is from"),
}

INSTEAD: Mapping[str, Instead] = {
    "azure": Instead(),
    "clouddns": Instead(),
    "etcd": Instead(),
    "grpc_server": Instead(),
    "https": Instead(),
    "https3": Instead(),
    "nomad": Instead(),
    "on": Instead(),
    "proxyproto": Instead(),
    "quic": Instead(),
    "route53": Instead(),
    "autopath": Instead(why="pydns applies no search list"),
    "dnssec": Instead(why="zones aren't signed"),
    "erratic": Instead(),
    "geoip": Instead(),
    "grpc": Instead("the key `routes`, over UDP, TCP or TLS"),
    "k8s_external": Instead("the key `external`"),
    "root": Instead("the zone files of --zones"),
    "secondary": Instead("the zone files of --zones"),
    "sign": Instead(why="zones aren't signed"),
    "transfer": Instead(),
    "tsig": Instead(),
    "whoami": Instead(),
    "alternate": Instead("`next` of a route"),
    "fanout": Instead("`choice: fastest`"),
    "k8s_gateway": Instead("the key `external`"),
    "ocp_dnsnameresolver": Instead(),
    "records": Instead("the zone files of --zones"),
}


_IN_VIEWS = ("log", "template", "view")


def read_directive(server: Server, draft: Draft, line: Line, *, in_view: bool = False) -> None:
    """Read a directive of a block into the draft. Raises `BadCorefile` for an unsupported directive."""
    if in_view and line.name in CARRIED_OUT and line.name not in _IN_VIEWS:
        raise NotCarriedOut(line.words[0], quote(line.name), f"carried out with view; {', '.join(_IN_VIEWS)} are")
    if line.name in NO_EFFECT:
        draft.note(line.words[0], NO_EFFECT[line.name].why)
    elif line.name in CARRIED_OUT:
        CARRIED_OUT[line.name](line, server, draft)
    elif line.name in INSTEAD:
        nearest, why = INSTEAD[line.name]
        more = f"; the nearest is {nearest}" if nearest else why and f": {why}"
        raise NotCarriedOut(line.words[0], quote(line.name), f"carried out here{more}")
    else:
        known = [*CARRIED_OUT, *NO_EFFECT, *INSTEAD]
        raise BadCorefile(line.words[0], quote(line.name), f"a directive of CoreDNS{suggestion(line.name, known)}")

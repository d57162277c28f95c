"""Reads the directive `rewrite [continue|stop] FIELD …`. `pydns.dns.rewrite` knows the fields."""

from pydns.config.corefile.blocks import BadCorefile, Line, NotCarriedOut
from pydns.config.corefile.draft import Draft, RewriteDraft, word
from pydns.config.corefile.server import Server
from pydns.config.corefile.tokens import quoted
from pydns.config.mistakes import quote
from pydns.dns import rewrite


def read_rewrite(line: Line, server: Server, draft: Draft) -> None:
    """Read a rule of `rewrite`. The words of the rule are in one line, or in the lines of a block."""
    at = line.words[0]
    tokens = list(line.arguments)
    if len(tokens) < 2:
        tokens += [token for each in line.lines for token in each.words]
    elif line.lines:
        raise BadCorefile(at, "a rule with a block", "allowed: write the rule in one line, or in the block")
    words = [token.text for token in tokens]
    fields = [each.lower() for each in words]
    if fields[:1] in (["stop"], ["continue"]):
        del fields[0]
    if fields[:1] == ["edns0"] and "unset" in fields:
        draft.note(at, "no effect: upstreams get no options of a client")
        return
    try:
        rewrite.parse(words)
    except rewrite.BadRule as error:
        refused = NotCarriedOut if isinstance(error, rewrite.UnsupportedRule) else BadCorefile
        raise refused(at, error.found, error.wanted) from None
    written = [quoted(each) for each in words]
    if None in written:
        raise NotCarriedOut(at, quote(" ".join(words)), "a rule that can be written in one line")
    rule = word(at, " ".join(each for each in written if each is not None))
    draft.rewrites.append(RewriteDraft(at, rule, server.zones, *_ends(fields)))


def _ends(fields: list[str]) -> tuple[str, str]:
    """Return the common end of the names that a rule matches, and the common end of the new names.

    An end is empty if it is unknown.
    """
    field, *rest = fields
    kind = rest.pop(0) if rest[0] in ("exact", "prefix", "suffix", "substring", "regex") and len(rest) > 2 else "exact"
    if field in ("cname", "type") or kind not in ("exact", "suffix"):
        return "", ""
    old, new = (each if each.endswith(".") else f"{each}." for each in rest[:2])
    if kind == "exact":
        old, new = f".{old}", f".{new}"
    return old, new if field == "name" and new.startswith(".") else ""

"""The verb `dump`: prints the answer table as zone-file text."""

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from pydns.cli.output import fail, write_lines
from pydns.dns import name
from pydns.dns.compiled import decompile, question
from pydns.dns.rrset import NS
from pydns.dns.text import to_text
from pydns.table.client_classes import is_plain_answer
from pydns.table.layout import NodeKind, is_tree_key
from pydns.table.reader import Reader, TableError
from pydns.zones.special import INTERNAL_TYPE


def run(options: Namespace) -> int:
    """Print the table and return the exit status."""
    try:
        write_lines(dump(Path(options.state_dir)))
    except TableError as error:
        return fail("dump", error)
    return 0


def dump(state_dir: Path) -> Iterator[str]:
    """Yield the table as lines of zone-file text, sorted by owner from the root down. Raises `TableError`."""
    reader = Reader(state_dir)
    with reader.transaction() as transaction:
        facts = reader.facts(transaction)
        yield f"; {name.to_text(facts.domain)} serial {facts.serial}, {'synced' if facts.synced else 'not synced'}"
        lines = []
        for key, compiled in reader.items(transaction):
            if not is_plain_answer(compiled):
                continue
            rrset, _ = decompile(key, compiled)
            if rrset.rtype == INTERNAL_TYPE:  # this type means that the name exists without records
                continue
            lines.append((name.tree_key(rrset.owner), rrset.rtype, to_text(rrset)))
        for tree, kind in reader.nodes(transaction):
            if not is_tree_key(tree):
                continue
            owner = name.from_tree_key(tree)
            if kind == NodeKind.POD_NAMESPACE:
                lines.append((tree, 0, [f"; any address, as ADDRESS-WITH-DASHES.{name.to_text(owner)}"]))
            elif kind[:1] == NodeKind.CUT:
                servers, glue = decompile(question(owner, NS), kind[1:])
                lines.append((tree, servers.rtype, [line for each in (servers, *glue) for line in to_text(each)]))
        for _, _, texts in sorted(lines):
            yield from texts

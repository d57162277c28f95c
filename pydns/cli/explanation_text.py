"""The explanation of a name as text for people. `pydns.cli.explain` is the caller."""

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from pydns.cli.explanation import Answer, Explanation
from pydns.cli.output import Colour, painted
from pydns.cli.reasons import FORWARDED
from pydns.dns.message import Rcode
from pydns.dns.walk import NDOTS

_MAX_RECORDS = 20  # the largest number of records that are printed
# In a lookup, at most this many reasons are printed for a forwarded name, such as its route and its dead servers.
_MAX_WHY = 4
_FAILURES = (Rcode.NXDOMAIN.name, Rcode.SERVFAIL.name, Rcode.REFUSED.name)


def lines(explanation: Explanation) -> Iterator[str]:
    """Yield the lines of an explanation for people. Each name that was tried has a line.

    After these lines come all details of the last name.
    """
    if explanation.resolver is not None:
        yield from _lookup_lines(explanation)
    else:
        if explanation.search is not None:
            yield from _row("search", [f"as a pod in namespace {explanation.search}, ndots:{NDOTS}"])
            for each in explanation.tried:
                yield from _row(
                    "", [f"{each.name} {_reply(each)}: {'; '.join(each.why or [each.source])}", *each.asked]
                )
        if explanation.search is None or explanation.has_answer:
            yield from _details(explanation.tried[-1])
    yield from _row("note", explanation.notes)


def _lookup_lines(explanation: Explanation) -> Iterator[str]:
    of_namespace = "any" if explanation.search is None else f"any pod in namespace {explanation.search}"
    yield from _row("pod", [explanation.pod or of_namespace])
    search = f"search {' '.join(explanation.domains)}" if explanation.domains else "no search list"
    yield from _row("resolver", [f"{explanation.resolver}, ndots:{explanation.ndots}, {search}"])
    names = list(dict.fromkeys([each.name for each in explanation.tried]))
    before = ""
    for group in _grouped(explanation.tried):
        first = group[0]
        title = "" if first.name == before else str(names.index(first.name) + 1)
        before = first.name
        types = ", ".join([each.type for each in group])
        why = "; ".join(first.why[: _MAX_WHY if first.reply == FORWARDED else 1] or [first.source])
        records = first.records[:_MAX_RECORDS]
        yield from _row(title, [f"{first.name} {types} {_reply(first)}: {why}", *records, *first.asked])
    yield from _row("result", [explanation.result or ""])
    ages = [each.age_s for each in explanation.tried if each.age_s is not None]
    if ages:
        yield from _row("data", [f"at most {max(ages):.1f} s old"])
    yield from _row("hint", explanation.hints)


def _grouped(answers: Iterable[Answer]) -> Iterator[list[Answer]]:
    """Yield groups of successive answers that differ only in the type, such as A and AAAA of one name."""
    group: list[Answer] = []
    for each in answers:
        if group and replace(each, type=group[0].type) != group[0]:
            yield group
            group = []
        group.append(each)
    if group:
        yield group


def _details(answer: Answer) -> Iterator[str]:
    records = list(answer.records[:_MAX_RECORDS])
    if len(answer.records) > _MAX_RECORDS:
        records.append(f"and {len(answer.records) - _MAX_RECORDS} more, see pydns dump")
    kept = "" if answer.cached_s is None else f", cached by clients for {answer.cached_s} s"
    yield from _row("question", [f"{answer.name} {answer.type}"])
    yield from _row("reply", [_reply(answer) + kept, *records])
    yield from _row("from", [answer.source])
    yield from _row("why", [*answer.why, *answer.asked])


def _reply(answer: Answer) -> str:
    reason = "" if answer.reason is None else f" ({answer.reason})"
    if answer.reply in _FAILURES:
        return painted(answer.reply, Colour.RED) + reason
    return (painted(answer.reply, Colour.GREEN) if answer.has_answer else answer.reply) + reason


def _row(title: str, texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        yield f"{title:<9} {text}"
        title = ""

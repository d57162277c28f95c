"""The table of docs/corefile.md: how pydns reads each line of real Corefiles.

python -m tests.corefiles.table
"""

import re
from collections.abc import Iterable, Iterator
from enum import Enum

from pydns.config.corefile.blocks import Line, parse
from pydns.config.corefile.translate import translate
from tests.corefiles import shape
from tests.corefiles.shape import Shape

_IMPORT = re.compile(r"^ *import ", re.MULTILINE)
_DIFFERENCE = re.compile("here, max_concurrent limits")  # the note about a line that pydns accepts
Place = str  # FILE:LINE


class Outcome(Enum):
    """How pydns reads a line."""

    CARRIED_OUT = "carried out"
    NO_EFFECT = "no effect"
    REFUSED = "refused"


def outcomes(each: Shape) -> dict[Place, Outcome]:
    """Return how pydns reads each directive and each property. An imported line is included once."""
    files = {path.rpartition("/")[2]: text for path, text in each.files.items()}
    parsed = parse("Corefile", each.corefile, files, each.environment)
    translation = translate("Corefile", each.corefile, files, each.environment)
    refused = {error.path for error in translation.refused}
    noted = {_place(note.path) for note in translation.notes if not _DIFFERENCE.match(note.text)}
    found = dict.fromkeys(_imports(each.corefile), Outcome.CARRIED_OUT)
    for block in parsed.blocks:
        is_refused = any(f"{token.file}:{token.line}" in refused for token in block.addresses)
        for line in block.directives:
            for place, is_within in _places(line, refused, within=is_refused):
                found[place] = _outcome(is_within, place in noted)
    return found


def _outcome(is_refused: bool, is_noted: bool) -> Outcome:
    if is_refused:
        return Outcome.REFUSED
    return Outcome.NO_EFFECT if is_noted else Outcome.CARRIED_OUT


def _places(line: Line, refused: set[Place], *, within: bool) -> Iterator[tuple[Place, bool]]:
    """Yield the place of each line, and whether pydns refuses the line.

    If pydns refuses `line`, it also refuses the lines in its block.
    """
    place = f"{line.words[0].file}:{line.words[0].line}"
    within = within or place in refused
    yield place, within
    for inner in line.lines:
        yield from _places(inner, refused, within=within)


def _imports(text: str) -> Iterator[Place]:
    for match in _IMPORT.finditer(text):
        yield f"Corefile:{text.count(chr(10), 0, match.start()) + 1}"


def _place(path: str) -> Place:
    return ":".join(path.split(":")[:2])


def table(shapes: Iterable[Shape]) -> str:
    """Return the table as Markdown."""
    rows = [f"| Corefile | lines | {' | '.join(each.value for each in Outcome)} |", "| --- | --- | --- | --- | --- |"]
    total = dict.fromkeys(Outcome, 0)
    for each in shapes:
        found = list(outcomes(each).values())
        counts = {outcome: found.count(outcome) for outcome in Outcome}
        total = {outcome: total[outcome] + counts[outcome] for outcome in Outcome}
        rows.append(_row(f"{int(each.name.partition('-')[0])}. {each.title}", counts))
    return "\n".join([*rows, _row("all", total)]) + "\n"


def _row(title: str, counts: dict[Outcome, int]) -> str:
    return f"| {title} | {sum(counts.values())} | {' | '.join(map(str, counts.values()))} |"


if __name__ == "__main__":
    print(table(shape.read()), end="")

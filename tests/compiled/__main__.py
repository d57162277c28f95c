"""`python -m tests.compiled`: compare the results of the compiled modules and of their sources for random messages.

Run it where the modules are compiled (`make native` does). Two processes get the same messages: one imports the
extension modules, the other one the sources beside them. They print a hash for each group of results.
"""

import argparse
import hashlib
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import closing
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader
from itertools import islice
from os import environ
from typing import NamedTuple

GROUP = 1000
_BUILDS = ("compiled", "interpreted")


class Comparison(NamedTuple):
    """How many messages had the same results, and the first results that differ, as text."""

    messages: int
    difference: str | None


def compare(seed: int, count: int) -> Comparison:
    """Compare the results of both builds for `count` messages. The comparison ends at the first difference."""
    first, second = (_lines(build, seed, count) for build in _BUILDS)
    with closing(first), closing(second):
        compared = 0
        for number, (ours, theirs) in enumerate(zip(first, second, strict=True)):
            if ours != theirs:
                return Comparison(compared, _difference(seed, number))
            compared += GROUP
    return Comparison(compared, None)


def _difference(seed: int, group: int) -> str:
    found = [list(_lines(build, seed, (group + 1) * GROUP, "--show", str(group))) for build in _BUILDS]
    for each in zip(*found, strict=True):
        if len(set(each)) > 1:
            return "".join(f"{build}: {text}" for build, text in zip(_BUILDS, each, strict=True))
    raise AssertionError("the results of a group differ from run to run")


def _lines(build: str, seed: int, count: int, *flags: str) -> Generator[str, None, None]:
    command = [sys.executable, "-m", "tests.compiled", build, "--seed", str(seed), "--count", str(count), *flags]
    # Hashes choose the first record of a reply, so both processes need the same seed for hashes.
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**environ, "PYTHONHASHSEED": "0"})
    assert child.stdout is not None
    with child:
        try:
            yield from child.stdout
        except GeneratorExit:
            child.kill()
            raise
    if child.returncode:
        raise RuntimeError(f"the process with {build} modules failed: its messages are above")


def _print_results(build: str, seed: int, count: int, shown: int | None) -> None:
    if build == "interpreted":
        sys.meta_path.insert(0, _Sources())
    from pydns.process.build import BUILD  # imported only after the finder is installed
    from tests.compiled.results import results

    if build != BUILD:
        sys.exit(f"the modules are {BUILD}, not {build}")
    made = results(seed)
    for number in range(-(-count // GROUP)):
        group = list(islice(made, GROUP))
        if shown is None:
            print(hashlib.sha256("\n".join(group).encode()).hexdigest(), flush=True)
        elif shown == number:
            print("\n".join(group))


class _Sources:
    """Finds the sources of pydns, never its extension modules."""

    @staticmethod
    def find_spec(fullname: str, path: Sequence[str] | None, _target: object = None) -> ModuleSpec | None:
        if not fullname.startswith("pydns."):
            return None
        for entry in path or ():
            spec = FileFinder(entry, (SourceFileLoader, SOURCE_SUFFIXES)).find_spec(fullname)
            if spec is not None:
                return spec
        return None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.compiled", description=__doc__.partition("\n")[0])
    parser.add_argument("build", nargs="?", choices=_BUILDS, help="print the results of this build alone")
    parser.add_argument("--count", type=int, default=1_000_000, help="messages (1,000,000)")
    parser.add_argument("--seed", type=int, default=1, help="which messages are made (1)")
    parser.add_argument("--show", type=int, help="print the results of this group instead of hashes")
    options = parser.parse_args()
    if options.build:
        _print_results(options.build, options.seed, options.count, options.show)
        return 0
    compared, difference = compare(options.seed, options.count)
    print(difference or f"{compared} messages, no difference")
    return 1 if difference else 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.mutate kube`: change a package's code at random places, and print each change that no test notices.

cosmic-ray creates the mutants. This program draws some of them at random, so that a run ends within minutes. It tests
each mutant in a copy of the tree, so your own tree isn't changed. A mutant that survives means one of three things: a
test is missing, the code has no effect, or the changed code does the same as the original.
"""

import argparse
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from cosmic_ray.commands import init
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.work_db import use_db
from cosmic_ray.work_item import MutationSpec, TestOutcome

ROOT = Path(__file__).parents[1].resolve()
COPIED = ("pydns", "tests", "manifests", "zones", "pyproject.toml", "README.md")
PATIENCE = 4  # a mutant may take this many times as long as the original code; a slower mutant is treated as noticed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutate", description=__doc__.partition("\n")[0])
    parser.add_argument("room", help="a folder or file of pydns, as kube or kube/reflector.py")
    parser.add_argument("--count", type=int, default=60, help="mutants (60)")
    parser.add_argument("--seed", type=int, default=random.randrange(10_000), help="which mutants are drawn")
    parser.add_argument("--tests", help="what pytest runs (the room's tests, and the cases within one process)")
    options = parser.parse_args()
    os.chdir(ROOT)
    room = options.room.partition("/")[0]
    tests = options.tests or f"tests/{room} tests/test_cases.py -m 'not processes'"
    command = f"{sys.executable} -m pytest -x -q -p no:randomly -p no:cacheprovider {tests}"

    specs = mutants(options.room)
    drawn = random.Random(options.seed).sample(specs, min(options.count, len(specs)))
    print(f"{len(drawn)} of {len(specs)} mutants of pydns/{options.room}, seed {options.seed}: {command}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        _enter_copy(folder)
        began = time.monotonic()
        if subprocess.run(shlex.split(command), check=False).returncode:
            print("the tests must pass without a mutant", file=sys.stderr)
            return 1
        limit_s = PATIENCE * (time.monotonic() - began) + 10
        with ProcessPoolExecutor(2, initializer=_enter_copy, initargs=(folder,)) as pool:
            changes = list(pool.map(survivor, drawn, [command] * len(drawn), [limit_s] * len(drawn)))
    survivors = [each for each in changes if each]
    print("\n\n".join(survivors), f"\n{len(survivors)} of {len(drawn)} mutants survived")
    return 0


def mutants(room: str) -> list[MutationSpec]:
    """Return all mutants of a package. Their order depends only on the code."""
    path = Path("pydns", room)
    modules = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    with use_db(":memory:") as work:
        init(modules, work, {})
        found = [each.mutations[0] for each in work.work_items]
    return sorted(found, key=lambda each: (str(each.module_path), each.start_pos, each.operator_name, each.occurrence))


def survivor(spec: MutationSpec, command: str, limit_s: float) -> str:
    """Return the place and the change of a mutant if its tests pass, or an empty string if they fail."""
    result = mutate_and_test([spec], command, limit_s)
    if result.test_outcome != TestOutcome.SURVIVED:
        return ""
    changed = [line for line in result.diff.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    return "\n".join((f"{spec.module_path}:{spec.start_pos[0]}", *changed))


def _enter_copy(folder: str) -> None:
    """Copy the tree for this process only, and change to the copy."""
    copy = Path(tempfile.mkdtemp(dir=folder))
    for each in COPIED:
        if (ROOT / each).is_dir():
            shutil.copytree(ROOT / each, copy / each, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / each, copy / each)
    os.chdir(copy)


if __name__ == "__main__":
    sys.exit(main())

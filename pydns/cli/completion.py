"""The verb `completion`: prints a script that completes verbs and flags in a shell. shtab generates the script."""

import os
from argparse import Namespace

from pydns.cli import main
from pydns.cli.output import fail, write_lines


def run(options: Namespace) -> int:
    """Print the script for a shell. Return 1 if shtab isn't installed. Return 2 if shtab doesn't support the shell."""
    try:
        import shtab
    except ImportError:
        return fail("completion", "needs shtab: pip install 'pydns-kubernetes[completion]'")
    if options.shell not in shtab.SUPPORTED_SHELLS:
        known = ", ".join(shtab.SUPPORTED_SHELLS)
        return fail("completion", f"SHELL: {options.shell} is not one of {known}", 2)
    paths = {"DIR": shtab.DIRECTORY, "FILE": shtab.FILE, "PATH": shtab.FILE}
    write_lines([shtab.complete(main.parser(os.environ, paths), options.shell)])
    return 0

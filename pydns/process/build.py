"""Knows whether this process runs compiled modules or plain Python. Imports nothing heavy."""

from importlib.machinery import EXTENSION_SUFFIXES

from pydns.dns import name

# pyproject.toml lists the modules that a build may compile. `name` is one of them, so its file shows what was built.
BUILD = "compiled" if str(name.__file__).endswith(tuple(EXTENSION_SUFFIXES)) else "interpreted"

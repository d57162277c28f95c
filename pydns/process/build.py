"""Knows whether this process runs compiled modules or plain Python. This module imports no large module."""

from importlib.machinery import EXTENSION_SUFFIXES

from pydns.dns import name

# pyproject.toml lists the modules that a build may compile. `pydns.dns.name` is one of these modules. The ending of the
# module's file shows whether the module was compiled.
BUILD = "compiled" if str(name.__file__).endswith(tuple(EXTENSION_SUFFIXES)) else "interpreted"

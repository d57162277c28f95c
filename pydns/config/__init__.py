"""Reads flags and the live configuration. Readers return the values, or every mistake in the text.

Tables list all flags and all keys. The code here is pure: no function opens a file, parses the command line, calls the
API server or keeps the last good configuration. Callers start with `flags.read` and `read.read`. This package
imports only `dns` and the log levels from other packages.
"""

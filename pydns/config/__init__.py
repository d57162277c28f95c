"""Flags and the live configuration: tables of what can be written, and text to values, or to every mistake in it.

Pure: nothing here opens a file, parses the command line, calls the API server or keeps the last good configuration.
`flags.read` and `read.read` are the doors. Imports no other room but `dns` and the log's levels.
"""

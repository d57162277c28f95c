"""The ring of recent queries: its format, its records, and what operators learn from it. Pure.

Each worker keeps its last queries in a file of the state directory (`pydns.serve.query_ring`). Other processes read
this file while the worker writes (`pydns.cli.ring_files`). `layout` has the format.
"""

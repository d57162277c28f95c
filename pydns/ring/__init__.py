"""The ring of recent queries: its format, the queries in it, and summaries of them for operators. Pure.

Each worker keeps its last queries in memory, to which a link in the state directory leads (`pydns.serve.query_ring`).
Other processes read this memory while the worker writes (`pydns.process.ring_files`). `layout` defines the format.
"""

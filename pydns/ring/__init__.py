"""The ring of recent queries: its format, the queries in it, and summaries of these queries for operators. Pure.

Each worker keeps its last queries in memory. A link in the state directory leads to this memory
(`pydns.serve.query_ring`). Other processes read this memory while the worker writes (`pydns.process.ring_files`).
`layout` defines the format.
"""

"""Counts queries and other events, and composes the metrics page.

This package does no I/O: the counts are in shared memory, and callers pass in the time.
"""

"""Counts queries and other events, and composes the metrics page.

This package does no I/O. It only uses the shared memory that contains the counts. Callers pass in the time.
"""

"""Counts queries and other events, and composes the metrics page.

This package does no I/O. This package only uses the shared memory that contains the counts. Callers pass in the time.
"""

"""Counts queries and other events, and composes the metrics page.

This room is pure, except for the shared memory that contains the counts. Callers pass the time in.
"""

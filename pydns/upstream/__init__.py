"""Resolve names through upstreams.

This package has no sockets: callers pass in the time, random numbers and functions that send.
"""

"""Resolve names through upstreams. This package has no sockets: callers pass in time, randomness and sending."""

"""Resolving through upstreams, as logic without sockets: time, randomness and sending are passed in."""

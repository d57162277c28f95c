"""Processes and what they share: the supervisor, the sockets that it opens, shared memory, health.

Knows neither the controller nor the worker: `pydns.cli.serve` passes their programs in.
"""

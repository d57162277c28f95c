"""The supervisor process, and what the processes share: listening sockets, shared memory, and their health.

This package doesn't import the controller or the worker. `pydns.cli.serve` passes in the programs of the controller and
the worker.
"""

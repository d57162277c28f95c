"""The supervisor process, and what the processes share: listening sockets, shared memory, and their health.

This room knows neither the controller nor the worker. `pydns.cli.serve` passes in the programs of both.
"""

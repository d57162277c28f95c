"""Processes and what they share: the supervisor, the sockets it opens, shared memory, signs of life."""

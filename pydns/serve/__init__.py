"""The worker: takes queries from sockets and answers them from the answer table."""

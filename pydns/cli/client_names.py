"""The names of clients for verbs that print addresses."""

from collections.abc import Callable
from pathlib import Path

from pydns.table.client_names import ClientName, read_client_names
from pydns.table.reader import Reader, TableError

NameOf = Callable[[bytes], ClientName | None]


def client_names(state_dir: Path) -> NameOf:
    """Return a function that maps a client's address to its name, or to None if the client is unknown.

    The function reads the names from the newest commit of the table. Without a table that can be read, all clients are
    unknown.
    """
    try:
        reader = Reader(state_dir)
    except TableError:
        return lambda _address: None
    names = read_client_names(reader)
    reader.close()
    known: dict[bytes, ClientName | None] = {}

    def name_of(address: bytes) -> ClientName | None:
        if address not in known:
            known[address] = names.name_of(address)
        return known[address]

    return name_of

"""What a source of the live configuration promises to the controller, and what it delivers.

Sources are a file or folder (`control.config_file`) and a ConfigMap (`control.config_map`). `control.configuration`
decides what a delivery means for the configuration in force.
"""

from typing import NamedTuple, Protocol

from pydns.config.read import Accepted, Refused


class Seen(NamedTuple):
    """What a source contains now. If it does not exist, the result is the defaults."""

    result: Accepted | Refused
    exists: bool = True


class ConfigSource(Protocol):
    """Where the configuration comes from."""

    name: str

    def start(self) -> None:
        """Begin to deliver: first what there is, then every change."""

    def stop(self) -> None:
        """Stop. Nothing is delivered after this has returned."""

    def problem(self) -> str | None:
        """Return why the source can't be read now."""

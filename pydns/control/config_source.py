"""The interface of a source of the live configuration, and the values that a source delivers.

There are two sources: a file or folder (`control.config_file`), and ConfigMaps (`control.config_map`).
`control.configuration` decides whether delivered contents come into force.
"""

from typing import NamedTuple, Protocol

from pydns.config.read import Accepted, Refused


class Seen(NamedTuple):
    """The current contents of a source. If the source doesn't exist, `result` has the default configuration."""

    result: Accepted | Refused
    exists: bool = True


class Verdict(NamedTuple):
    """Whether the contents of a source were accepted, with a text for the people who edit the source."""

    reason: str  # one word
    message: str
    is_warning: bool


class ConfigSource(Protocol):
    """A source of the live configuration."""

    name: str

    def start(self) -> None:
        """Start to deliver the contents.

        The source delivers its current contents first, then its contents after each change.
        """

    def stop(self) -> None:
        """Stop the source. Nothing is delivered after this method has returned."""

    def problem(self) -> str | None:
        """Return why the source can't be read now, or None if it can be read."""

    def announce(self, verdict: Verdict) -> None:
        """Show a verdict where the source is edited, if there is such a place. Returns at once."""

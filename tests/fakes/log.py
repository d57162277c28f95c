"""A log that stores its events, so that a test can check them."""

from typing import NamedTuple

from pydns.log import Level, Log


class Logged(NamedTuple):
    """One event as it was logged."""

    event: str
    level: Level
    fields: dict[str, object]

    def __str__(self) -> str:
        """Return the event and its fields in one line, without the level."""
        return " ".join([self.event, *(f"{key}={value}" for key, value in self.fields.items())])


class RecordedLog(Log):
    """Stores events of every level, and writes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.logged: list[Logged] = []

    def __call__(self, event: str, *, level: Level = Level.INFO, **fields: object) -> None:
        self.logged.append(Logged(event, level, fields))

    def lines(self, *beginnings: str) -> list[str]:
        """Return events as lines. If there are `beginnings`, return only events that begin with one of them."""
        return [str(each) for each in self.logged if each.event.startswith(beginnings or "")]

    def of(self, event: str) -> list[dict[str, object]]:
        """Return the fields for each time that `event` was logged."""
        return [each.fields for each in self.logged if each.event == event]

    def events(self) -> list[str]:
        """Return the events without their fields."""
        return [each.event for each in self.logged]

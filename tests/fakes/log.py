"""A log that keeps its events for a test to look at."""

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
    """Keeps every event, whatever its level, and writes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.logged: list[Logged] = []

    def __call__(self, event: str, *, level: Level = Level.INFO, **fields: object) -> None:
        self.logged.append(Logged(event, level, fields))

    def lines(self, *beginnings: str) -> list[str]:
        """Return the events that begin with one of `beginnings` as lines; without beginnings, all of them."""
        return [str(each) for each in self.logged if each.event.startswith(beginnings or "")]

    def of(self, event: str) -> list[dict[str, object]]:
        """Return the fields of each time an event was logged."""
        return [each.fields for each in self.logged if each.event == event]

    def events(self) -> list[str]:
        """Return the events without their fields."""
        return [each.event for each in self.logged]

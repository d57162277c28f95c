"""Fake upstreams and servers that stop at the end of the test."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.upstream import FakeUpstream, Script
from tests.forwarding import CLUSTER, Fake, Start, answers
from tests.subject import Server


@pytest.fixture
def fake() -> Iterator[Fake]:
    """Start fake upstreams."""
    started: list[FakeUpstream] = []

    def start(script: Script = answers, **how: Any) -> FakeUpstream:
        started.append(FakeUpstream(script, **how))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture
def start() -> Iterator[Start]:
    """Start pydns."""
    started: list[Server] = []

    def begin(config: dict[str, Any]) -> Server:
        started.append(Server(CLUSTER, config=config))
        return started[-1]

    yield begin
    for each in started:
        each.close()

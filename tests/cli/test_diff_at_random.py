"""`pydns diff --live` finds what two workers answer differently. `python -m tests.replayed 10000` asks more."""

from tests.replayed import QUESTIONS, faults

SEEDS = range(8)


def test_diff_agrees_with_two_workers_about_random_questions_and_configurations() -> None:
    assert list(faults(SEEDS, len(SEEDS) * QUESTIONS)) == []

"""`pydns explain` gives the reply that a worker gives. `python -m tests.explained 10000` asks more questions."""

from tests.explained import QUESTIONS, differences

SEEDS = range(10)


def test_explain_agrees_with_a_worker_about_random_questions() -> None:
    assert list(differences(SEEDS, len(SEEDS) * QUESTIONS)) == []

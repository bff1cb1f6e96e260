"""Event scores: each category of Ward et al., onset and end errors, sums, and what must hold for any events."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.evaluation.events import NO_EVENTS, Event, describe, event_scores


def events(*spans: tuple[float, float], label: str = "squat") -> list[Event]:
    return [Event(label, *span) for span in spans]


@pytest.mark.parametrize(
    ("true", "found", "true_as", "found_as"),
    [
        ([(0, 10)], [(1, 12)], {"correct": 1}, {"correct": 1}),
        ([(0, 10)], [], {"deleted": 1}, {}),
        ([], [(0, 10)], {}, {"inserted": 1}),
        ([(0, 10)], [(0, 3), (5, 10)], {"fragmented": 1}, {"fragmenting": 2}),
        ([(0, 4), (6, 10)], [(1, 9)], {"merged": 2}, {"merging": 1}),
        (
            [(0, 4), (6, 10)],
            [(0, 1), (3, 9)],
            {"fragmented and merged": 1, "merged": 1},
            {"fragmenting": 1, "fragmenting and merging": 1},
        ),
        ([(0, 10)], [(10, 12)], {"deleted": 1}, {"inserted": 1}),
    ],
)
def test_categories(true, found, true_as, found_as):
    scores = event_scores(events(*true), events(*found))
    assert dict(scores.true) == true_as
    assert dict(scores.found) == found_as


def test_errors_are_found_less_true_times_of_correct_pairs_alone():
    true = events((0, 10), (20, 30), (40, 50))
    found = events((1, 9), (20, 24), (26, 30), (60, 70))
    scores = event_scores(true, found)
    assert (scores.onset_s.tolist(), scores.end_s.tolist()) == ([1], [-1])
    assert (scores.recall, scores.precision) == (pytest.approx(2 / 3), pytest.approx(3 / 4))
    assert "precision 75.0%, recall 66.7%" in describe(scores)
    assert "onset 1.0 s" in describe(scores)


def test_other_labels_do_not_overlap():
    scores = event_scores(events((0, 10)), events((0, 10), label="curl"))
    assert (dict(scores.true), dict(scores.found)) == ({"deleted": 1}, {"inserted": 1})


spans = st.lists(st.tuples(st.floats(0, 100), st.floats(0.1, 20)).map(lambda p: (p[0], p[0] + p[1])), max_size=6)


@given(spans, spans)
def test_every_event_is_in_one_category_and_sums_add_up(true, found):
    scores = event_scores(events(*true), events(*found))
    assert scores.true.total() == len(true)
    assert scores.found.total() == len(found)
    assert scores.true["correct"] == scores.found["correct"] == len(scores.onset_s)
    assert event_scores(events(*true), events(*true)).true["deleted"] == 0
    twice = scores + scores + NO_EVENTS
    assert twice.true.total() == 2 * len(true)
    assert len(twice.end_s) == 2 * len(scores.end_s)
    assert np.isnan(NO_EVENTS.recall)

"""Titles from sources' own words, and their sentences."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mujo_edge.core import DataError
from training.corpora import data_root
from training.fimad.titles import LONGEST_TEXT, LONGEST_TITLE, MEANINGS, NAMESAKES, normalize_title, texts


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("Exercise 3: Push Ups (30 sec)", "push-up"),
        ("PushUp", "push-up"),
        ("press-ups x 20", "push-up"),
        ("01 - Squats", "squat"),
        ("Round 2 | Plank 💪", "plank"),
        ("20 Jumping Jacks", "jumping jack"),
        ("Star Jumps", "jumping jack"),
        ("12:30 Lunges!!", "lunge"),
        ("DB Bicep Curls", "dumbbell biceps curl"),
        ("Dumbbell Flyes", "dumbbell fly"),
        ("Bent-Over One-Arm Row", "bent-over one arm row"),
        ("3/4 Sit-Up", "3/4 sit-up"),
        ("90/90 Hamstring", "90/90 hamstring"),
        ("2 arm curl", "2 arm curl"),
        ("Skipping Rope", "rope skipping"),
        ("walking_upstairs", "walking upstairs"),
        ("walk", "walking"),
        ("Walks on uneven terrain", "walking on uneven terrain"),
        ("kneel down and tie shoes", "kneeling down and tying shoes"),
        ("hop on both legs", "hopping on both legs"),
        ("throw a basketball", "throwing a basketball"),
        ("sit to stand", "sit to stand"),
        ("jump squat", "jump squat"),
        ("Clean and Jerk", "clean and jerk"),
        ("Catch and Overhead Throw", "catch and overhead throw"),
        ("wave", "wave"),
        ("run", "running"),
        ("Front Kick with the Right Leg", "front kick with the right leg"),
        ("ﬁre hydrant  kicks", "fire hydrant kick"),
    ],
)
def test_titles_are_normalized(name: str, title: str) -> None:
    assert normalize_title(name) == title


@pytest.mark.parametrize("name", ["", "  ", "💪💪", "12:30", "#3", "30 sec", "x10", "...", "\0"])
def test_name_without_words_is_an_error(name: str) -> None:
    with pytest.raises(DataError, match="no words"):
        normalize_title(name)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_a_title_or_an_error(name: str) -> None:
    try:
        title = normalize_title(name)
    except DataError:
        return
    assert title == " ".join(title.split())
    assert any(letter.isalpha() for letter in title)
    actual = texts(name, (name,))
    assert actual[0] == title
    assert len({text.casefold() for text in actual}) == len(actual) > 3


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("one-arm row", "a person doing a one arm row"),
        ("overhead press", "a person doing an overhead press"),
        ("Dumbbell Flyes", "someone performing dumbbell flies"),
        ("crunch", "crunches"),
        ("front kick with the right leg", "someone performing front kicks with the right leg"),
        ("smith machine behind the back shrug", "smith machine behind the back shrugs"),
        ("walking upstairs", "a person walking upstairs"),
        ("standing up", "someone is standing up"),
        ("sneak", "a person sneaking"),
        ("standing", "a person standing"),
        ("sitting and relaxing", "a person sitting and relaxing"),
        ("lying glute", "a person doing lying glute"),
        ("hamstring", "a person doing hamstring"),
        ("dumbbell bench press", "dumbbell chest press"),
        ("squats", "bending the knees deeply and standing up again"),
    ],
)
def test_sentences_are_english(name: str, sentence: str) -> None:
    assert sentence in texts(name)


def test_descriptions_become_sentences() -> None:
    actual = texts("squats", ("A man bends  his knees. He\nrises!", "squat", "", "1. 2. 3."))
    assert actual[0] == "squat"
    assert actual.count("squat") == 1
    assert {"A man bends his knees.", "He rises!", "squat: A man bends his knees."} <= set(actual)
    assert not any(text.startswith("1") for text in actual)


def test_long_texts_are_cut() -> None:
    actual = texts("squat " * 100, ("word " * 1000,))
    assert len(actual[0].split()) == LONGEST_TITLE
    assert max(len(text.split()) for text in actual) <= LONGEST_TEXT + LONGEST_TITLE


def test_real_exercises_have_distinct_titles() -> None:
    path = data_root() / "free_exercise_db" / "exercises.json"
    if not path.is_file():
        pytest.skip(f"free_exercise_db is not under {data_root()}: set MUJO_DATA")
    names = [entry["name"] for entry in json.loads(path.read_text())]
    titles = {normalize_title(name) for name in names}
    assert len(titles) == len(names) - 1  # "Squats - With Bands" and "Squat with Bands"
    assert all(len(texts(name)) >= 4 for name in names)


@pytest.mark.parametrize("words", [MEANINGS, NAMESAKES])
def test_synonyms_and_meanings_have_normalized_titles(words: dict[str, str]) -> None:
    assert [title for title in words if normalize_title(title) != title] == []
    assert all(words[title] in texts(title) for title in words)

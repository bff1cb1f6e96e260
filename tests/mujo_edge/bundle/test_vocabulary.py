"""Vocabulary: activity names match in any spelling, and unknown names are errors with suggestions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import INFO, NAMES, SPEC, bundle, chunked, label_set, motion, vocabulary, write_bundle
from hypothesis import example, given
from hypothesis import strategies as st

from mujo_edge.bundle import sentence_embedding as text
from mujo_edge.bundle.labels import BACKGROUND, Label
from mujo_edge.bundle.manifest import Manifest, read_manifest, write_manifest
from mujo_edge.bundle.vocabulary import NEVER, TEXT_DIM, key
from mujo_edge.core import UNKNOWN, DataError, StreamInfo, UsageError
from mujo_edge.recognizer import Recognizer


@pytest.fixture
def manifest() -> Manifest:
    return replace(bundle().manifest, vocabulary=vocabulary())


@pytest.fixture
def no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the extra `text` were not installed."""
    monkeypatch.setattr(text, "find_spec", lambda name: None)
    text._model.cache_clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle on disk that knows names."""
    return write_bundle(tmp_path / "axis", vocabulary())


def rewrite(folder: Path, **changes: object) -> None:
    table = json.loads((folder / "bundle.json").read_text())
    for name in ("schema_version", "sha256", "files"):
        table.pop(name)
    write_manifest(folder, table | changes)


def test_background_makes_windows_unknown_in_a_set_of_names(tmp_path: Path) -> None:
    words = f"{NAMES[0].name}, {NAMES[2].name}"  # the second one was never trained
    plain = replace(bundle().manifest, vocabulary=vocabulary())
    outside = label_set(
        "outside", labels=(Label("walking"), Label(BACKGROUND)), prototypes=np.eye(3, dtype=np.float32)[:2]
    )
    trained = replace(plain, label_sets={**plain.label_sets, "outside": outside})
    embeddings = np.eye(3, dtype=np.float32)
    for manifest, rejects in ((plain, False), (trained, True)):
        labels = manifest.labels(words)
        chosen = [labels.names[i] for i in labels.probabilities(embeddings).argmax(1)]
        assert (chosen[0], chosen[2]) == (NAMES[0].name, NAMES[2].name)
        assert (chosen[1] == UNKNOWN) == rejects
        assert ("no unknown" in labels.note) == (not rejects)
    with pytest.raises(UsageError, match="made of names"):
        trained.labels(words).save(tmp_path / "mine.json")


@pytest.mark.parametrize(
    "ways",
    [
        ("push-up", "Push Up", "PUSHUPS", "push ups", "a push–up", "the push_up"),
        ("biceps curl", "Bicep Curls", "the biceps-curl"),
        ("chest fly", "Chest Flyes", "chest flies", "chest-flye"),
        ("bench press", "Bench Presses"),
        ("stretch", "stretches"),
        ("3/4 sit-up", "3/4 Sit-Ups"),
        ("Übung", "ubung"),
    ],
    ids=lambda ways: ways[0],
)
def test_spellings_of_a_name_share_a_key(ways: tuple[str, ...]) -> None:
    assert len({key(words) for words in ways}) == 1


@pytest.mark.parametrize("pair", [("squat", "split squat"), ("run", "row"), ("press", "pres"), ("walk", "walking")])
def test_different_names_have_different_keys(pair: tuple[str, str]) -> None:
    assert key(pair[0]) != key(pair[1])


@given(st.text(max_size=40))
@example("ﬀ ß 走る \u0301\x00")
def test_any_text_has_a_key_that_ignores_case(words: str) -> None:
    assert key(words) == key(f"  {words}! ")
    assert not set(key(words)) & set(" -_'")


def test_names_become_a_label_set(manifest: Manifest) -> None:
    labels = manifest.labels("Star Jumps, push ups")
    assert labels.names == ("Star Jumps", "push ups", UNKNOWN)
    np.testing.assert_array_equal(labels.prototypes, np.eye(3)[[1, 0]])
    assert (labels.temperature, labels.unknown_threshold, labels.channels) == (0.05, 0.8, 6)
    assert labels.labels[0].prompts == ("jumping jack", "star jump")
    assert labels.note == ""


def test_untrained_name_gives_a_note_and_has_no_unknown(manifest: Manifest) -> None:
    labels = manifest.labels("push-up,plank")
    assert labels.unknown_threshold == NEVER
    assert "never seen in training: plank; expect mistakes, and no unknown" in labels.note
    assert "push-up" not in labels.note
    far = -np.eye(3, dtype=np.float32)
    assert not (labels.probabilities(far).argmax(1) == 2).any()


def test_label_sets_take_precedence(manifest: Manifest) -> None:
    own = replace(manifest, label_sets={"plank": label_set("plank")}, default_label_set="plank")
    assert own.labels("plank") is own.label_sets["plank"]
    assert own.labels() is own.label_sets["plank"]


def test_misspelled_label_set_is_not_an_activity(manifest: Manifest) -> None:
    with pytest.raises(UsageError, match="no label set 'axs'; it has: axes"):
        manifest.labels("axs")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "no labels were given"),
        (" , ,", "no labels were given"),
        ("push-up,unknown", "'unknown' cannot be a label"),
        ("push-up,?!", "cannot be a label"),
        ("push-up,press up", "'push-up' and 'press up' are one activity"),
        ("dance,the dances", "are one activity"),
    ],
)
def test_invalid_names_are_errors(manifest: Manifest, words: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        manifest.labels(words)
    assert len(str(raised.value).splitlines()) <= 2


@pytest.mark.usefixtures("no_text")
def test_unknown_words_without_the_extra_suggest_names(manifest: Manifest) -> None:
    with pytest.raises(UsageError) as raised:
        manifest.labels("jumping jac, push-up, zumba")
    message = str(raised.value)
    assert "'jumping jac' (near: jumping jack)" in message
    assert "'zumba' (near: nothing)" in message
    assert "pip install" in message
    assert "label sets axes" in message
    assert len(message.splitlines()) == 2


def test_unknown_words_are_embedded_and_projected(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    known = vocabulary()
    vectors = np.random.default_rng(1).normal(size=(2, TEXT_DIM)).astype(np.float32)
    asked: list[str] = []
    monkeypatch.setattr(text, "embed", lambda words: (asked.extend(words), vectors)[1])
    labels = manifest.labels("zumba, plank, jumping jac")
    assert asked == ["zumba", "jumping jac"]
    expected = vectors @ known.weight.T + known.bias
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(labels.prototypes, np.stack([expected[0], [0, 0, 1], expected[1]]), atol=1e-6)
    assert "zumba, plank, jumping jac (or jumping jack?);" in labels.note


def test_bundle_without_vocabulary_has_its_label_sets(manifest: Manifest) -> None:
    bare = replace(manifest, vocabulary=None)
    assert bare.labels("axes").name == "axes"
    with pytest.raises(UsageError, match="no label set 'push-up'; it has: axes"):
        bare.labels("push-up")


def test_similar_names_are_suggested() -> None:
    assert [name.name for name in vocabulary().near("jump")] == ["jumping jack"]
    assert [name.name for name in vocabulary().near("up", 1)] == ["push-up"]
    assert [name.name for name in vocabulary().near("planck")] == ["plank"]
    assert vocabulary().near("xyzzy") == []


def test_stream_is_recognized_with_named_activities(manifest: Manifest) -> None:
    model = replace(bundle(), manifest=manifest)
    worn = replace(INFO, placement="wrist")
    recognizer = Recognizer(model, worn, "press-up,star jump,plank")
    actual = [p for chunk in chunked(*motion([0, 1, 2], 6.0)) for p in recognizer.update(chunk)]
    assert [label for i, label in enumerate(p.raw_label for p in actual) if i in (0, 15, 30)] == [
        "press-up",
        "star jump",
        "plank",
    ]
    assert [note for note in recognizer.stats.notes if "plank" in note]
    assert not [note for note in recognizer.stats.notes if "worn at" in note]
    assert {label for label, _ in model.classify(motion_window(), "plank, push-up")} == {"push-up"}


def motion_window() -> np.ndarray:
    _, x, _ = motion([0], SPEC.window / SPEC.rate_hz)
    return x.T[None]


def test_vocabulary_round_trips(folder: Path) -> None:
    actual, expected = read_manifest(folder).vocabulary, vocabulary()
    assert actual is not None
    assert actual.names == NAMES
    np.testing.assert_allclose(actual.prototypes, expected.prototypes, atol=1e-3)
    np.testing.assert_array_equal(actual.weight, expected.weight)
    np.testing.assert_array_equal(actual.bias, expected.bias)
    assert (actual.temperature, actual.unknown_threshold) == (0.05, 0.8)


@pytest.mark.parametrize(
    "change",
    [
        {"prototypes": np.full((3, 3), np.nan)},
        {"prototypes": 2 * np.eye(3)},
        {"prototypes": np.eye(3)[:2]},
        {"weight": np.zeros((3, 7))},
        {"weight": np.full((3, TEXT_DIM), np.inf)},
        {"bias": np.zeros(4)},
        {"bias": np.array([{}, {}, {}])},
    ],
    ids=["nan", "length", "count", "shape", "infinite", "bias", "pickle"],
)
def test_invalid_arrays_are_rejected(folder: Path, change: dict[str, np.ndarray]) -> None:
    path = folder / "vocabulary" / "arrays.npz"
    with np.load(path) as arrays:
        good = dict(arrays)
    np.savez(path, **good | change)
    rewrite(folder)
    with pytest.raises(DataError, match=r"bundle\.json"):
        read_manifest(folder)


@pytest.mark.parametrize(
    "entry",
    [
        {"names": 4, "temperature": 0.1, "unknown_threshold": 0.5},
        {"names": 3, "temperature": 0, "unknown_threshold": 0.5},
        {"names": 3, "temperature": 0.1},
        {"names": 3, "temperature": "warm", "unknown_threshold": 0.5},
        [1, 2],
    ],
    ids=["count", "temperature", "missing", "text", "list"],
)
def test_invalid_entry_is_rejected(folder: Path, entry: object) -> None:
    rewrite(folder, vocabulary=entry)
    with pytest.raises(DataError, match=r"bundle\.json"):
        read_manifest(folder)


@pytest.mark.parametrize("content", [b"", b"[1]", b"{}", b'[{"name": "a"}]', b"\xff"])
def test_invalid_vocabulary_names_are_rejected(folder: Path, content: bytes) -> None:
    (folder / "vocabulary" / "names.json").write_bytes(content)
    rewrite(folder)
    with pytest.raises(DataError, match=r"bundle\.json"):
        read_manifest(folder)


@pytest.mark.parametrize("name", ["names.json", "arrays.npz"])
def test_missing_or_changed_file_is_named(folder: Path, name: str) -> None:
    path = folder / "vocabulary" / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(DataError, match=name):
        read_manifest(folder)
    path.unlink()
    with pytest.raises(DataError, match=name):
        read_manifest(folder)


def test_unknown_label_set_of_a_stream_gives_the_default(manifest: Manifest) -> None:
    """A recording that was annotated with names keeps playing in a bundle that has other sets."""
    info = StreamInfo("made", INFO.channels, 50.0, labels="push-up,plank")
    assert Recognizer(replace(bundle(), manifest=manifest), info).labels.name == "axes"

"""Golden streams, the reference of the other languages: every kind of event, and an exact round trip."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mujo_edge.bundle import ModelBundle
from mujo_edge.core import Chunk, Gap, Prediction
from mujo_edge.export import golden
from mujo_edge.recognizer import Recognizer
from mujo_edge.recordings.reader import open_recording


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return ModelBundle.load()


@pytest.fixture(scope="module")
def cases(bundle: ModelBundle) -> tuple[golden.Case, ...]:
    return golden.cases(bundle, bundle.manifest.label_set())


def test_cases_cover_all_smoothing_methods_and_gap_reasons(cases: tuple[golden.Case, ...]) -> None:
    assert {case.labels.smoothing.method for case in cases} == {"hmm", "majority", "none"}
    reasons = {event.reason for case in cases for event in case.events if isinstance(event, Gap)}
    assert reasons == {"missing", "invalid", "clock", "constant"}
    assert {len(case.info.channels) for case in cases} == {3, 6}
    assert any(case.info.rate_hz is None for case in cases)
    assert all(len({p.label for p in case.predictions}) > 1 for case in cases if case.name in ("even", "fast", "slow"))


def test_each_prediction_has_its_window(cases: tuple[golden.Case, ...], bundle: ModelBundle) -> None:
    for case in cases:
        assert len(case.predictions) == len(case.windows) == len(case.embeddings) > 5
        again = bundle.runtime.run(np.ascontiguousarray(case.windows[:, :, None]))
        again /= np.linalg.norm(again, axis=1, keepdims=True)
        np.testing.assert_array_equal(case.embeddings, again)


def test_golden_files_round_trip_bit_for_bit(cases: tuple[golden.Case, ...], tmp_path: Path) -> None:
    golden.write(tmp_path / "golden", cases)
    for case in cases:
        recording = open_recording(tmp_path / "golden" / f"{case.name}.samples.csv", None)
        chunks = list(recording.chunks(1 << 18))
        np.testing.assert_array_equal(np.concatenate([chunk.t_s for chunk in chunks]), case.t_s)
        np.testing.assert_array_equal(np.concatenate([chunk.x for chunk in chunks]), case.x)
        read = np.fromfile(tmp_path / "golden" / f"{case.name}.windows.f32", "<f4").reshape(case.windows.shape)
        np.testing.assert_array_equal(read, case.windows)


@pytest.mark.parametrize("size", [1, 7, 100])
def test_any_split_of_a_stream_gives_the_same_events(
    cases: tuple[golden.Case, ...], bundle: ModelBundle, size: int
) -> None:
    for case in cases:
        own = replace(bundle, manifest=replace(bundle.manifest, label_sets={case.labels.name: case.labels}))
        recognizer = Recognizer(own, case.info, case.labels.name)
        events: list[Prediction | Gap] = []
        for start in range(0, len(case.t_s), size):
            part = slice(start, start + size)
            events += recognizer.classify(recognizer.cut(Chunk(case.t_s[part], case.x[part], 0.0)))
        assert list(map(fields, events)) == list(map(fields, case.events))


def fields(event: Prediction | Gap) -> tuple[object, ...]:
    """Fields of an event; scores are rounded, as they depend slightly on the batch size."""
    if isinstance(event, Gap):
        return (event.start_s, event.end_s, event.reason)
    return (event.end_s, event.label, event.raw_label, round(event.score, 4))

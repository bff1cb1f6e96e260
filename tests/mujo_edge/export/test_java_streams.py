"""The Java pipeline on streams with every fault: events and counts equal those of Python."""

import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from java_reference import JAVA, java, with_probe

from mujo_edge.bundle import ModelBundle
from mujo_edge.bundle.manifest import Smoothing
from mujo_edge.core import CHANNELS, F32, F64, Chunk, Gap, StreamInfo
from mujo_edge.export import Job, android, contract, golden
from mujo_edge.recognizer import Recognizer


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return ModelBundle.load()


class Shifted:
    """The model of `Probe`: the first values of the window, moved a little."""

    name = "shifted"
    input_shape = (1, 6, 1, 150)
    output_shape = (1, 96)

    def run(self, x: F32) -> F32:
        return x.reshape(len(x), -1)[:, :96] + np.float32(0.01) * (np.arange(96) % 3).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Stream:
    """Samples `t_s` (n,), `x` (n, C), their stream info, and the label set to use."""

    info: StreamInfo
    labels: str
    method: str
    t_s: F64
    x: F32


def stream(seed: int) -> Stream:
    """Any rate and start, and every fault in some of the samples."""
    rng = np.random.default_rng(seed)
    rate_hz = float(rng.choice([5.0, 12.5, 16.0, 16.0, 26.0, 33.3, 49.0, 50.0, 52.0, 104.0, 400.0]))
    n, channels = int(rate_hz * rng.uniform(4, 30)), int(rng.choice([3, 6]))
    t_s = float(rng.choice([0.0, -3.75, 1e5, 1.7e9])) + np.arange(n) / rate_hz
    t_s += rng.normal(0, 0.1, n) / rate_hz * (rate_hz != 16) * rng.integers(0, 2)
    x = np.cumsum(rng.normal(0, 1, (n, channels)), 0) + rng.normal(0, 20, (n, channels))
    x = x.astype(np.float32)
    for _ in range(rng.integers(0, 6)):
        at, length = int(rng.integers(1, n - 1)), int(rng.integers(1, n // 2))
        fault = rng.integers(12)
        if fault == 0:
            x[at, rng.integers(channels)] = rng.choice([np.nan, np.inf, -np.inf, 3e38, 1000.5, -101.0])
        elif fault == 1:
            t_s[at] = rng.choice([np.nan, np.inf, -np.inf, 1e300, -2e10])
        elif fault == 2:
            t_s[at:] += rng.uniform(0, 3)
        elif fault == 3:
            t_s[at:] -= rng.uniform(0, 30)
        elif fault == 4:
            x[at : at + length] = x[at]
        elif fault == 5:
            x[at : at + length, :2] = x[at, :2]
        elif fault == 6:
            x[at : at + length] = np.nan
        elif fault == 7:
            t_s, x, n = np.delete(t_s, slice(at, at + 3)), np.delete(x, slice(at, at + 3), 0), len(t_s[at + 3 :]) + at
        elif fault == 8:
            t_s[at : at + 2] = t_s[at : at + 2][::-1]
        elif fault == 9:
            t_s[at] = t_s[at - 1] + 50e-6
        else:  # bit-equal for the remaining samples, at 16 Hz
            t_s[at:] += 0.25 - 1 / 16 if fault == 10 else -0.25 - 1 / 16
    known = [None, rate_hz, rate_hz * 1.02, rate_hz * 1.3][rng.integers(4)]
    labels, method = str(rng.choice(["three", "six"])), str(rng.choice(["hmm", "majority", "none"]))
    return Stream(StreamInfo(str(seed), CHANNELS[:channels], known), labels, method, t_s, x)


def sent(streams: list[Stream], batch: int = 0) -> bytes:
    """As `Probe` reads them."""
    parts = [struct.pack(">i", len(streams))]
    for one in streams:
        rows = np.empty(len(one.t_s), [("t", ">f8"), ("x", ">f4", one.x.shape[1])])
        rows["t"], rows["x"] = one.t_s, one.x
        parts.append(struct.pack(">id", one.x.shape[1], one.info.rate_hz or 0))
        parts += [struct.pack(">H", len(name)) + name.encode() for name in (one.labels, one.method)]
        parts.append(struct.pack(">ii", batch, len(rows)) + rows.tobytes())
    return b"".join(parts)


@dataclass(frozen=True, slots=True)
class Pair:
    """`Probe`, and Python with the same model and label sets, of which every label and none wins now and then."""

    probe: str
    properties: Path
    bundle: ModelBundle

    def java(self, streams: list[Stream], batch: int = 0) -> list[list[str]]:
        command = ["java", "-cp", self.probe, "edge.mujo.Probe", "streams", self.properties]
        done = subprocess.run(command, input=sent(streams, batch), capture_output=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return [line.split("\t") for line in done.stdout.decode().splitlines()]

    def python(self, one: Stream) -> Iterator[list[object]]:
        labels = replace(self.bundle.label_sets[one.labels], smoothing=Smoothing(one.method, 0.8, 5))
        manifest = replace(self.bundle.manifest, label_sets={one.labels: labels})
        recognizer = Recognizer(replace(self.bundle, manifest=manifest), one.info, one.labels)
        for event in recognizer.classify(recognizer.cut(Chunk(one.t_s, one.x, 0.0))):
            if isinstance(event, Gap):
                yield ["gap", event.start_s, event.end_s, event.reason]
            else:
                scores = np.array(list(event.scores.values()))
                yield ["prediction", event.end_s, event.score, scores, event.embedding, event.label, event.raw_label]
        stats = recognizer.stats
        yield ["stats", stats.samples, stats.invalid, stats.repeated, stats.windows, stats.gaps]


@pytest.fixture(scope="module")
def pair(bundle: ModelBundle, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    six = replace(bundle.manifest.label_set(), name="six", temperature=0.02, unknown_threshold=0.1, channels=6)
    sets = {"six": six, "three": replace(six, name="three", channels=3)}
    own = ModelBundle(replace(bundle.manifest, label_sets=sets, default_label_set="six"), Shifted())
    path = tmp_path_factory.mktemp("pair") / "mujo.properties"
    path.write_text(android.properties(contract(Job(own, six, (), path.parent))))
    return Pair(with_probe(path.parent), path, own)


@JAVA
def test_hostile_streams_give_the_events_of_python(pair: Pair) -> None:
    streams = [stream(seed) for seed in range(500)]
    info = StreamInfo("empty", CHANNELS[:3], None)
    streams.append(Stream(info, "six", "hmm", np.empty(0), np.empty((0, 3), np.float32)))
    actual = pair.java(streams)
    expected = [line for one in streams for line in pair.python(one)]
    kinds = [line[3] if line[0] == "gap" else line[0] for line in expected]
    assert all(kinds.count(kind) > 20 for kind in ("prediction", "missing", "invalid", "clock", "constant"))
    labels = [line[5] for line in expected if line[0] == "prediction"]
    assert all(labels.count(name) > 20 for name in pair.bundle.manifest.label_set().names)
    assert [line[0] for line in actual] == [line[0] for line in expected]
    for line, row in zip(actual, expected, strict=True):
        for text, value in zip(line, row, strict=True):
            if isinstance(value, str):
                assert text == value
            else:
                np.testing.assert_allclose(np.array(text.split(), float), value, atol=1e-4, err_msg=str(line))


@pytest.fixture(scope="module")
def known(bundle: ModelBundle) -> list[Stream]:
    """The golden streams with a gyroscope and without a fault."""
    cases = golden.cases(bundle, bundle.manifest.label_set())
    whole = [case for case in cases if case.name in ("even", "slow", "measured")]
    return [Stream(case.info, "six", case.labels.smoothing.method, case.t_s, case.x) for case in whole]


@JAVA
@pytest.mark.parametrize("batch", [1, 7, 60])
def test_separate_gyroscope_gives_the_same_events(batch: int, pair: Pair, known: list[Stream]) -> None:
    assert pair.java(known, batch) == pair.java(known)


@JAVA
def test_samples_wait_at_most_5_s_for_the_gyroscope(pair: Pair, known: list[Stream]) -> None:
    short = replace(known[0], t_s=known[0].t_s[:200], x=known[0].x[:200])  # 4 s
    assert pair.java([short], batch=200) == pair.java([short])
    stats = pair.java(known[:1], batch=700)[-1]
    assert stats == ["stats", "700", "449", "0", "5", "0"]  # all more than 5 s before the newest are without rotation


@JAVA
def test_failed_model_restarts_the_stream(pair: Pair) -> None:
    done = java("edge.mujo.Probe", "fails", pair.properties, 4, path=pair.probe)
    assert done.returncode == 0, done.stderr
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert lines[3] == ["failed", "no memory"]
    assert lines[4][1].startswith("the model did not return 96 finite values")
    ends = [float(line[1]) for line in lines if line[0] == "prediction"]
    np.testing.assert_allclose(ends, [2.98, 3.48, 3.98, 10.48, 10.98, 11.48, 11.98])

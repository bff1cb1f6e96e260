"""The Python API: `recognize` with `for` and `async for`, the source functions, and the public names."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from fakes import AXES, ListSink, ListSource, bundle, chunked, label_set, motion

import mujo_edge
from firmware_bridge.simulator.board import Board, Line
from firmware_bridge.simulator.motion import rest, sine
from firmware_bridge.simulator.phone import SensorServerPhone
from mujo_edge import Gap, MujoError, Prediction, ble, phone, recognize, replay, serial
from mujo_edge.core import DataError, DeviceError, UsageError

MOTION = motion([0, 1, 2], 6.0)


def source(**options: object) -> ListSource:
    return ListSource(chunked(*MOTION), **options)  # type: ignore[arg-type]


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith(("mujo-edge", "recognizer"))}


def test_public_names_are_importable_and_documented() -> None:
    assert dir(mujo_edge) == sorted(mujo_edge.__all__)
    for name in mujo_edge.__all__:
        assert getattr(mujo_edge, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'recognise'"):
        mujo_edge.recognise  # noqa: B018


def test_import_is_light() -> None:
    script = "import sys, mujo_edge; print({'numpy', 'asyncio', 'bleak'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("package", ["mujo_edge", "firmware_bridge"])
def test_packages_are_marked_as_typed(package: str) -> None:
    assert (Path(mujo_edge.__file__).parents[1] / package / "py.typed").is_file()


def test_blocking_form_gives_every_prediction_and_the_summary() -> None:
    run = recognize(source(), bundle=bundle(), live=False)
    assert run.summary is None
    received = list(run)
    assert len(received) == 31
    assert {prediction.label for prediction in received if prediction.truth} == set(AXES)
    assert run.summary is not None
    assert (run.summary.ended, run.summary.tally.predictions) == ("end", 31)
    assert not threads()


def test_every_loop_starts_a_new_run() -> None:
    run = recognize(source(), bundle=bundle(), live=False)
    assert [p.end_s for p in run] == [p.end_s for p in run]


async def test_async_and_blocking_forms_agree_inside_a_running_loop() -> None:
    run = recognize(source(), bundle=bundle(), live=False)
    received = [prediction.end_s async for prediction in run]
    assert received == [prediction.end_s for prediction in recognize(source(), bundle=bundle(), live=False)]
    assert len(received) == 31


def test_leaving_the_loop_leaves_the_source_and_finishes_sinks() -> None:
    endless, sink = source(endless=True), ListSink()
    run = recognize(endless, bundle=bundle(), sinks=[sink])
    for prediction in run:
        assert isinstance(prediction, Prediction)
        break
    assert (endless.entered, endless.left) == (1, 1)
    assert [summary.ended for summary in sink.summaries] == ["interrupted"]
    assert run.summary is not None
    assert not threads()


async def test_canceled_task_leaves_the_source_and_finishes_sinks() -> None:
    endless, sink, first = source(endless=True), ListSink(), asyncio.Event()

    async def loop() -> None:
        async for _ in recognize(endless, bundle=bundle(), sinks=[sink]):
            first.set()

    task = asyncio.create_task(loop())
    await first.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert endless.left == 1
    assert len(sink.summaries) == 1


@pytest.mark.parametrize("error", [DeviceError("the device went away"), DataError("incomplete")])
async def test_errors_of_a_source_come_after_its_predictions(error: MujoError) -> None:
    received: list[Prediction] = []
    with pytest.raises(type(error), match=str(error)):
        received.extend(recognize(source(error=error), bundle=bundle(), live=False))
    assert len(received) == 31
    with pytest.raises(type(error), match=str(error)):
        [p async for p in recognize(source(error=error), bundle=bundle(), live=False)]


def test_error_of_a_users_sink_is_not_swallowed() -> None:
    class Broken(ListSink):
        def write(self, update: object) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(recognize(source(), bundle=bundle(), sinks=[Broken()], live=False))


def test_wrong_label_set_is_an_error_of_the_loop() -> None:
    with pytest.raises(UsageError, match="no label set 'nope'"):
        list(recognize(source(), "nope", bundle()))


def test_gaps_are_given_on_request() -> None:
    t_s, x, truth = MOTION
    t_s = np.where(np.arange(len(t_s)) < 400, t_s, t_s + 2.0)
    broken = ListSource(chunked(t_s, x, truth))
    assert not any(isinstance(event, Gap) for event in recognize(broken, bundle=bundle(), live=False))
    events = list(recognize(broken, bundle=bundle(), live=False, gaps=True))
    assert [event.reason for event in events if isinstance(event, Gap)] == ["missing"]


def test_slow_loop_over_a_file_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mujo_edge.api.FILE_LIMIT", 2)
    assert len(list(recognize(source(), bundle=bundle(), live=False))) == 31


def test_slow_loop_over_a_live_source_drops_predictions_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mujo_edge.api.LIVE_LIMIT", 2)
    sink = ListSink()
    run = recognize(source(), bundle=bundle(), sinks=[sink])
    events = iter(run)
    received = [next(events)]
    while not sink.summaries:
        threading.Event().wait(0.01)
    received += list(events)
    assert len(received) < len(sink.predictions)
    assert run.summary is not None
    assert f"{len(sink.predictions) - len(received)} were dropped" in run.summary.notes[-1]


def test_own_label_set_and_duration_are_respected() -> None:
    own = label_set("mine", labels=tuple(label_set().labels[:2]), prototypes=label_set().prototypes[:2])
    run = recognize(source(), own, bundle(), live=False, duration_s=9.0)
    assert {prediction.label for prediction in run} <= {"x up", "y up", "unknown"}
    assert run.summary is not None
    assert (run.summary.session.label_set, run.summary.ended) == ("mine", "duration")


def test_replay_without_a_path_is_the_shipped_recording() -> None:
    assert len(list(recognize(replay(), duration_s=10.0))) == 15


def test_bundle_shows_itself_in_one_line() -> None:
    assert repr(bundle()) == "<ModelBundle fake 1.0 in axis; label sets: axes (3)>"
    assert "/nowhere" in repr(bundle().manifest)
    shipped = mujo_edge.ModelBundle.load()
    objects = (shipped, shipped.manifest, shipped.manifest.vocabulary, *shipped.label_sets.values())
    assert all(len(repr(each)) < 250 for each in (*objects, mujo_edge.replay(), mujo_edge.ble("Polar")))
    assert set(mujo_edge.__all__) == set(dir(mujo_edge))


async def test_serial_reads_a_board(tmp_path: Path) -> None:
    async with Line(Board(rest, "csv", columns="ax_g,ay_g,az_g"), tmp_path / "board") as line:
        async for event in recognize(serial(line.port), bundle=bundle(), gaps=True):
            assert isinstance(event, Gap) or event.label == "z up"
            break


async def test_phone_reads_an_app() -> None:
    async with SensorServerPhone(sine).open() as url:
        async for prediction in recognize(phone("sensorserver", url=url), bundle=bundle()):
            assert prediction.label == "z up"
            break


async def test_ble_error_names_the_missing_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path / 'none'}")
    with pytest.raises(UsageError, match="there is no profile 'nope'"):
        [p async for p in recognize(ble(profile="nope"), bundle=bundle())]
    with pytest.raises(DeviceError, match="bluetoothd"):
        [p async for p in recognize(ble(), bundle=bundle())]

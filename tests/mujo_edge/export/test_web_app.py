"""The web app in headless Chromium: labels equal to Python, offline use, and stored sessions."""

from __future__ import annotations

import asyncio
import csv
import json
import re
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
from web_pages import opened, recorded

from benchmarks import chromium
from mujo_edge.bundle import ModelBundle
from mujo_edge.core import CHANNELS, F32, F64, Chunk, Gap, Prediction, StreamInfo
from mujo_edge.export import SUMS
from mujo_edge.files import sha256
from mujo_edge.recognizer import Recognizer
from mujo_edge.recordings.reader import open_recording
from mujo_edge.signal import interpolate

pytestmark = [
    pytest.mark.skipif(chromium.PATH is None, reason="Chromium is not installed"),
    pytest.mark.usefixtures("state"),
]

SET = "physio-wrist"


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return ModelBundle.load()


def in_python(bundle: ModelBundle, t_s: F64, x: F32, labels: str = SET) -> list[Prediction | Gap]:
    """Events of the Python recognizer for samples of unknown rate, as in the page."""
    recognizer = Recognizer(bundle, StreamInfo("phone", CHANNELS[: x.shape[1]], None), labels)
    return recognizer.classify(recognizer.cut(Chunk(t_s, x, 0.0)))


def equal(actual: list[dict[str, Any]], wanted: list[Prediction | Gap]) -> None:
    assert [event["kind"] for event in actual] == ["gap" if isinstance(one, Gap) else "prediction" for one in wanted]
    for event, one in zip(actual, wanted, strict=True):
        assert event["endS"] == pytest.approx(one.end_s, abs=1e-6)
        if isinstance(one, Gap):
            assert event["startS"] == pytest.approx(one.start_s, abs=1e-6)
            assert event["reason"] == one.reason
        else:
            assert (event["label"], event["rawLabel"]) == (one.label, one.raw_label)
            assert event["score"] == pytest.approx(one.score, abs=2e-3)
            assert np.abs(np.array(event["embedding"]) - one.embedding).max() < 1e-3


def same_labels(bundle: ModelBundle, file: Path, wanted: list[Prediction | Gap]) -> None:
    """Assert that `stream --replay` recognizes the same labels in an exported file."""
    recording = open_recording(file)
    again = Recognizer(bundle, recording.info, SET)
    replayed = [(one.label, one.raw_label) for chunk in recording.chunks() for one in again.update(chunk)]
    assert replayed == [(one.label, one.raw_label) for one in predictions(wanted)]


def predictions(events: list[Prediction | Gap]) -> list[Prediction]:
    return [event for event in events if isinstance(event, Prediction)]


async def test_labels_equal_python_offline_and_after_a_kill_and_export(
    site: Path, tmp_path: Path, bundle: ModelBundle
) -> None:
    t_s, x = recorded(14.0, 50.0)
    missing = (t_s > 30.0) & (t_s < 31.0)  # a gap
    t_s, x = t_s[~missing], x[~missing]
    wanted = in_python(bundle, t_s, x)
    assert len({one.label for one in predictions(wanted)}) >= 3
    assert [one.reason for one in wanted if isinstance(one, Gap)] == ["missing"]
    async with opened(site, tmp_path / "profile") as page:
        await page.start()
        await page.feed(t_s, x, pieces=20)
        actual = await page.wait_for_events(len(predictions(wanted)))
        equal(actual, wanted)
        assert await page.text("label") == predictions(wanted)[-1].label
        assert await page.text("percent") == f"{100 * predictions(wanted)[-1].score:.0f} %"
        assert await page.text("rate") == "50 Hz"
        assert await page.text("gaps") == "1"
        assert await page.text("samples") == f"{len(t_s):,}"
        assert await page.text("runtime") == "LiteRT.js"
        # Inference p50, in the page itself.
        assert re.fullmatch(r"\d+\.\d\d ms", await page.text("inference"))
        counted = await page.tab.run("[...document.querySelectorAll('#lanes li')].map((one) => one.innerText)")
        first = predictions(wanted)[0].label
        seconds = sum(one.label == first for one in predictions(wanted)) * 0.5
        assert counted[0].split("\n") == [first, f"0:{int(seconds + 0.5):02} · {bouts(wanted, first)}"]

        await page.says("offline", "ready")
        await page.tab.offline(True)
        kill = asyncio.create_task(page.tab.call("Page.crash"))  # never answered
        await asyncio.sleep(1.0)
        kill.cancel()
        await page.open()
        assert await page.text("runtime") == "LiteRT.js"
        [session] = await page.sessions(1)
        assert "interrupted, kept" in session
        assert f"0:{int(t_s[-1]):02} · {SET}" in session
        await page.start()
        await page.feed(t_s, x)
        equal(await page.wait_for_events(len(predictions(wanted))), wanted)
        await page.click("stop")
        newest, killed = await page.sessions(2)
        assert "interrupted" not in newest
        assert "interrupted" in killed

        files = [await page.saved(tmp_path / "stopped")]
        await page.tab.run("[...document.querySelectorAll('#sessions button')].at(-1).click()")
        await page.tab.until("document.getElementById('remove').open")
        await page.press("Keep")
        await page.sessions(2)
        await page.tab.run("document.querySelector('#sessions li button:last-child').click()")
        await page.press("Delete")
        [left] = await page.sessions(1)
        assert "interrupted" in left
        files.append(await page.saved(tmp_path / "killed"))
        assert not page.complaints("ERR_INTERNET_DISCONNECTED")
        assert not page.foreign_requests()
    for file in files:
        recording = open_recording(file)
        chunks = list(recording.chunks())
        assert recording.info.channels == CHANNELS
        assert recording.info.rate_hz == pytest.approx(50.0)
        assert all(chunk.truth is None for chunk in chunks)
        assert any("recognized_label" in note for note in recording.notes)
        np.testing.assert_allclose(np.concatenate([chunk.t_s for chunk in chunks]), t_s, atol=1e-9)
        np.testing.assert_allclose(np.concatenate([chunk.x for chunk in chunks]), x, rtol=1e-6)
        same_labels(bundle, file, wanted)
        exported = [line.rsplit(",", 2)[1:] for line in file.read_text().splitlines() if line[0] not in "#t"]
        ends = {round(one.end_s, 3): one for one in predictions(wanted)}
        for t, (label, score) in zip(t_s, exported, strict=True):
            if one := ends.get(round(float(t), 3)):
                assert label == one.label
                assert float(score) == pytest.approx(one.score, abs=2e-3)
        assert exported[0] == ["", ""]


def bouts(events: list[Prediction | Gap], label: str) -> str:
    shown = [event.label if isinstance(event, Prediction) else None for event in events]
    count = sum(one == label and before != label for before, one in zip([None, *shown], shown, strict=False))
    return f"{count} bout{'s' * (count != 1)}"


IPHONE = """
Object.defineProperty(Navigator.prototype, "vendor", { get: () => "Apple Computer, Inc." });
DeviceMotionEvent.requestPermission = async () => {
  window.asked = navigator.userActivation.isActive;
  return "granted";
};
"""


async def test_iphone_sign_is_inverted_and_permission_requested(
    site: Path, tmp_path: Path, bundle: ModelBundle
) -> None:
    """Its samples come 60 times a second, at full milliseconds; that rate is measured, here as in the replay."""
    even_s, even = recorded(30.0, 21.0)
    t_s = np.round(np.arange(20 * 60) / 60, 3)
    x = interpolate(t_s, even_s, even.astype(np.float64)).astype(np.float32)
    wanted = in_python(bundle, t_s, x)
    assert len({one.label for one in predictions(wanted)}) > 1
    async with opened(site, tmp_path / "profile", IPHONE) as page:
        await page.start()
        await page.feed(t_s, x, sign=-1)
        equal(await page.wait_for_events(len(wanted)), wanted)
        assert await page.tab.run("asked") is True
        assert await page.text("rate") == "60 Hz"
        await page.click("stop")
        same_labels(bundle, await page.saved(tmp_path / "csv"), wanted)


async def test_device_without_gyroscope_other_runtime_and_label_set_work(
    site: Path, tmp_path: Path, bundle: ModelBundle
) -> None:
    t_s, x = recorded(30.0, 12.0)
    async with opened(site, tmp_path / "profile") as page:
        await page.tab.call("Network.setBlockedURLs", urls=["*litert_wasm*"])
        await page.tab.run("navigator.serviceWorker.getRegistration().then((one) => one.unregister())")
        await page.open()
        assert await page.text("runtime") == "ONNX Runtime Web"
        await page.start()
        await page.feed(t_s, x[:, :3])
        wanted = predictions(in_python(bundle, t_s, x[:, :3]))
        actual = await page.wait_for_events(len(wanted))
        assert [event["label"] for event in actual] == [one.label for one in wanted]
        assert await page.text("rate") == "50 Hz, no gyroscope"
        await page.click("stop")
        file = await page.saved(tmp_path / "acc")
        assert open_recording(file).info.channels == CHANNELS[:3]

        # gym-wrist uses only the accelerometer; the recording still has all channels of the phone.
        await page.tab.run("document.getElementById('set').value = 'gym-wrist'")
        await page.tab.run("document.getElementById('set').dispatchEvent(new Event('change'))")
        await page.says("set-about", "Worn at the wrist: lateral raise")
        await page.start()
        assert await page.tab.run("getComputedStyle(document.getElementById('choose')).display") == "none"
        await page.feed(t_s, x)
        wanted = predictions(in_python(bundle, t_s, x[:, :3], "gym-wrist"))
        actual = await page.wait_for_events(len(wanted))
        assert [event["label"] for event in actual] == [one.label for one in wanted]
        await page.click("stop")
        await page.sessions(2)
        file = await page.saved(tmp_path / "gym")
        assert open_recording(file).info.channels == CHANNELS
        assert "--labels gym-wrist" in file.read_text()
        await page.open()
        assert await page.tab.run("document.getElementById('set').value") == "gym-wrist"


async def test_session_can_be_paused_and_renamed_and_full_storage_is_reported(
    site: Path, tmp_path: Path, bundle: ModelBundle
) -> None:
    t_s, x = recorded(60.0, 20.0)
    first, second = t_s < 8.0, t_s >= 12.0
    present = first | second
    wanted = in_python(bundle, t_s[present], x[present])
    async with opened(site, tmp_path / "profile") as page:
        await page.start()
        await page.feed(t_s[first], x[first])
        await page.wait_for_events(1)
        await page.press("Pause")
        assert await page.text("label") == "Paused"
        await page.feed(t_s[~present], x[~present])
        await page.press("Resume")
        await page.tab.run("""
            window.put = IDBObjectStore.prototype.put;
            IDBObjectStore.prototype.put = () => { throw new DOMException("No room.", "QuotaExceededError") };
        """)
        await page.feed(t_s[second], x[second])
        equal(await page.wait_for_events(len(predictions(wanted))), wanted)
        await page.says("problem", "cannot be stored now: No room.")
        await page.tab.run("IDBObjectStore.prototype.put = put")
        await page.tab.until("document.getElementById('problem').hidden")
        await page.click("stop")
        await page.sessions(1)

        await page.press("Rename")
        await page.tab.until("document.getElementById('rename').open")
        await page.tab.call("Input.insertText", text='arm day, "slow"')
        await page.key("Enter", 13, "\r")
        await page.tab.until("document.querySelector('#sessions h3').textContent.startsWith('arm day')")
        file = await page.saved(tmp_path / "csv")
        assert file.name == "arm-day-slow-.csv"
        recording = open_recording(file)
        chunks = list(recording.chunks())
        np.testing.assert_allclose(np.concatenate([chunk.t_s for chunk in chunks]), t_s[present], atol=1e-9)
        same_labels(bundle, file, wanted)


async def test_new_version_is_cached_completely_and_used_on_request(site: Path, tmp_path: Path) -> None:
    folder = Path(copytree(site, tmp_path / "site"))
    async with opened(folder, tmp_path / "profile") as page:
        await page.says("offline", "ready")
        # Not whole: the old one stays.
        changed(folder, "edition-2")
        (folder / "mujo.json").write_text("{}")
        await page.tab.reload()
        await page.ready()
        await page.tab.run("navigator.serviceWorker.getRegistration().then((one) => one.update()).catch(() => null)")
        # Attempts run in sequence: the last one has ended when no worker is being installed.
        await page.tab.until("navigator.serviceWorker.getRegistration().then((one) => !one.installing)")
        assert await page.tab.run("caches.keys().then((names) => names.length)") == 1
        assert await page.tab.run("document.getElementById('update').hidden")
        # Whole.
        (folder / "mujo.json").write_bytes((site / "mujo.json").read_bytes())
        changed(folder, "edition-3")
        await page.tab.reload()
        await page.ready()
        await page.tab.until("!document.getElementById('update').hidden")
        assert await page.tab.run("document.title") == "mujo-edge"
        await page.tab.run("window.before = true")
        await page.click("update-now")
        await page.tab.until("document.title === 'edition-3' && !window.before")
        await page.ready()
        await page.tab.until(
            "caches.keys().then(([name, ...more]) => !!name && name.endsWith('edition-3') && !more.length)"
        )


def changed(folder: Path, edition: str) -> None:
    """Another edition of a web folder, as another export would be."""
    index, worker = folder / "index.html", folder / "sw.js"
    index.write_text(re.sub("<title>.*</title>", f"<title>{edition}</title>", index.read_text()))
    worker.write_text(re.sub(r"=`(edition-\d|[0-9a-f]{16})`", f"=`{edition}`", worker.read_text()))
    assert edition in worker.read_text()
    sums = folder / SUMS
    names = [line[66:] for line in sums.read_text().splitlines()]
    sums.write_text("".join(f"{sha256(folder / name)}  {name}\n" for name in names))


WRONG = {
    "Object.defineProperty(window, 'isSecureContext', {value: false})": "opened with https",
    "delete window.DeviceMotionEvent": "has no motion events",
    "DeviceMotionEvent.requestPermission = async () => 'denied'": "was refused",
    "DeviceMotionEvent.requestPermission = async () => { throw new Error('not now') }": "not now",
    "addEventListener('devicemotion', (event) => event.stopImmediatePropagation())": "There are no motion events",
}
"""Scripts that break a browser feature, and the message of the page."""


async def test_errors_are_shown_on_the_page(site: Path, tmp_path: Path) -> None:
    async with opened(site, tmp_path / "profile") as page:
        for before, message in WRONG.items():
            await page.open(before)
            await page.click("start")
            await page.says("problem", message)
            assert await page.tab.run("document.getElementById('problem').checkVisibility()")
            silent = message.startswith("There are no motion")
            assert await page.text("label") == ("No samples" if silent else "Ready")
            assert await page.text("phase") == ("no samples" if silent else "ready")
            assert await page.tab.run("document.getElementById('sample').checkVisibility()")
            assert not await page.tab.run("document.getElementById('start').disabled && !start.hidden")


async def test_device_without_sensor_plays_the_sample(site: Path, tmp_path: Path) -> None:
    golden = csv.DictReader((site / "golden" / "even.events.csv").read_text().splitlines())
    wanted = [row["label"] for row in golden]
    async with opened(site, tmp_path / "profile") as page:
        await page.tab.run("document.getElementById('set').value = 'daily-pocket'")
        await page.start()
        await page.press("Play the sample")
        await page.tab.until("document.getElementById('phase').textContent === 'running'")
        assert await page.tab.run("document.getElementById('set').value") == "physio-wrist"
        actual = await page.wait_for_events(len(wanted))
        assert [event["label"] for event in actual] == wanted
        await page.says("label", "Sample is over")
        assert await page.text("phase") == "ready"
        assert await page.text("sessions-none") != ""
        await page.sessions(0)
        assert not page.complaints()


async def test_late_samples_clear_the_warning(site: Path, tmp_path: Path) -> None:
    t_s, x = recorded(40.0, 6.0)
    async with opened(site, tmp_path / "profile") as page:
        await page.start()
        await page.says("phase", "no samples")
        await page.feed(t_s, x)
        await page.wait_for_events(1)
        assert await page.text("phase") == "running"
        assert await page.tab.run("document.getElementById('sample').hidden")


async def test_label_sets_have_titles_and_documents_are_pages(site: Path, tmp_path: Path) -> None:
    async with opened(site, tmp_path / "profile") as page:
        offered = await page.tab.run("[...document.querySelectorAll('#set option')].map((one) => one.textContent)")
        assert "Shoulder exercises, wrist (7 labels)" in offered
        for name in ("MODEL_CARD", "LICENSES"):
            await page.tab.open(f"{page.server.url}{name}.html")
            assert await page.tab.run("document.querySelectorAll('h1').length") == 1
            assert await page.tab.run("document.querySelectorAll('table').length") > 0
            assert "license_name:" not in await page.tab.run("document.body.textContent")
        assert not page.complaints()


async def test_landscape_phone_shows_more_than_the_label(site: Path, tmp_path: Path) -> None:
    async with opened(site, tmp_path / "profile") as page:
        await page.size(844, 390)
        places = await page.tab.run(
            "[...document.querySelectorAll('main > section')].map((one) => one.getBoundingClientRect())"
            ".map(({ left, top }) => [left, top])"
        )
        assert [left for left, _ in places[1:]] == [places[1][0]] * (len(places) - 1)
        assert places[1][0] > 400
        assert all(top < 390 for _, top in places[:2])
        await page.size(320, 568)
        columns = await page.tab.run(
            "getComputedStyle(document.querySelector('dl')).gridTemplateColumns.split(' ').length"
        )
        assert columns == 2


async def test_damaged_folder_and_missing_storage_are_reported(site: Path, tmp_path: Path) -> None:
    folder = Path(copytree(site, tmp_path / "site"))
    async with opened(folder, tmp_path / "profile") as page:
        await page.tab.run("navigator.serviceWorker.getRegistration().then((one) => one.unregister())")
        await page.open(
            "IDBFactory.prototype.open = () => { throw new Error('no storage here') };"
            "ServiceWorkerContainer.prototype.register = async () => { throw new Error('An SSL certificate error') }"
        )
        assert await page.text("offline") == "not saved: An SSL certificate error"
        assert "no storage here" in await page.text("sessions-none")
        t_s, x = recorded(40.0, 6.0)
        await page.start()
        await page.feed(t_s, x)
        assert len(await page.wait_for_events(6)) >= 6
        for content, message in (
            ("{}", "schema version undefined"),
            ("[]", "schema version none"),
            ("{", "JSON"),
            (json.dumps(json.loads((site / "mujo.json").read_text()) | {"models": []}), "lists no model file"),
        ):
            (folder / "mujo.json").write_text(content)
            await page.tab.run("navigator.serviceWorker.getRegistration().then((one) => one?.unregister())")
            await page.open()
            assert await page.text("label") == "Not working"
            assert message in await page.text("problem")
            assert await page.tab.run("document.getElementById('start').disabled")

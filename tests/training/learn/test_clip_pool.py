"""The pool of clips: aligned modalities, sampling, and bad input."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_clips import FEATURES, TITLES, made_clip, made_clips
from torch import Tensor

from mujo_edge.core import DataError
from mujo_edge.signal import InputSpec, prepare, segment_windows
from training.fimad.clip import JOINTS, Clip
from training.learn.augment import AugmentConfig
from training.learn.clip_pool import ClipPool, DrawConfig, change_pose, make_clip_pool
from training.learn.sensor_noise import SensorConfig

SPEC = InputSpec()
IDEAL = SensorConfig(0, 0, lowpass_probability=0, bias_mps2=0, bias_radps=0, noise_mps2=0, noise_radps=0, ranges=False)
STILL = DrawConfig(
    sensor=IDEAL,
    imu=AugmentConfig(0, 0, 0, 0, 0, 0, 0),
    size=0,
    joint_noise_m=0,
    joint_drop_probability=0,
    flatten_probability=0,
)


def clock_clip(seconds: float, number: int = 0, title: str = "squat", **changes) -> Clip:
    """A clip whose arrays encode time: seconds/10 in the IMU's ax (g), meters of z, the first feature."""
    t = {name: np.arange(round(seconds * rate)) / rate for name, rate in (("imu", 50), ("pose", 25), ("video", 4))}
    pose = np.zeros((len(t["pose"]), len(JOINTS), 3), np.float32)
    pose[..., 2] = t["pose"][:, None]
    imu = np.zeros((len(t["imu"]), 6), np.float32)
    imu[:, 0] = t["imu"] / 10 * 9.80665
    video = np.zeros((len(t["video"]), FEATURES), np.float32)
    video[:, 0] = t["video"]
    arrays = {"pose": pose, "imu": {"right_wrist": imu}, "video": video}
    return made_clip(title, number, **arrays | changes)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def times(inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Seconds of the clip at each sample of IMU, pose and video."""
    return inputs["imu"][:, 0, 0] * 10, inputs["pose"][:, :, 0, 2], inputs["video"][:, :, 0]


def test_all_modalities_of_a_window_show_the_same_seconds():
    pool = make_clip_pool([clock_clip(20.0, i) for i in range(8)], SPEC)
    _, drawn = pool.draw(64, STILL, generator())
    imu, pose, video = times(drawn.inputs)
    assert (imu.shape, pose.shape, video.shape) == ((64, 150), (64, 75), (64, 12))
    assert imu[:, 0].unique().numel() > 20, "at random times"
    assert imu.min() < 2
    assert imu.max() > 18
    torch.testing.assert_close(imu[:, ::2], pose, atol=1e-4, rtol=0)
    assert (video[:, 0] - pose[:, 0]).abs().max() <= 1 / 8 + 1e-4, "the nearest frame"
    torch.testing.assert_close(video[:, -1] - video[:, 0], torch.full((64,), 2.75))


@pytest.mark.parametrize("seconds", [0.52, 1.0, 2.96, 3.0])
def test_short_clip_is_one_padded_window_as_in_protocol_v1(seconds: float):
    clip = clock_clip(seconds)
    pool = make_clip_pool([clip], SPEC)
    _, drawn = pool.draw(1, STILL, generator())
    wanted = prepare(segment_windows(clip.imu["right_wrist"], 150).swapaxes(1, 2), SPEC)
    imu, pose, video = times(drawn.inputs)
    # The grid of the pose is 40 ms: its middle is within 20 ms of the middle.
    assert (imu - 10 * torch.from_numpy(wanted[:, 0, 0])).abs().max() < 0.0201
    assert (~pose.isnan()).sum() == round(seconds * 25)
    assert (~video.isnan()).sum() == round(seconds * 4)
    inside = ~pose[0].isnan()
    torch.testing.assert_close(imu[0, ::2][inside], pose[0][inside], atol=1e-4, rtol=0)


def test_modalities_that_a_clip_lacks_are_absent():
    clips = [
        clock_clip(5, 0),
        clock_clip(5, 1, pose=None),
        clock_clip(5, 2, imu={}),
        clock_clip(0.5, 3, pose=None, imu={}),  # two photos
        clock_clip(5, 4, pose=None, imu={}, video=None),  # text only
        clock_clip(5, 5, texts=()),
    ]
    pool = make_clip_pool(clips, SPEC)
    rows, drawn = pool.draw(6, DrawConfig(imu_share=0.5), generator())
    assert sorted(rows.tolist()) == list(range(6))
    for modality in ("imu", "pose", "video", "text"):
        wanted = [clips[row].has(modality) for row in rows]
        assert drawn.present[modality].tolist() == wanted
        assert len(drawn.inputs[modality]) == sum(wanted)
    place = (rows[drawn.present["video"]] == 3).nonzero().item()
    assert (~drawn.inputs["video"][place].isnan().any(1)).sum() == 2
    assert all(torch.isfinite(drawn.inputs[m]).all() for m in ("imu", "text"))


def test_windows_without_a_visible_person_have_no_pose():
    clip = clock_clip(30)
    clip.pose[100:] = np.nan
    pool = make_clip_pool([clip], SPEC)
    seen = [pool.draw(1, STILL, generator(i))[1] for i in range(60)]
    present = [bool(w.present["pose"]) for w in seen]
    assert 0 < sum(present) < 60
    assert all(len(w.inputs["pose"]) == w.present["pose"].sum() for w in seen)


def test_titles_are_drawn_with_the_square_root_of_their_windows():
    """90 s of squats and 10 s of rest: three to one, whether in one clip or in many."""
    clips = [clock_clip(30, i) for i in range(3)] + [clock_clip(5, 9, "rest"), clock_clip(5, 10, "rest")]
    pool = make_clip_pool(clips, SPEC)
    by_title = torch.zeros(2, dtype=torch.float64).index_add(0, pool.y, pool.weight)
    rest, squat = by_title
    assert pool.titles == ("rest", "squat")
    assert (squat / rest).item() == pytest.approx(3)
    drawn = Counter(pool.y[pool.draw(4000, STILL, generator())[0]].tolist())
    assert drawn[1] / drawn[0] == pytest.approx(3, rel=0.15)


def test_fraction_of_draws_with_an_imu_is_respected():
    clips = [clock_clip(5, i, imu={}) for i in range(30)] + [clock_clip(5, 50, "rest")]
    pool = make_clip_pool(clips, SPEC)
    present = pool.draw(4000, DrawConfig(imu_share=0.8), generator())[1].present["imu"]
    assert present.float().mean().item() == pytest.approx(0.8, abs=0.03)
    only = make_clip_pool(clips[:30], SPEC)
    assert not only.draw(50, DrawConfig(imu_share=0.8), generator())[1].present["imu"].any()


def test_placements_and_sentences_are_drawn_at_random():
    clip = made_clip("squat", 0)
    clip.imu["left_wrist"][:, 5] = 1.0
    pool = make_clip_pool([clip], SPEC)
    assert pool.placements == ("left_wrist", "right_wrist")
    drawn = [pool.draw(1, STILL, generator(i))[1].inputs for i in range(40)]
    assert {round(float(d["imu"][0, 5].mean()), 3) for d in drawn} == {0.0, 0.25}
    assert len({float(d["text"][0, 0]) for d in drawn}) == len(TITLES["squat"])


def test_real_imu_is_used_on_request_only():
    real = {"right_wrist": np.full((300, 6), 3.0, np.float32)}
    clips = [made_clip("squat", i, real_imu=real) for i in range(3)]
    assert make_clip_pool(clips, SPEC).placements == ("left_wrist", "right_wrist") * 3
    assert make_clip_pool(clips, SPEC, real_imu=True).placements == ("left_wrist", "right_wrist", "right_wrist") * 3


def test_sensor_errors_are_added_to_virtual_imu_only():
    real = {"right_wrist": np.full((300, 6), 3.0, np.float32)}
    pool = make_clip_pool([made_clip("rest", 0, imu={"left_ankle": np.full((300, 6), 3.0)}, real_imu=real)], SPEC, True)
    assert pool.virtual.tolist() == [True, False]
    assert pool.along.tolist() == [[0, 1, 0], [1, 0, 0]]
    worn = replace(STILL, sensor=replace(IDEAL, bias_mps2=5.0))
    first = torch.stack([pool.draw(1, worn, generator(i))[1].inputs["imu"][0, 0, 0, 0] for i in range(40)])
    assert 10 < (first == 3.0 / SPEC.scale[0]).sum() < 30, "half of the draws are the real one's"
    assert len(first.unique()) > 10


def test_too_short_streams_are_left_out():
    clip = clock_clip(6, imu={"left_wrist": np.zeros((24, 6), np.float32)}, pose=np.zeros((12, 20, 3), np.float32))
    pool = make_clip_pool([clip, made_clip("rest", 1)], SPEC)
    assert not pool.has("imu")[0]
    assert not pool.has("pose")[0]
    assert pool.has("video").all()


def test_center_is_deterministic():
    pool = make_clip_pool([clock_clip(9, i) for i in range(4)], SPEC)
    imu, pose, video = times(pool.center(torch.tensor([2, 0])).inputs)
    assert imu[0, 0].item() == pytest.approx(3.0, abs=0.05)
    assert torch.equal(imu[0], imu[1])
    torch.testing.assert_close(imu[:, ::2], pose, atol=1e-4, rtol=0)
    assert video.shape == (2, 12)


def test_titles_of_a_corpus_are_listed():
    clips = [made_clip("squat", 0), made_clip("rest", 1), made_clip("rest", 2, corpus="other")]
    pool = make_clip_pool(clips, SPEC)
    assert pool.corpora == ("made", "other")
    assert pool.allowed.tolist() == [[True, True], [True, False]]
    assert pool.title_vectors.shape == (2, 384)


def test_generator_gives_the_same_draw():
    pool = make_clip_pool(made_clips(3), SPEC)
    (rows, a), (again, b) = (pool.draw(16, DrawConfig(), generator(5)) for _ in range(2))
    assert torch.equal(rows, again)
    assert all(torch.equal(a.inputs[m].nan_to_num(), b.inputs[m].nan_to_num()) for m in a.inputs)


def test_pool_without_clips_is_refused():
    with pytest.raises(DataError, match="no clips to train on"):
        make_clip_pool([], SPEC)
    clips = [made_clip("squat", 0), made_clip("rest", 1, tower="clip")]
    with pytest.raises(DataError, match="several image towers do not mix: clip, made"):
        make_clip_pool(clips, SPEC)


def bones(x: Tensor) -> Tensor:
    return (x[:, :, 1:] - x[:, :, :-1]).norm(dim=3)


@pytest.fixture
def motion() -> Tensor:
    return torch.randn(200, 10, len(JOINTS), 3, generator=generator(3))


def test_turned_skeleton_keeps_its_bones_and_its_height(motion: Tensor):
    turned = change_pose(motion, STILL, generator())
    torch.testing.assert_close(bones(turned), bones(motion))
    torch.testing.assert_close(turned[..., 2], motion[..., 2])
    angle = torch.atan2(turned[:, 0, 3, 1], turned[:, 0, 3, 0]) - torch.atan2(motion[:, 0, 3, 1], motion[:, 0, 3, 0])
    assert torch.histc(angle.remainder(2 * torch.pi), 4, 0, 2 * torch.pi).min() > 25, "every heading"


def test_flat_skeleton_stays_flat(motion: Tensor):
    motion[..., 1] = float("nan")
    turned = change_pose(motion, STILL, generator())
    assert turned[..., 1].isnan().all()
    torch.testing.assert_close(turned[..., 0].abs(), motion[..., 0].abs())
    assert 50 < (turned[:, 0, 0, 0] * motion[:, 0, 0, 0] < 0).sum() < 150, "seen from behind"


def test_joints_and_depth_are_dropped_at_random_but_never_all(motion: Tensor):
    motion[:5, :, 1:] = float("nan")
    config = replace(STILL, joint_drop_probability=0.5, flatten_probability=0.5)
    changed = change_pose(motion, config, generator())
    known = ~changed[..., 0].isnan()
    assert known.any((1, 2)).all()
    assert known[5:, 0].float().mean().item() == pytest.approx(0.5, abs=0.05)
    assert changed[..., 1].isnan().all((1, 2)).float().mean().item() == pytest.approx(0.5, abs=0.12)


def test_body_size_and_joint_noise_are_applied(motion: Tensor):
    bigger = change_pose(motion, replace(STILL, size=0.1), generator())
    ratio = (bones(bigger) / bones(motion)).flatten(1)
    torch.testing.assert_close(ratio.std(1), torch.zeros(200), atol=1e-4, rtol=0)
    assert ratio.mean(1).std().item() == pytest.approx(0.1, rel=0.2)
    noisy = change_pose(motion, replace(STILL, joint_noise_m=0.01), generator())
    assert (noisy[..., 2] - motion[..., 2]).std().item() == pytest.approx(0.01, rel=0.1)


def test_every_array_of_a_pool_is_indexed_by_its_clip():
    pool = make_clip_pool(made_clips(2), SPEC)
    assert isinstance(pool, ClipPool)
    assert len(pool) == len(pool.ids) == 6
    assert pool.ids[0] == "made/arm swing-0"

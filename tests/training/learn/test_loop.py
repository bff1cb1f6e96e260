"""A killed and resumed run ends with the bits of an uninterrupted one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mujo_edge.core import DataError
from training.learn import loop
from training.learn.loop import LoopConfig, optimize, progress_bar
from training.models.student import Student, StudentConfig
from training.support.tensors import load_tensors

CONFIG = LoopConfig(steps=12, batch=16, seed=3)
SMALL = StudentConfig(stem=8, blocks=((12, 5, 2), (12, 5, 1)), embedding=4, dropout=0.3)
"""With BatchNorm and dropout, whose buffers and random state a checkpoint must hold."""


class KilledError(Exception):
    pass


def problem(kill_at: int | None = None) -> tuple[nn.Module, Callable[[torch.Generator], Tensor], list[Tensor]]:
    """A network, its loss on drawn batches (raises at one step), and the batches that it drew."""
    torch.manual_seed(0)
    model, x = Student(SMALL), torch.randn(64, 6, 1, 150)
    y = x[:, :4, 0].mean(2)
    seen: list[Tensor] = []

    def loss_of(generator: torch.Generator) -> Tensor:
        rows = torch.randint(0, len(x), (CONFIG.batch,), generator=generator)
        seen.append(rows)
        if len(seen) == kill_at:
            raise KilledError
        return (model(x[rows]) - y[rows]).square().mean()

    return model, loss_of, seen


def run(path: Path | None, config: LoopConfig = CONFIG, kill_at: int | None = None) -> tuple[nn.Module, list[Tensor]]:
    model, loss_of, seen = problem(kill_at)
    return optimize(model, loss_of, config, checkpoint=path), seen


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.fixture(autouse=True)
def every_step(monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", 0.0)


@pytest.mark.parametrize("kill_at", [1, 2, 7, 12])
def test_killed_run_resumes_to_the_same_weights(tmp_path, kill_at):
    whole, seen = run(None)
    path = tmp_path / "folder" / "a.checkpoint"
    with pytest.raises(KilledError):
        run(path, kill_at=kill_at)
    resumed, rest = run(path)
    assert same(resumed, whole)
    assert len(rest) == CONFIG.steps - (kill_at - 1)
    assert all(torch.equal(a, b) for a, b in zip(rest, seen[kill_at - 1 :], strict=True))


def test_finished_run_is_not_run_again(tmp_path):
    path = tmp_path / "a.checkpoint"
    whole, _ = run(path)
    again, seen = run(path)
    assert same(again, whole)
    assert seen == []


def test_result_depends_on_the_seed_only():
    whole, _ = run(None)
    torch.manual_seed(99)
    model, loss_of, _ = problem()
    torch.manual_seed(123)
    assert same(optimize(model, loss_of, CONFIG), whole)
    assert not same(run(None, replace(CONFIG, seed=4))[0], whole)


@pytest.mark.parametrize("change", [{"lr": 1e-3}, {"steps": 9}, {"seed": 5}])
def test_checkpoint_of_other_settings_is_not_used(tmp_path, change):
    path, other = tmp_path / "a.checkpoint", replace(CONFIG, **change)
    with pytest.raises(KilledError):
        run(path, kill_at=6)
    trained, seen = run(path, other)
    assert len(seen) == other.steps
    assert same(trained, run(None, other)[0])


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_damaged_checkpoint_is_an_error_with_a_remedy(tmp_path, share):
    path = tmp_path / "a.checkpoint"
    run(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=r"a\.checkpoint is damaged\. Delete it and"):
        run(path)


def test_kill_during_a_checkpoint_write_keeps_the_previous_one(tmp_path, monkeypatch):
    path, save = tmp_path / "a.checkpoint", torch.save

    def interrupted(content, file):
        save(content, file)
        if content["step"] == 5:
            Path(file).write_bytes(Path(file).read_bytes()[:100])
            raise KilledError

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(KilledError):
        run(path)
    assert load_tensors(path)["step"] == 4
    monkeypatch.setattr(torch, "save", save)
    assert same(run(path)[0], run(None)[0])


def test_loss_falls_and_every_step_is_reported():
    model, loss_of, _ = problem()
    reports: list[tuple[int, float]] = []
    trained = optimize(
        model, loss_of, replace(CONFIG, steps=80), report=lambda step, loss: reports.append((step, loss))
    )
    losses = [loss for _, loss in reports]
    assert [step for step, _ in reports] == list(range(1, 81))
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
    assert not trained.training


def test_result_is_an_average_of_the_weights():
    """With a decay near 1, the average lags behind the weights."""
    model, loss_of, _ = problem()
    average = optimize(model, loss_of, replace(CONFIG, steps=40, ema=0.9))
    assert not same(average, model)
    model, loss_of, _ = problem()
    newest = optimize(model, loss_of, replace(CONFIG, steps=40, ema=0.0))
    assert same(newest, model)


def test_progress_bar_shows_the_loss(capfd):
    with progress_bar("distil something", 3) as report:
        report(3, 1.25)
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "distil something" in shown.err
    assert "3/3 loss 1.250" in shown.err

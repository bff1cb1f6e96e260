"""Protocol v1: `python -m training.evaluate --protocol v1 --sets motionsense,spar,utd_mhad,sp_sw_watch`.

Five folds that share no subject, 2 / 10 / 100 % of the train labels, several seeds. Every score is one
line of `cells.jsonl`, so that a run that was stopped goes on where it was.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mujo_edge.core import F32, UsageError
from mujo_edge.signal import InputSpec, prepare
from training.baselines import forest_predictions
from training.command import run
from training.corpora import PROTOCOL_V1, WindowSet, folds, label_fraction, load_windows
from training.finetune import PrototypeClassifier, finetune
from training.labels import read_vocabulary
from training.loop import load_tensors, save_tensors
from training.pretrain import Words, make_pool, pretrain, with_seed
from training.provenance import describe
from training.quantize import float_embeddings, quantized_embeddings
from training.recipe import Recipe, read_recipe
from training.report import write_report
from training.student import Student

KIN = {"sp_sw_watch": ("sp_sw_watch", "sp_sw_phone")}
"""Data sets recorded from the same people at the same time: left out of pretraining together."""

CALIBRATION_WINDOWS = 256
Row = Literal["student", "random", "forest"]
VARIANTS: dict[Row, set[str]] = {"student": {"fp32", "int8"}, "random": {"fp32"}, "forest": {"forest"}}
"""What a finished cell of each row has scores of."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One training and test. `row` is a model, `channels` 3 or 6."""

    row: Row
    channels: int
    corpus: str
    fold: int
    fraction: float
    seed: int


@dataclass(frozen=True, slots=True)
class Score:
    """Predictions of one variant ("fp32", "int8" or "forest") of a cell, as a confusion matrix (L, L)."""

    cell: Cell
    variant: str
    confusion: tuple[tuple[int, ...], ...]

    @property
    def macro_f1(self) -> float:
        """Mean F1 over the classes that have test windows."""
        c = np.asarray(self.confusion)
        has = c.sum(1) > 0
        return float((2 * np.diag(c) / np.maximum(c.sum(0) + c.sum(1), 1))[has].mean())


def confusion(y: np.ndarray, predicted: np.ndarray, classes: int) -> tuple[tuple[int, ...], ...]:
    """(L, L) counts, rows are the truth."""
    counts = np.bincount(y * classes + predicted, minlength=classes * classes).reshape(classes, classes)
    return tuple(tuple(map(int, row)) for row in counts)


@lru_cache(maxsize=2)
def prepared(corpus: str, channels: int) -> tuple[WindowSet, F32]:
    """A data set and its windows as model input (N, 6, 1, T), with the gyroscope or without."""
    data = load_windows(corpus)
    return data, prepare(data.x[:, :channels], InputSpec())


def pretrained_path(out: Path, corpus: str, seed: int) -> Path:
    """Where the encoder lies that has seen every pretraining set but `corpus` and its kin."""
    return out / "pretrained" / f"without-{corpus}-{seed}.pt"


def pretraining_corpora(corpus: str, recipe: Recipe) -> tuple[str, ...]:
    """The recipe's data sets but `corpus` and its kin. Raises `UsageError` where none is left."""
    left = tuple(name for name in recipe.allowed() if name not in KIN.get(corpus, (corpus,)))
    if not left:
        raise UsageError(
            f"recipe {recipe.name} has nothing to pretrain on without {corpus}. Choose another recipe, "
            "or leave the student out with --rows random,forest"
        )
    return left


def pretrain_without(out: Path, corpus: str, seed: int, recipe: Recipe) -> None:
    """Pretrain on all the other data sets and keep the encoder's weights."""
    torch.set_num_threads(1)
    path = pretrained_path(out, corpus, seed)
    vocabulary = read_vocabulary()
    pool = make_pool([load_windows(name) for name in pretraining_corpora(corpus, recipe)], vocabulary, InputSpec())
    checkpoint = path.with_suffix(".checkpoint")
    model = pretrain(pool, Words.of(vocabulary), with_seed(recipe.pretrain, seed), checkpoint=checkpoint)
    save_tensors(path, model.imu.state_dict())
    checkpoint.unlink()


def run_cell(cell: Cell, out: Path, recipe: Recipe) -> list[Score]:
    """Train on the cell's labelled windows and test on its held-out subjects."""
    torch.set_num_threads(1)
    data, x = prepared(cell.corpus, cell.channels)
    train, test = list(folds(data.y, data.subject))[cell.fold]
    rows = label_fraction(data.y, train, cell.fraction, cell.fold)
    classes = len(data.classes)

    def score(variant: str, predicted: np.ndarray) -> Score:
        return Score(cell, variant, confusion(data.y[test], predicted, classes))

    if cell.row == "forest":
        raw = data.x[:, : cell.channels]
        return [score("forest", forest_predictions(raw[rows], data.y[rows], raw[test], cell.seed))]
    torch.manual_seed(cell.seed)
    encoder = Student(recipe.pretrain.encoder)
    if cell.row == "student":
        encoder.load_state_dict(load_tensors(pretrained_path(out, cell.corpus, cell.seed)))
    chiral = cell.corpus in read_vocabulary().chiral
    model = finetune(encoder, x[rows], data.y[rows], classes, recipe.finetune.for_windows(len(rows), cell.seed, chiral))
    scores = [score("fp32", nearest(float_embeddings(model.encoder, x[test]), model))]
    if cell.row == "student":
        some = np.random.default_rng(cell.seed).permutation(rows)[:CALIBRATION_WINDOWS]
        scores.append(score("int8", nearest(quantized_embeddings(model.encoder, x[some], x[test]), model)))
    return scores


def nearest(embeddings: F32, model: PrototypeClassifier) -> np.ndarray:
    """(N,) class of the prototype with the largest cosine."""
    prototypes = model.prototypes.detach().numpy()
    return np.asarray((embeddings @ (prototypes / np.linalg.norm(prototypes, axis=1, keepdims=True)).T).argmax(1))


def read_scores(path: Path) -> list[Score]:
    """Scores of the cells that earlier runs finished; a torn line and the other variants of its cell are left out."""
    found: dict[Cell, dict[str, Score]] = defaultdict(dict)
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        score = Score(Cell(**entry["cell"]), entry["variant"], tuple(tuple(row) for row in entry["confusion"]))
        found[score.cell][score.variant] = score
    return [
        s for cell, by_variant in found.items() if set(by_variant) == VARIANTS[cell.row] for s in by_variant.values()
    ]


def finished(futures: Iterable[Future[list[Score]]], title: str) -> Iterator[list[Score]]:
    """Results as they come, below a progress bar with the time that remains."""
    waiting = list(futures)
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=1) as bar:
        task = bar.add_task(title, total=len(waiting))
        for future in as_completed(waiting):
            yield future.result()
            bar.advance(task)


def evaluate(cells: Sequence[Cell], out: Path, recipe: Recipe, jobs: int) -> list[Score]:
    """Run the cells that `out` does not hold yet, `jobs` at a time, one thread each."""
    path = out / "cells.jsonl"
    out.mkdir(parents=True, exist_ok=True)
    scores = read_scores(path)
    done = {score.cell for score in scores}
    todo = [cell for cell in cells if cell not in done]
    needed = sorted({(cell.corpus, cell.seed) for cell in todo if cell.row == "student"})
    needed = [key for key in needed if not pretrained_path(out, *key).exists()]
    for corpus, _ in needed:
        pretraining_corpora(corpus, recipe)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        try:
            encoders = [pool.submit(pretrain_without, out, *key, recipe) for key in needed]
            for _ in finished(encoders, "pretraining"):
                pass
            futures = [pool.submit(run_cell, cell, out, recipe) for cell in todo]
            with path.open("a") as file:
                if path.read_text()[-1:] not in ("", "\n"):
                    file.write("\n")  # after what a kill left, on a line of its own
                for result in finished(futures, "fine-tuning and test"):
                    for score in result:
                        file.write(json.dumps(asdict(score)) + "\n")
                    file.flush()
                    scores += result
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    wanted = set(cells)
    return [score for score in scores if score.cell in wanted]


def go_on(out: Path, recipe: Recipe, seeds: int, corpora: Iterable[str]) -> None:
    """Write `run.json`. Raises `UsageError` where `out` holds scores made by another recipe or from other data."""
    path = out / "run.json"
    now = describe({"recipe": recipe, "seeds": seeds}, sorted(corpora))
    if path.exists():
        before = json.loads(path.read_text())
        old, new = before["config"]["recipe"], json.loads(json.dumps(now["config"]["recipe"]))
        changed = [key for key in ("corpora", "licences", "pretrain", "finetune") if old[key] != new[key]]
        shas = before["data_sha256"]
        changed += [name for name, sha in now["data_sha256"].items() if shas.get(name, sha) != sha]
        if changed:
            raise UsageError(
                f"{out} holds scores made with another {', '.join(changed)}; choose another folder with --out"
            )
        now["data_sha256"] = shas | now["data_sha256"]
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(now, indent=1) + "\n")


def among(option: str, text: str, allowed: Iterable[str]) -> list[str]:
    """Comma-separated values of an option, each once. Raises `UsageError` for one that is not allowed."""
    values = list(dict.fromkeys(part.strip() for part in text.split(",")))
    if unknown := set(values) - set(allowed):
        raise UsageError(
            f"{option} takes {', '.join(allowed)}; {', '.join(map(repr, sorted(unknown)))} is not among them"
        )
    return values


def shares(text: str) -> list[float]:
    """Comma-separated shares of the labels. Raises `UsageError` for what is none."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if not values or not all(0 < value <= 1 for value in values):
        raise UsageError(f"--fractions takes numbers above 0, up to 1, such as 0.02,0.1,1; got {text!r}")
    return values


def main(
    protocol: Annotated[str, typer.Option(help="the rules; there is one set so far")] = "v1",
    sets: Annotated[str, typer.Option(help="data sets, comma-separated")] = ",".join(PROTOCOL_V1),
    rows: Annotated[str, typer.Option(help="student, random (init), forest")] = "student,random,forest",
    channels: Annotated[str, typer.Option(help="3 (accelerometer), 6 (with gyroscope)")] = "3",
    fractions: Annotated[str, typer.Option(help="shares of the train labels")] = "0.02,0.1,1",
    fold: Annotated[str, typer.Option(help="folds to run")] = "0,1,2,3,4",
    seeds: Annotated[int, typer.Option(help="seeds of every cell", min=1)] = 3,
    recipe: Annotated[str, typer.Option(help="tiny, base or a .toml file")] = "base",
    jobs: Annotated[int, typer.Option(help="processes", min=1)] = 2,
    out: Annotated[
        Path,
        typer.Option(
            file_okay=False, help="folder of scores, table and pictures; runs go on here, and its table has them all"
        ),
    ] = Path("runs/evaluate"),
) -> None:
    """Accuracy by protocol v1: a table and confusion matrices, subject-disjoint, mean and spread."""
    if protocol != "v1":
        raise UsageError(f"there is no protocol {protocol!r}; choose v1")
    corpora, models = among("--sets", sets, PROTOCOL_V1), among("--rows", rows, VARIANTS)
    grid = product(models, among("--channels", channels, "36"), corpora, among("--fold", fold, "01234"))
    cells = [
        Cell(row, int(channel), corpus, int(number), share, seed)  # type: ignore[arg-type]
        for row, channel, corpus, number in grid
        for share in shares(fractions)
        for seed in range(1 if row == "forest" else seeds)
    ]
    chosen = read_recipe(recipe)
    go_on(out, chosen, seeds, {*corpora, *(chosen.allowed() if "student" in models else ())})
    evaluate(cells, out, chosen, jobs)
    typer.echo(write_report(read_scores(out / "cells.jsonl"), out))


if __name__ == "__main__":
    run(main)

"""Recipes: the settings of a run in one TOML file of `training/recipes`."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Literal

import dacite

from mujo_edge.core import DataError, UsageError
from training.corpora import CORPORA
from training.fimad.clip import MODALITIES
from training.learn.broad import BroadConfig
from training.learn.distill import DistillConfig
from training.learn.finetune import FinetuneConfig
from training.learn.pretrain import PretrainConfig

RECIPES = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Recipe:
    """Settings of `training.run` and `training.evaluate`.

    Attributes:
        corpora: data sets of real recordings.
        licenses: "any", or "permissive" for only corpora and clips with a stated open license.
        clips: data sets taken from the shards (empty: all).
        max_windows_per_class: windows of each class and corpus (0: all).
        teacher, distill: of `training.run`: pretraining of the teacher, distillation into the student.
        broad: of `training.run`: if given, the student is pretrained by breadth instead of distilled, and `teacher` is
            the training of the other modalities into its space.
        pretrain, finetune: of `training.evaluate`: pretraining of the student's network, and fine-tuning.
        adapt: replaces `finetune` for pretrained encoders (None: the same).
    """

    name: str
    corpora: tuple[str, ...]
    licenses: Literal["any", "permissive"] = "any"
    clips: tuple[str, ...] = ()
    max_windows_per_class: int = 0
    teacher: PretrainConfig = field(default_factory=PretrainConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)
    broad: BroadConfig | None = None
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    adapt: FinetuneConfig | None = None

    def finetune_of(self, pretrained: bool) -> FinetuneConfig:
        """Fine-tuning settings for a pretrained encoder, or from random initialization."""
        return self.adapt or self.finetune if pretrained else self.finetune

    def allowed(self) -> tuple[str, ...]:
        """The corpora that `licenses` permits."""
        return tuple(c for c in self.corpora if self.licenses == "any" or CORPORA[c].open_license)

    def allowed_clips(self, present: Iterable[str]) -> tuple[str, ...]:
        """The data sets `present` in shards that `clips` selects and `licenses` permits; those from a user's own
        manifest are always permitted."""
        wanted = tuple(name for name in present if not self.clips or name in self.clips)
        if self.licenses == "any":
            return wanted
        from training.fimad.sources import SOURCES  # imports the readers of all sources

        return tuple(name for name in wanted if name not in SOURCES or SOURCES[name].open_license)


def read_recipe(name: str) -> Recipe:
    """The recipe called `name`, or the TOML file at that path.

    Raises:
        UsageError: there is no such recipe.
        DataError: it has an unknown key, a value of the wrong type, or nothing to train on.
    """
    path = Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"
    if not path.is_file():
        known = sorted(p.stem for p in RECIPES.glob("*.toml") if "corpora" in tomllib.loads(p.read_text()))
        raise UsageError(f"no recipe {name!r}; choose from {', '.join(known)} or give a .toml file")
    try:
        table = {"name": path.stem, **tomllib.loads(path.read_text())}
        recipe = dacite.from_dict(Recipe, table, dacite.Config(cast=[tuple], strict=True))
    except (ValueError, dacite.DaciteError) as error:
        raise DataError(f"{path.name} is no recipe: {error}") from None
    if unknown := sorted(set(recipe.corpora) - set(CORPORA)):
        raise DataError(f"{path.name} names corpora that do not exist: {', '.join(unknown)}")
    if not recipe.allowed():
        raise DataError(
            f'{path.name} leaves nothing to train on: corpora {list(recipe.corpora)}, licenses "{recipe.licenses}"'
        )
    for part in (recipe.teacher, recipe.pretrain):
        if problem := pretraining_problem(part):
            raise DataError(f"{path.name}: {problem}")
    if recipe.broad:
        return replace(recipe, teacher=replace(recipe.teacher, encoder=recipe.broad.student))
    if recipe.teacher.encoder.embedding != recipe.distill.student.embedding:
        raise DataError(f"{path.name}: teacher and student must have the same embedding to be distilled")
    return recipe


def pretraining_problem(config: PretrainConfig) -> str | None:
    """Description of an error in the settings, or None. (A misspelled pair would silently have weight 1.)"""
    if len(set(config.modalities)) < 2:
        return f"modalities {list(config.modalities)} leave nothing to contrast; give two or more of {list(MODALITIES)}"
    known = {f"{a}-{b}" for a, b in combinations(sorted(config.modalities), 2)}
    if unknown := sorted(set(config.pair_weights) - known):
        return f"pair_weights names {', '.join(unknown)}; its modalities have {', '.join(sorted(known))}"
    if not 0 <= config.clip_share <= 1:
        return f"clip_share is {config.clip_share:g}, not a share from 0 to 1"
    return None

"""A data set of generated motion with prompts, and a teacher and student trained on it for seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
from generated_motion import CLASSES
from motion_corpus import WORDS, motion_set

from mujo_edge.signal import InputSpec
from training.corpora.labels import LabelSetSpec, Vocabulary
from training.learn.distill import DistillConfig, distill
from training.learn.loop import LoopConfig
from training.learn.pretrain import JointModel, Pool, PretrainConfig, PromptEmbeddings, make_pool, pretrain
from training.models.student import Student
from training.recipes.splits import Data


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    return Vocabulary(CLASSES, WORDS, (LabelSetSpec("motion-wrist", "wrist", ("motion",)),), {}, ())


@pytest.fixture(scope="session")
def motion_data() -> Data:
    """Training and held-out windows that share no person; the held-out ones also as streams."""
    held_out = motion_set(40, seed=1)
    return Data((motion_set(100, seed=0),), (held_out,), (held_out,))


@pytest.fixture(scope="session")
def motion_pool(vocabulary: Vocabulary, motion_data: Data) -> Pool:
    return make_pool(motion_data.train, vocabulary, InputSpec())


@pytest.fixture(scope="session")
def words(vocabulary: Vocabulary) -> PromptEmbeddings:
    return PromptEmbeddings.of(vocabulary)


@pytest.fixture(scope="session")
def teacher(motion_pool: Pool, words: PromptEmbeddings) -> JointModel:
    """Trained on generated motion."""
    return pretrain(PretrainConfig(loop=LoopConfig(steps=120, batch=64, ema=0.9)), None, motion_pool, words)


@pytest.fixture(scope="session")
def student(teacher: JointModel, motion_pool: Pool, words: PromptEmbeddings) -> Student:
    """Distilled from `teacher`."""
    return distill(teacher, motion_pool, words, DistillConfig(loop=LoopConfig(steps=120, batch=64, ema=0.9)))


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of windows for these tests, separate from the user's."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJO_CACHE", str(cache))

"""A finished bundle against its teacher and on the shipped recording."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.metrics import f1_score

from mujo_edge.bundle import ModelBundle
from mujo_edge.core import UNKNOWN, DataError
from mujo_edge.recognizer import Recognizer
from mujo_edge.recordings.reader import open_recording
from training.learn.pretrain import JointModel
from training.release.calibrate import embed, stack
from training.release.run import Run


def recording_accuracy(bundle: Path, recording: Path) -> dict[str, float]:
    """The shipped recording through the live path: shares of right smoothed and raw labels, transitions left out."""
    stream = open_recording(recording)
    recognizer = Recognizer(ModelBundle.load(bundle), stream.info)
    found = [p for chunk in stream.chunks() for p in recognizer.update(chunk) if p.truth]
    if not found:
        raise DataError(f"{recording} has no labeled windows to judge a bundle by")
    return {
        "windows": len(found),
        "accuracy": float(np.mean([p.label == p.truth for p in found])),
        "accuracy_unsmoothed": float(np.mean([p.raw_label == p.truth for p in found])),
        "unknown": float(np.mean([p.label == UNKNOWN for p in found])),
    }


def beside_teacher(this: Run, teacher: JointModel, bundle: Path) -> dict[str, float]:
    """Macro-F1 of the bundle's int8 student as a share of the teacher's, by label set, for which it may be fine-tuned:
    held-out windows, accelerometer only, by the nearest of the bundle's prototypes, which are the teacher's words.
    `mean` compares the means."""
    shipped, tutors = ModelBundle.load(bundle), this.tutors(teacher)
    scores: dict[str, tuple[float, float]] = {}
    for spec in this.vocabulary.sets:
        held = this.vocabulary.members(spec, this.data.held_out)
        if spec.name not in shipped.manifest.label_sets or not sum(map(len, held)):
            continue
        labels = shipped.manifest.label_sets[spec.name]
        x, y = stack(held, this.vocabulary, labels.names[:-1])
        taught_by = tutors[spec.name].encoder if spec.name in tutors else teacher.imu
        found = (shipped.embed(x[:, :3]), embed(taught_by, x[:, :3], this.spec))
        student, taught = (f1_score(y, (z @ labels.prototypes.T).argmax(1), average="macro") for z in found)
        scores[spec.name] = float(student), float(taught)
    scores["mean"] = tuple(np.mean(list(scores.values()), axis=0))
    return {name: student / taught for name, (student, taught) in scores.items()}

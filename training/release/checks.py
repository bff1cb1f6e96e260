"""Checks of a finished bundle: against its teacher, and on the shipped recording."""

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
    """Accuracy of the smoothed and of the raw labels on a recording in the live path, without windows of two labels."""
    stream = open_recording(recording)
    recognizer = Recognizer(ModelBundle.load(bundle), stream.info)
    predictions = [p for chunk in stream.chunks() for p in recognizer.update(chunk) if p.truth]
    if not predictions:
        raise DataError(f"{recording} has no labeled windows to evaluate a bundle on")
    return {
        "windows": len(predictions),
        "accuracy": float(np.mean([p.label == p.truth for p in predictions])),
        "accuracy_unsmoothed": float(np.mean([p.raw_label == p.truth for p in predictions])),
        "unknown": float(np.mean([p.label == UNKNOWN for p in predictions])),
    }


def teacher_comparison(this: Run, teacher: JointModel, bundle: Path) -> dict[str, float]:
    """Label set -> macro-F1 of the bundle's int8 student divided by that of the teacher (of the one fine-tuned for the
    label set, if there is one); "mean" is the ratio of the means.

    On held-out windows, accelerometer only, by the nearest prototype of the bundle.
    """
    shipped, fine_tuned = ModelBundle.load(bundle), this.fine_tuned(teacher)
    scores: dict[str, tuple[float, float]] = {}
    for spec in this.vocabulary.sets:
        held_out = this.vocabulary.members(spec, this.data.held_out)
        if spec.name not in shipped.manifest.label_sets or not sum(map(len, held_out)):
            continue
        labels = shipped.manifest.label_sets[spec.name]
        x, y = stack(held_out, this.vocabulary, labels.names[:-1])
        encoder = fine_tuned[spec.name].encoder if spec.name in fine_tuned else teacher.imu
        embeddings = (shipped.embed(x[:, :3]), embed(encoder, x[:, :3], this.spec))
        of_student, of_teacher = (f1_score(y, (z @ labels.prototypes.T).argmax(1), average="macro") for z in embeddings)
        scores[spec.name] = float(of_student), float(of_teacher)
    scores["mean"] = tuple(np.mean(list(scores.values()), axis=0))
    return {name: of_student / of_teacher for name, (of_student, of_teacher) in scores.items()}

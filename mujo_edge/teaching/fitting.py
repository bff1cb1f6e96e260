"""The fit of a label set to takes, its estimate from takes that are held out, and advice to the teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mujo_edge.bundle import LabelSet, ModelBundle
from mujo_edge.bundle.fit import fit_label_set, fit_prototypes
from mujo_edge.bundle.labels import BACKGROUND
from mujo_edge.bundle.taught import Borrowed, Confused, HeldOut, Take, Taught
from mujo_edge.core import F32, DataError, UsageError

PIECES = 3
"""Parts of a single take that are held out in turn."""

ALIKE = 0.2
"""Fraction of held-out windows of a label under another one from which the user is warned that the two look alike."""

Numbers = npt.NDArray[np.int64]


def fit_takes(
    bundle: ModelBundle,
    takes: Sequence[Take],
    *,
    name: str,
    channels: int,
    placement: str = "",
    borrowed: Sequence[Borrowed] = (),
) -> LabelSet:
    """A label set from takes, with the `borrowed` labels of the bundle's own sets.

    The threshold of unknown is the lowest of those of the taught and the borrowed labels' sets.

    Raises:
        UsageError: a name that cannot be one or is there twice, a movement with one window, no such borrowed label.
    """
    taught = list(dict.fromkeys(take.label for take in takes))
    if not taught:
        raise UsageError(f"label set {name} would have no taught movement; teach one first")
    if twice := [one.label for one in borrowed if one.label in taught]:
        raise UsageError(f"{twice[0]!r} was taught and cannot be taken along from another set: leave one out")
    scarce = next((label for label in taught if sum(len(t.embeddings) for t in takes if t.label == label) < 2), None)
    if scarce is not None:
        hop_s, window_s = bundle.input.hop / bundle.input.rate_hz, bundle.input.window / bundle.input.rate_hz
        raise DataError(
            f"{scarce!r} was taught with one window, and at least two are needed: do it once more, for at least "
            f"{window_s + hop_s:g} s"
        )
    z = np.concatenate([take.embeddings for take in takes])
    y = [take.label for take in takes for _ in take.embeddings]
    parts, held_out = _parts(takes)
    fitted = fit_label_set(z, y, bundle.manifest.id, channels, name=name, placement=placement, groups=parts.tolist())
    sets = [lender(bundle, one) for one in borrowed]
    rows, labels = [fitted.prototypes], list(fitted.labels)
    for one, source in zip(borrowed, sets, strict=True):
        i = source.names.index(one.label)
        labels.append(source.labels[i])
        rows.append(source.prototypes[[i]])
    prototypes = np.concatenate(rows)
    truth, label = _named_when_held_out(takes, parts, prototypes[len(fitted.labels) :], _reach(bundle))
    names = [one.name for one in labels]
    score = macro_f1(truth, label) if len(names) > 1 and len(truth) else None
    lesson = Taught(
        tuple(takes), tuple(borrowed), held_out if len(truth) else "none", score, _confused(truth, label, names)
    )
    return replace(
        fitted,
        labels=tuple(labels),
        prototypes=prototypes,
        unknown_threshold=min([fitted.unknown_threshold, *(one.unknown_threshold for one in sets)]),
        note=f"label set {name} was taught with {len(takes)} take{'s' * (len(takes) > 1)}{_estimate(lesson)}",
        taught=lesson,
    )


def lender(bundle: ModelBundle, one: Borrowed) -> LabelSet:
    """The label set of the bundle that has a borrowed label. Raises `UsageError` if there is none."""
    source = bundle.label_sets.get(one.label_set)
    names = source.names[:-1] if source else ()
    if source is None or one.label not in names:
        known = ", ".join(names or bundle.label_sets)
        wanted = f"label {one.label!r} in {one.label_set}" if source else f"label set {one.label_set!r}"
        raise UsageError(f"bundle {bundle.name} has no {wanted}; it has: {known}")
    return source


def _estimate(taught: Taught) -> str:
    if taught.macro_f1 is None:
        return ""
    how = "one take at a time" if taught.held_out == "takes" else "a third of a take at a time"
    return f"; macro-F1 {taught.macro_f1:.2f} on windows held out {how}"


def _reach(bundle: ModelBundle) -> int:
    """Windows after one that overlap it."""
    return -(-bundle.input.window // bundle.input.hop) - 1


def _parts(takes: Sequence[Take]) -> tuple[Numbers, HeldOut]:
    """(N,) the part in which each window is held out: its take's number among those of the label, or the piece."""
    order: dict[str, int] = {}
    parts, held_out = [], "takes"
    for take in takes:
        n = len(take.embeddings)
        if sum(one.label == take.label for one in takes) == 1:
            parts.append(np.arange(n) * min(PIECES, n) // n)
            held_out = "pieces"
        else:
            parts.append(np.full(n, order.setdefault(take.label, 0)))
            order[take.label] += 1
    return np.concatenate(parts).astype(np.int64), "takes" if held_out == "takes" else "pieces"


def _named_when_held_out(takes: Sequence[Take], parts: Numbers, borrowed: F32, reach: int) -> tuple[Numbers, Numbers]:
    """(M,) true labels and (M,) labels of the nearest prototypes, of windows without which those were fitted.

    Windows that overlap a held-out one are left out of the fit, too. A part is skipped if a label has no window left.
    """
    taught = list(dict.fromkeys(take.label for take in takes))
    z = np.concatenate([take.embeddings for take in takes])
    y = np.concatenate([np.full(len(take.embeddings), taught.index(take.label)) for take in takes])
    of_take = np.concatenate([np.full(len(take.embeddings), i) for i, take in enumerate(takes)])
    truths, labels = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for part in np.unique(parts):
        out = np.flatnonzero(parts == part)
        near = np.abs(np.arange(len(z))[:, None] - out) <= reach
        rest = ~(near & (of_take[:, None] == of_take[out])).any(1)
        if len(np.unique(y[rest])) == len(taught):
            prototypes = np.concatenate([fit_prototypes(z[rest], y[rest], len(taught)), borrowed])
            truths.append(y[out])
            labels.append((z[out] @ prototypes.T).argmax(1))
    return np.concatenate(truths), np.concatenate(labels)


def macro_f1(truth: Numbers, label: Numbers) -> float:
    """Mean F1 score of the classes in `truth` (N,)."""
    scores = []
    for c in np.unique(truth):
        hits = int(((truth == c) & (label == c)).sum())
        scores.append(2 * hits / int((truth == c).sum() + (label == c).sum()))
    return float(np.mean(scores))


def _confused(truth: Numbers, label: Numbers, names: Sequence[str]) -> tuple[Confused, ...]:
    """Pairs that were mistaken for each other, the most frequent first."""
    pairs = [
        Confused(names[a], names[b], float((label[truth == a] == b).mean()))
        for a in np.unique(truth)
        for b in np.unique(label[truth == a])
        if a != b
    ]
    return tuple(sorted(pairs, key=lambda one: -one.fraction))


def advice(taught: Taught) -> list[str]:
    """What to do for a better label set, a line each."""
    lines = []
    for label in taught.names:
        takes = taught.of(label)
        if len(takes) < 3 and label != BACKGROUND:
            more = {1: "twice more", 2: "once more"}[len(takes)]
            count = {1: "once", 2: "twice"}[len(takes)]
            lines.append(f"{label} was taught {count}: do it {more}, also on another day")
        if all(take.still for take in takes) and label != BACKGROUND:
            lines.append(f"{label} has no motion in {sum(take.seconds for take in takes):.0f} s: is the sensor worn?")
    warned: set[frozenset[str]] = set()
    for one in taught.confused:
        pair = frozenset((one.truth, one.label))
        if one.fraction >= ALIKE and pair not in warned:
            warned.add(pair)
            lines.append(
                f"these two look alike: {one.truth} and {one.label}, {100 * one.fraction:.0f} % confused. "
                "If they are one movement, remove one name; else do both more often"
            )
    if BACKGROUND not in taught.names:
        lines.append(f"nothing else was taught: half a minute of other motion as {BACKGROUND!r} avoids false labels")
    return lines

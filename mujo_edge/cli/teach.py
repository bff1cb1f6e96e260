"""`mujo-edge teach`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mujo_edge.cli.arguments import BundleOption, Json, Verbose, print_json
from mujo_edge.cli.source import SourceOptions, takes_source
from mujo_edge.cli.streams import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mujo_edge.bundle import LabelSet, ModelBundle
    from mujo_edge.bundle.taught import Borrowed, Take


@takes_source
def teach(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the label set: stream --labels NAME.")],
    source: SourceOptions,
    from_: Annotated[
        list[Path] | None,
        typer.Option("--from", metavar="RECORDING", help="Labeled recording instead of a session; again for more."),
    ] = None,
    add: Annotated[
        list[str] | None,
        typer.Option("--add", metavar="LABEL", help="Add this movement, or takes of it; again for more."),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Teach a set of this name anew.")] = False,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", metavar="LABEL", help="Remove a movement; again for more.")
    ] = None,
    with_: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="SET: LABEL,...", help='Take shipped labels along: "gym-wrist: squat".'),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Keep the set in this .json file, not by its name.")
    ] = None,
    test: Annotated[bool, typer.Option("--test", help="Do everything, but save nothing.")] = False,
    bundle: BundleOption = None,
    json: Json = False,
    verbose: Verbose = 0,
) -> None:
    """Teach movements of your own: a label set from labeled recordings, or from a guided session.

    A session asks for the name of a movement, counts down, and listens until Enter; an empty name ends it.
    """
    from dataclasses import replace as changed

    from mujo_edge.bundle import LabelSet, ModelBundle
    from mujo_edge.bundle.taught import Taught, taught_file
    from mujo_edge.core import UsageError
    from mujo_edge.printable import NAME
    from mujo_edge.teaching.fitting import fit_takes, lender

    if not NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot be the name of a label set: use letters, digits and . _ + -")
    path = out or taught_file(name)
    if path.suffix.casefold() != ".json":
        raise UsageError(f"--out {path}: give a file name that ends with .json")
    model = ModelBundle.load(bundle)
    if name in model.label_sets:
        raise UsageError(f"bundle {model.name} has a label set {name} already; choose another name")
    before: LabelSet | None = None
    if add or remove or (path.exists() and with_ and not from_ and not replace):
        if not path.exists():
            raise UsageError(f"there is no label set {name} to change; teach it without --add and --remove first")
        before = model.manifest.label_set(LabelSet.load(path))
        if before.taught is None:
            raise UsageError(f"{path} was not made by `mujo-edge teach`: it has no takes to change")
    elif path.exists() and not (replace or test):
        raise UsageError(f"label set {name} exists: --add more to it, --replace it, or choose another name")
    if out and not out.parent.is_dir():
        raise UsageError(f"--out {out}: there is no folder {out.parent}; make it first")
    kept = before.taught if before and before.taught else Taught(())
    borrowed = [*kept.borrowed, *(one for one in _borrowed(with_ or ()) if one not in kept.borrowed)]
    for one in borrowed:
        lender(model, one)
    for label in remove or ():
        if label not in kept.names and label not in [one.label for one in borrowed]:
            known = [*kept.names, *(one.label for one in borrowed)]
            raise UsageError(f"label set {name} has no {label!r}; it has: {', '.join(known)}")
        kept = changed(kept, takes=tuple(take for take in kept.takes if take.label != label))
        borrowed = [one for one in borrowed if one.label != label]
    takes, channels, placement = list(kept.takes), before.channels if before else None, ""
    if from_ or add or not before:
        new, channels, placement = _new_takes(model, source, from_ or (), channels, add or ())
        takes += new
        for one in [one for one in borrowed if one.label in {take.label for take in takes}]:
            say(f"{one.label} of {one.label_set} is not taken along, as it was taught")
            borrowed.remove(one)
    labels = fit_takes(
        model,
        takes,
        name=name,
        channels=channels or len(model.input.channels),
        placement=before.placement if before else placement,
        borrowed=borrowed,
    )
    if not test:
        if out is None:
            path.parent.mkdir(parents=True, exist_ok=True)
        labels.save(path)
    _report(labels, None if test else path, named=out is None, json=json)


def _borrowed(wanted: Sequence[str]) -> list[Borrowed]:
    from mujo_edge.bundle.taught import Borrowed
    from mujo_edge.core import UsageError

    result = []
    for text in wanted:
        label_set, colon, labels = text.partition(":")
        names = [label.strip() for label in labels.split(",") if label.strip()]
        if not (colon and names):
            raise UsageError(f'--with {text!r}: give a label set and labels of it, as in "gym-wrist: squat, lunge"')
        result += [Borrowed(label_set.strip(), label) for label in names]
    return result


def _new_takes(
    model: ModelBundle, source: SourceOptions, recordings: Sequence[Path], channels: int | None, only: Sequence[str]
) -> tuple[list[Take], int, str]:
    """Takes from recordings, or from a session if there are none -> (takes, channels, placement).

    `channels`: those of the label set that they are added to. `only`: these labels and no others, if there are any.
    """
    from mujo_edge.core import DataError, UsageError
    from mujo_edge.recordings.reader import open_recording
    from mujo_edge.recordings.units import Answers
    from mujo_edge.teaching.takes import channels_of, takes_of

    if not recordings:
        from mujo_edge.cli.session import guided

        return guided(model, source, channels, only)
    if source.bluetooth or source.serial or source.phone or source.replay:
        raise UsageError("--from takes recordings: leave --ble, --serial, --phone and --replay out")
    answers = Answers.parse(source.columns, source.units, source.time_unit, source.sign)
    opened = [open_recording(path, source.rate, answers) for path in recordings]
    infos = [one.info for one in opened]
    available = channels_of(infos)
    if channels and channels > available:
        raise DataError("the label set was taught with a gyroscope, and a recording has none: record with one")
    placements = {info.placement for info in infos}
    takes = takes_of(model, opened, channels or available)
    if missing := [label for label in only if label not in {take.label for take in takes}]:
        have = ", ".join(dict.fromkeys(take.label for take in takes))
        raise DataError(f"the recordings have no {missing[0]!r}; they have: {have}")
    takes = [take for take in takes if not only or take.label in only]
    return takes, channels or available, (placements.pop() or "") if len(placements) == 1 else ""


def _report(labels: LabelSet, path: Path | None, *, named: bool, json: bool) -> None:
    """What was taught, how well windows were named that were held out, and what to do next."""
    from mujo_edge.teaching.fitting import advice

    taught = labels.taught
    assert taught is not None
    movements = [
        {
            "label": label,
            "takes": len(takes := taught.of(label)),
            "seconds": round(sum(take.seconds for take in takes), 1),
            "windows": sum(len(take.embeddings) for take in takes),
            "repetitions": sum(take.repetitions for take in takes),
        }
        for label in taught.names
    ]
    if json:
        from dataclasses import asdict

        print_json(
            {
                "name": labels.name,
                "file": str(path) if path else None,
                "labels": movements,
                "borrowed": [asdict(one) for one in taught.borrowed],
                "held_out": taught.held_out,
                "macro_f1": taught.macro_f1,
                "confused": [asdict(one) for one in taught.confused],
                "advice": advice(taught),
            }
        )
        return
    from rich.console import Console

    from mujo_edge.benchmark.report import rich_table

    rows = [tuple(str(value) for value in movement.values()) for movement in movements]
    rows += [(one.label, f"of {one.label_set}", "", "", "") for one in taught.borrowed]
    Console().print(rich_table("", ("label", "takes", "seconds", "windows", "repetitions"), rows))
    print(labels.note)
    for line in advice(taught):
        print(f"- {line}")
    if path is None:
        print("nothing was saved (--test)", file=sys.stderr)
    else:
        print(f"saved in {path}; use it with: mujo-edge stream --labels {labels.name if named else path}")

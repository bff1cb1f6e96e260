"""HDM05, cut clips (Mueller et al., Documentation: Mocap Database HDM05, CG-2007-2, Universitaet Bonn, 2007).

Layout: `HDM_{person}_{motion}_{number}_120.amc` at 120 Hz with `HDM_{person}.asf` in the same or another folder.
A motion's name consists of activity, side, number of repetitions and side that starts ("kickRFront1Reps").
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mujo_edge.core import DataError
from training.corpora.files import Tree, locate
from training.fimad.clip import Source, Take, Task
from training.fimad.skeletons.asf_amc import amc_motion

MARKER = r"(HDM_([a-z]{2})_(\w+)_\d+)_120\.amc"
SIDES = {"L": "left", "R": "right", "Left": "left", "Right": "right", "Both": "both"}
COUNTS = re.compile(r"\d+(?:Reps|Steps|hops?)?|Start(?:Floor|Air)|[LR](?:elbow|Hand|hand|knee)?[Ss]tart")
"""Parts of a name for the number of repetitions, the initial position and the side that starts."""
PLACES = {"Floor": "the floor", "Low": "a low shelf", "Middle": "a shelf", "High": "a high shelf"}
TITLES: tuple[tuple[str, str], ...] = (
    (r"cartwheel", "cartwheel"),
    (r"clap", "clap hands"),
    (r"clapAboveHead", "clap hands above the head"),
    (r"deposit(Floor|Low|Middle|High)([LR])", "put something on {0} with the {1} hand"),
    (r"grab(Floor|Low|Middle|High)([LR])", "take something from {0} with the {1} hand"),
    (r"elbowToKnee", "elbow to knee"),
    (r"hit([LR])HandHead", "hit the head with the {0} hand"),
    (r"hopBothLegs", "hop on both legs"),
    (r"hop([LR])Leg", "hop on the {0} leg"),
    (r"jog(Left|Right)Circle", "jog in a circle to the {0}"),
    (r"(jog|run|walk)OnPlace", "{0} in place"),
    (r"jumpDown", "jump down"),
    (r"jumpingJack", "jumping jack"),
    (r"kick([LR])Front", "front kick with the {0} leg"),
    (r"kick([LR])Side", "side kick with the {0} leg"),
    (r"punch([LR])Front", "front punch with the {0} fist"),
    (r"punch([LR])Side", "side punch with the {0} fist"),
    (r"lieDownFloor", "lie down on the floor"),
    (r"rotateArmsBoth(Backward|Forward)", "circle both arms {0}"),
    (r"rotateArms([LR])(Backward|Forward)", "circle the {0} arm {1}"),
    (r"shuffle", "shuffle sideways"),
    (r"sitDownKneelTieShoes", "kneel down and tie shoes"),
    (r"sitDown(Chair|Table)", "sit down on a {0}"),
    (r"sitDownFloor", "sit down on the floor"),
    (r"skier", "cross-country skiing jumps"),
    (r"sneak", "sneak"),
    (r"squat", "squat"),
    (r"staircase(Down|Up)", "walk {0} stairs"),
    (r"standUpKneelToStand", "stand up from kneeling"),
    (r"standUpLieFloor", "stand up from lying on the floor"),
    (r"standUpSitFloor", "stand up from sitting on the floor"),
    (r"standUpSit(Chair|Table)", "stand up from a {0}"),
    (r"throwBasketball", "throw a basketball"),
    (r"throwFar([LR])", "throw far with the {0} hand"),
    (r"throw(Sitting|Standing)(High|Low)([LR])", "throw {1} with the {2} hand while {0}"),
    (r"turn(Left|Right)", "turn {0}"),
    (r"walk(Left|Right)Circle", "walk in a circle to the {0}"),
    (r"walk(Left|Right)CrossFront", "walk to the {0}, one foot across the other"),
    (r"walk(Left|Right)", "walk sideways to the {0}"),
    (r"walkBackwards", "walk backwards"),
    (r"walk", "walk"),
)
"""(pattern of a motion's name without counts, title); the pattern's groups are inserted in words."""


def title(name: str) -> str:
    """Title for a motion's name; a name that is not in `TITLES` is split at its capitals."""
    stem = COUNTS.sub("", name)
    for pattern, words in TITLES:
        if matched := re.fullmatch(pattern, stem):
            place = PLACES if stem.startswith(("deposit", "grab")) else {}
            return words.format(*((place | SIDES).get(group, group.lower()) for group in matched.groups()))
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z](?![a-z])", stem)
    return " ".join(SIDES.get(part, part.lower()) for part in parts) or name.lower()


def read(path: Path, amc: str, asf: str) -> Iterator[Take]:
    """The take of one file. Raises `DataError` naming the file."""
    with Tree.open(path, (amc, asf)) as tree:
        ((_, matched),) = tree.match(MARKER)
        try:
            moved = amc_motion(*(tree.read(name).decode("latin-1") for name in (asf, amc)))
        except DataError as error:
            raise DataError(f"{tree.where(amc)}: {error}") from None
    yield Take(id=f"hdm05/{matched[1]}", corpus="hdm05", name=title(matched[3]), subject=matched[2], motion=moved)


def tasks(path: Path) -> Iterator[Task]:
    """One task per clip; it fails when read if the person's skeleton is missing."""
    with Tree.open(path) as tree:
        skeletons = {name.rpartition("/")[2]: name for name, _ in tree.match(r"HDM_[a-z]{2}\.asf")}
        for name, matched in tree.match(MARKER):
            file = f"HDM_{matched[2]}.asf"
            yield Task(f"hdm05/{matched[1]}", read, (path, name, skeletons.get(file, file)))


def find(root: Path) -> Path | None:
    """The archive or folder of clips under the data folder."""
    return locate(root, MARKER)


SOURCE = Source(
    name="hdm05",
    title="HDM05 motion capture, cut clips",
    license="CC BY-SA 3.0",
    open_license=True,
    citation="M. Mueller, T. Roeder, M. Clausen, B. Eberhardt, B. Krueger, A. Weber. Documentation: Mocap Database "
    "HDM05. CG-2007-2, Universitaet Bonn, 2007.",
    home="https://resources.mpi-inf.mpg.de/HDM05/",
    find=find,
    tasks=tasks,
)

"""Normalized titles of clips from a source's own words, and sentences that paraphrase them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

from mujo_edge.core import DataError

LONGEST_TITLE, LONGEST_TEXT = 16, 60
"""Maximum number of words in a title and in a sentence; MiniLM reads 256 word pieces at most (its model card)."""
MOST_SENTENCES = 8
"""Maximum number of sentences from a clip's descriptions."""

MOVES = frozenset(
    """
    abduction adduction bend bounce bridge burpee carry chin-up chop circle clap clean climb climber crawl crossover
    crunch curl deadlift dip drag drill elevation extension flexion fly hold hop jab jack jerk jog jump kick kickback
    lift lunge march muscle-up pass pike pitch plank pose press pull pull-up pulldown pullover punch push push-up
    pushdown raise reach roll rollout rotation row run serve shot shrug shuffle sit-up skip slam slide snatch sprint
    squat step step-up stretch stride swing swipe tap throw thrust thruster tilt touch tuck turn twist uppercut v-up
    walk wave windmill
    """.split()  # noqa: SIM905
)
"""Countable movements: "a squat", "squats"."""

SPELLINGS = (
    (r"\b(push|pull|sit|chin|step|press|roll|muscle|warm|v)[ -]?ups?\b", r"\1-up"),
    (r"\bturkish get[ -]?ups?\b", "turkish get-up"),
    (r"\bcool[ -]?downs?\b", "cool-down"),
    (r"\b(pull|push)[ -]downs?\b", r"\1down"),
    (r"\bdead[ -]lift", "deadlift"),
    (r"\bkick[ -]back", "kickback"),
    (r"\bcross[ -]overs?\b", "crossover"),
    (r"\bbody[ -]weight\b", "bodyweight"),
    (r"\bpress-up\b", "push-up"),
    (r"\bstar jumps?\b", "jumping jack"),
    (r"\bfly(?:e|es|s)\b|\bflies\b", "fly"),
    (r"\b(bi|tri)cep\b", r"\1ceps"),
    (r"\bdbs?\b|\bdbell\b|\bdumb[ -]bell", "dumbbell"),
    (r"\bbb\b|\bbbell\b|\bbar[ -]bell", "barbell"),
    (r"\bkbs?\b|\bkettle[ -]bell", "kettlebell"),
    (r"\bbent[ -]over\b", "bent-over"),
    (r"\babdominal crunch\b", "crunch"),
    (r"\bsmr\b", "self myofascial release"),
    (r"\b(?:jump rope|rope (?:jump|skip)(?:s|ping)?|skip(?:ping)? rope|jumping rope)\b", "rope skipping"),
)
"""(pattern of spellings of a name, spelling in titles)."""

NAMESAKES = {
    "push-up": "press-up",
    "jumping jack": "star jump",
    "crunch": "abdominal crunch",
    "squat": "knee bend",
    "biceps curl": "arm curl",
    "lateral raise": "side raise",
    "overhead press": "shoulder press",
    "shoulder press": "overhead press",
    "bench press": "chest press",
    "chest fly": "pec fly",
    "calf raise": "heel raise",
    "glute bridge": "hip bridge",
    "rope skipping": "jump rope",
    "punch": "boxing blow",
}
"""Phrase anywhere in a title -> synonym."""

MEANINGS = {
    "push-up": "lowering and raising a straight body on the hands",
    "sit-up": "raising the trunk from lying to sitting",
    "crunch": "curling the upper body up from the floor",
    "jumping jack": "jumping with the legs apart and the arms overhead, and back",
    "squat": "bending the knees deeply and standing up again",
    "lunge": "a long step into bent knees and back",
    "biceps curl": "bending the elbows against a weight",
    "triceps extension": "straightening the elbows against a weight",
    "lateral raise": "lifting straight arms out to the sides",
    "front raise": "lifting straight arms in front",
    "overhead press": "pressing a weight overhead",
    "bench press": "lying on a bench and pressing a weight up from the chest",
    "lat pulldown": "pulling a bar down to the chest",
    "calf raise": "rising onto the toes",
    "deadlift": "lifting a weight from the floor",
    "russian twist": "turning the trunk from side to side while seated",
    "mountain climber": "running in a push-up position",
    "toe touch": "bending down to touch the toes",
    "pull-up": "hanging from a bar and pulling the body up",
    "plank": "holding the body straight on forearms and toes",
    "walking": "going on foot at an easy pace",
    "running": "going fast on foot",
    "jogging": "running slowly",
    "jumping": "leaping off the ground",
    "jogging in place": "running on the spot",
    "walking in place": "stepping on the spot",
    "hopping on both legs": "small jumps with both feet",
    "sneaking": "walking quietly on tiptoe",
    "sit to stand": "standing up from a chair",
    "stand to sit": "sitting down on a chair",
    "forward lunge": "a long step forward into bent knees",
    "side lunge": "a long step to the side, bending one knee",
    "elbow to knee": "bringing an elbow to the opposite knee",
    "knee raise": "lifting one knee up to the hip",
    "arm circle": "moving straight arms in circles",
    "torso twist": "turning the upper body from side to side",
    "clap": "clapping the hands in front of the body",
    "wave": "waving hello with the hand",
    "throw": "throwing a ball",
    "boxing": "punching forward with the fists",
    "basketball shoot": "throwing a basketball with both hands",
    "tennis serve": "hitting a tennis ball overhead",
    "bowling": "rolling a ball along the ground with one hand",
    "baseball swing": "swinging a bat with both hands",
    "baseball pitch": "throwing a baseball overhand",
    "golf swing": "swinging a golf club",
    "clean and jerk": "lifting a barbell from the floor overhead in two moves",
    "rope skipping": "jumping over a swinging rope",
}
"""Whole title -> description of the movement."""

COUNTED = (
    "a person doing {article} {title}",
    "someone performing {plural}",
    "{plural}",
    "repetitions of the {title}",
    "the movement is {article} {title}",
)
ONGOING = ("a person {title}", "someone is {title}", "a person who is {title}", "the activity is {title}")
NAMED = ("a person doing {title}", "someone performing {title}", "the exercise {title}", "the activity is {title}")
"""Templates for a title that is a countable movement, for one that begins with a gerund, and for any other."""

SMALL_WORDS = r"(?:with|without|to|on|onto|of|from|in|into|at|against|over|behind|off|by|using|while)"
POSTURES = ("standing", "sitting", "lying", "kneeling", "hanging", "walking", "jumping")
"""Gerunds that modify the name of an exercise ("standing hip tilt"), unless one of `WAYS` follows."""
WAYS = rf"(?:{SMALL_WORDS}|up|down|still|upstairs|downstairs|forwards?|backwards?|sideways|around)\b"
VERBS = {
    "bend": "bending",
    "catch": "catching",
    "circle": "circling",
    "clap": "clapping",
    "climb": "climbing",
    "cross": "crossing",
    "draw": "drawing",
    "dribble": "dribbling",
    "hit": "hitting",
    "hop": "hopping",
    "jog": "jogging",
    "jump": "jumping",
    "kick": "kicking",
    "kneel": "kneeling",
    "knock": "knocking",
    "lie": "lying",
    "lift": "lifting",
    "pick": "picking",
    "put": "putting",
    "reach": "reaching",
    "run": "running",
    "shoot": "shooting",
    "shuffle": "shuffling",
    "sit": "sitting",
    "sneak": "sneaking",
    "stand": "standing",
    "step": "stepping",
    "strum": "strumming",
    "take": "taking",
    "throw": "throwing",
    "tie": "tying",
    "turn": "turning",
    "walk": "walking",
    "wash": "washing",
    "wave": "waving",
}
"""Verbs that a name may begin with -> gerunds that replace them in a title."""
GAITS = ("jog", "run", "sneak", "walk")
"""Words that are verbs even when alone; the others, such as "wave", are then nouns."""
OBJECTS = r"(?:an?|the|both|one|something|oneself|left|right|hands|arms|legs|stairs|x|circle|triangle)\b"
"""Words that, like `WAYS`, make the word before them a verb: "clap hands", but not "jump squat"."""
UNIT = r"(?:x|s|sec|secs|seconds?|min|mins|minutes?|reps?|repetitions?|times|rounds?|sets?)"
NUMBERING = (
    r"\b\d{1,2}:\d{2}(?::\d{2})?\b",  # 12:30
    rf"\b\d+\s*{UNIT}\b\.?",  # 30 sec, 10x
    r"\bx\s*\d+\b",  # x 10
    r"\b(?:exercise|move|round|set|part|circuit|day|number|no\.?)\s*#?\d+\b",
    r"#\s*\d+\b",
    r"^\W*\d+\s*[.):|–—-]+\s+",  # 3. squats
    r"^\W*\d+\s+(?=[^\W\d])(?!(?:arm|leg|hand|board|point|way|position|count)\b)",  # 20 squats, but not "2 arm curl"
)


def normalize_title(name: str) -> str:
    """A source's own words -> a clip's title: lower case, unified spelling, singular, without numbers and durations.

    "Exercise 3: Push Ups (30 sec)" -> "push-up". Raises `DataError` if no word is left.
    """
    text = unicodedata.normalize("NFKC", name).replace("’", "'").replace("_", " ")
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower()
    for pattern in NUMBERING:
        text = re.sub(pattern, " ", text)
    text = re.sub(r"[^\w\s/'-]|(?<!\w)['/-]+|['/-]+(?!\w)", " ", text.replace("&", " and "))
    text = " ".join(text.split())
    for pattern, spelling in SPELLINGS:
        text = re.sub(pattern, spelling, text)
    words = [singular(word) for part in text.split() for word in unhyphenated(part)]
    if not any(letter.isalpha() for word in words for letter in word):
        raise DataError(f"the title {name[:60]!r} has no words. Give the clip a title that names the activity")
    return " ".join(gerunds(words)[:LONGEST_TITLE])


def gerunds(words: list[str]) -> list[str]:
    """ "sit down and tie shoes" -> "sitting down and tying shoes"; names of movements stay ("clean and jerk")."""
    rest = " ".join(words[1:])
    phrase = re.match(rf"(?!to (?:sit|stand)\b)(?:{WAYS}|{OBJECTS}|and (?:{'|'.join(VERBS)})\b)", rest)
    if words[0] not in VERBS or not (phrase or (words[0] in GAITS and not rest)):
        return words
    return [VERBS.get(word, word) if i == 0 or words[i - 1] == "and" else word for i, word in enumerate(words)]


def unhyphenated(word: str) -> list[str]:
    """A word split at its hyphens, except "push-up" and the like: "one-arm" and "one arm" are one title."""
    return [word] if word.endswith(("-up", "-down", "bent-over")) else word.split("-")


def singular(word: str) -> str:
    """The singular of a movement in `MOVES`; any other word unchanged."""
    for ending in ("", "s", "es"):
        if word.endswith(ending) and (stem := word.removesuffix(ending)) in MOVES:
            return stem
    return word


def noun_of(title: str) -> tuple[str, str] | None:
    """A title split after its countable movement: ("front kick", " with the right leg"); None if it has none."""
    found = re.search(rf" {SMALL_WORDS}\b", title)
    for end in (found.start() if found else len(title), len(title)):
        if title[:end].split()[-1] in MOVES:
            return title[:end], title[end:]
    return None


def plural(noun: str) -> str:
    """A noun phrase in the plural."""
    if noun.endswith("fly"):
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "sh", "ch", "x")) else "s")


def article(noun: str) -> str:
    """ "a" or "an", by the sound of the words that occur in titles."""
    return "an" if noun[0] in "aeiou" and not noun.startswith(("one", "uni", "eu")) else "a"


def ongoing(title: str) -> bool:
    """Whether a title is a gerund phrase."""
    first = title.split()[0]
    if first not in POSTURES:
        return re.fullmatch(r"\w{2,}ing", first) is not None and not first.endswith(("string", "morning", "spring"))
    return title == first or re.match(rf"{WAYS}|and\b", title.removeprefix(first + " ")) is not None


def sentences(title: str) -> Iterator[str]:
    """The templates filled in with a title, in a fixed order."""
    if counted := noun_of(title):
        noun, rest = counted
        for template in COUNTED:
            yield template.format(title=title, article=article(noun), plural=plural(noun) + rest)
        return
    for template in ONGOING if ongoing(title) else NAMED:
        yield template.format(title=title)


def synonyms(title: str) -> Iterator[str]:
    """The title with a phrase replaced by its synonym, and the description of the movement."""
    for phrase, other in NAMESAKES.items():
        if re.search(rf"\b{phrase}\b", title):
            yield re.sub(rf"\b{phrase}\b", other, title)
    if meaning := MEANINGS.get(title):
        yield meaning


def split_sentences(description: str) -> Iterator[str]:
    """Sentences of a text with normalized white space, each cut to `LONGEST_TEXT` words."""
    flat = " ".join(unicodedata.normalize("NFKC", description).split())
    for sentence in re.split(r"(?<=[.!?])\s+", flat):
        if re.search(r"[^\W\d]{2}", sentence):
            yield " ".join(sentence.split()[:LONGEST_TEXT])


def texts(name: str, descriptions: Sequence[str] = ()) -> tuple[str, ...]:
    """All texts of a clip without duplicates: its title, the source's own words, paraphrases, and sentences of
    `descriptions`. Raises `DataError` as `normalize_title` does.
    """
    title = normalize_title(name)
    described = [sentence for text in descriptions for sentence in split_sentences(text)][:MOST_SENTENCES]
    own = " ".join(name.split()[:LONGEST_TITLE])
    every = [title, own, *synonyms(title), *sentences(title), *described]
    if described:
        every.append(f"{title}: {described[0]}")
    first: dict[str, str] = {}
    for text in every:
        first.setdefault(text.casefold().rstrip("."), text)
    return tuple(first.values())

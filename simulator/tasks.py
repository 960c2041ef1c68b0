"""Tasks: a verb, an object and a goal; what a person would be told, and success from state."""

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from dojobench.protocol.errors import BadInputError
from dojobench.simulator import skills
from dojobench.simulator.embodiments import Vector
from dojobench.simulator.motions import (
    Behaviour,
    Style,
    axes_of,
    crowding,
    inside,
    place_of,
    upright,
)
from dojobench.simulator.objects import ObjectInfo
from dojobench.simulator.world import Dojo

Skill = Callable[[Dojo, ObjectInfo, Vector, np.random.Generator, Style], Behaviour]

SKILLS: Mapping[str, Skill] = {
    "pick": skills.pick,
    "place": skills.place,
    "push": skills.push,
    "slide": skills.slide,
    "open": skills.open_up,
    "topple": skills.topple,
    "pat": skills.pat,
    "miss": skills.miss,
    "slap": skills.slap,
    "wave": skills.wave,
}
_PHRASES = {
    "pick": "pick up the {label}",
    "place": "move the {label} to the {side}",
    "push": "push the {label} {way}",
    "slide": "slide the {label} {way}",
    "open": "open the {label}",
    "topple": "topple the {label} {way}",
    "pat": "pat the {label}",
    "miss": "reach for the {label} and miss it",
    "slap": "slap the {label} {way}",
    "wave": "wave",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """Something to do.

    Attributes:
        verb: One of ``SKILLS``.
        item: What to do it to.
        goal: A place on the table for ``place``, a way to go for the others, metres.
        instruction: The same in words.
    """

    verb: str
    item: ObjectInfo
    goal: Vector
    instruction: str

    def behave(self, dojo: Dojo, rng: np.random.Generator, style: Style) -> Behaviour:
        """Starts the scripted behaviour that does it."""
        return SKILLS[self.verb](dojo, self.item, self.goal, rng, style)


def _fits(verb: str, dojo: Dojo, item: ObjectInfo) -> bool:
    if verb == "open":
        return item.fixture and dojo.state(item).opening < 0.2
    if verb == "wave":
        return True
    if item.fixture:
        return verb in ("pat", "miss")
    if not inside(place_of(dojo, item), 0.03):
        return verb in ("pat", "miss")
    if verb == "topple":
        tall = item.half_height > 1.35 * item.half_width
        return item.factors.kind in ("box", "cylinder", "mug") and tall and upright(dojo, item)
    return True


def _ways(dojo: Dojo, item: ObjectInfo, verb: str, rng: np.random.Generator) -> list[Vector]:
    """Lists ways across the table that start and end within it, the emptiest first."""
    start = place_of(dojo, item)
    length = float(rng.uniform(0.09, 0.14))
    scored = []
    angles = [k * math.pi / 4 + float(rng.normal(0, 0.1)) for k in range(8)]
    if verb == "topple" and item.factors.kind == "box":
        narrow = axes_of(dojo, item)[:, 1]
        first = math.atan2(narrow[1], narrow[0])
        angles = [first, first + math.pi]
    for k, angle in enumerate(angles):
        way = np.array([math.cos(angle), math.sin(angle), 0.0])
        behind = start - way * (item.radius + 0.05)
        beside = start + way * (item.radius + 0.075)
        if verb == "miss":
            room = crowding(dojo, beside, item) if inside(beside) else -1.0
        elif inside(behind) and inside(start + way * length, 0.0):
            room = min(
                crowding(dojo, behind, item) - 0.03, crowding(dojo, start + way * length, item)
            )
            room = min(room, crowding(dojo, start + 0.5 * way * length, item))
        else:
            continue
        scored.append((min(room, 0.06) + 0.01 * float(rng.random()), k, way * length))
    scored.sort(key=lambda entry: -entry[0])
    return [way for _, _, way in scored]


def _way_name(way: Vector) -> str:
    names = ("to the right", "away", "to the left", "closer")
    return names[round(math.atan2(way[1], way[0]) / (math.pi / 2)) % 4]


def _spot(dojo: Dojo, item: ObjectInfo, rng: np.random.Generator) -> Vector:
    """Finds a free place at least 10 cm from where the object is."""
    start = place_of(dojo, item)
    best, best_room = start, -1.0
    for _ in range(40):
        spot = np.array([rng.uniform(-0.19, 0.19), rng.uniform(-0.17, 0.11), 0.0])
        if 0.10 < float(np.hypot(*(spot[:2] - start[:2]))) < 0.28:
            room = min(crowding(dojo, spot, item) - item.radius, 0.05)
            if room > best_room:
                best, best_room = spot, room
    return best


def propose(
    dojo: Dojo, verb: str, rng: np.random.Generator, item: ObjectInfo | None = None
) -> Task | None:
    """Makes a task of a verb for the present state.

    Args:
        dojo: The world.
        verb: One of ``SKILLS``.
        rng: Chooses among what fits.
        item: What to do it to; any that fits where ``None``.

    Returns:
        The task, or ``None`` where nothing on the table fits the verb.

    Raises:
        BadInputError: If there is no such verb.
    """
    if verb not in SKILLS:
        near = difflib.get_close_matches(verb, SKILLS, n=1, cutoff=0.0)[0]
        raise BadInputError(f"There is no task {verb!r}: did you mean {near!r}?")
    items = [one for one in (dojo.objects if item is None else (item,)) if _fits(verb, dojo, one)]
    for index in rng.permutation(len(items)):
        chosen = items[int(index)]
        ways = _ways(dojo, chosen, verb, rng)
        if verb in ("push", "slide", "topple", "slap", "miss") and not ways:
            continue
        goal = _spot(dojo, chosen, rng) if verb == "place" else np.zeros(3)
        if ways and verb != "place":
            goal = ways[0]
        side = "right" if goal[0] > place_of(dojo, chosen)[0] else "left"
        words = _PHRASES[verb].format(label=chosen.label, side=side, way=_way_name(goal))
        return Task(verb=verb, item=chosen, goal=goal, instruction=words)
    return None


@dataclass(slots=True)
class Monitor:
    """What happened to the object of a task since it began; call ``update`` every step.

    Attributes:
        task: The task.
        start: Where its object was.
        touched: Whether the embodiment touched it.
        touched_any: Whether it touched any object.
        fastest: The object's top speed, metres per second.
        highest: The most it was lifted, metres.
        nearest: Smallest distance from the fingertips to where the object was, metres.
        path: The fingertips' x, one a step.
    """

    task: Task
    start: Vector
    touched: bool = False
    touched_any: bool = False
    fastest: float = 0.0
    highest: float = 0.0
    nearest: float = 1.0
    path: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, dojo: Dojo, task: Task) -> "Monitor":
        """Starts to watch a task."""
        return cls(task, place_of(dojo, task.item))

    def update(self, dojo: Dojo) -> None:
        """Looks once, after a step."""
        state = dojo.state(self.task.item)
        pairs = [{contact.first, contact.second} for contact in dojo.contacts()]
        hit = [pair for pair in pairs if "robot" in pair and "background" not in pair]
        self.touched |= {"robot", self.task.item.name} in hit
        self.touched_any |= bool(hit)
        self.fastest = max(self.fastest, state.speed)
        self.highest = max(self.highest, state.position[2] - self.start[2])
        self.nearest = min(self.nearest, float(np.linalg.norm(dojo.tip - self.start)))
        self.path.append(float(dojo.tip[0]))

    def success(self, dojo: Dojo) -> bool:
        """Says whether the task has been done, from the state."""
        return _DONE[self.task.verb](self, dojo)

    def moved(self, dojo: Dojo) -> Vector:
        """Gives how far the object is from where it was, ``[3]``."""
        return place_of(dojo, self.task.item) - self.start

    def along(self, dojo: Dojo) -> bool:
        """Says whether it went at least 4 cm, and within 45 degrees of the way wanted."""
        way, moved = self.task.goal[:2], self.moved(dojo)[:2]
        far = float(np.hypot(*moved))
        return far > 0.04 and float(way @ moved) > 0.707 * far * float(np.hypot(*way))


def _placed(monitor: Monitor, dojo: Dojo) -> bool:
    off = place_of(dojo, monitor.task.item) - monitor.task.goal
    free = not dojo.touching(monitor.task.item.name)
    return bool(np.hypot(*off[:2]) < 0.04 and abs(monitor.moved(dojo)[2]) < 0.03 and free)


def _missed(monitor: Monitor, dojo: Dojo) -> bool:
    still = float(np.linalg.norm(monitor.moved(dojo))) < 0.01
    return still and not monitor.touched and monitor.nearest < monitor.task.item.radius + 0.12


def _waved(monitor: Monitor, dojo: Dojo) -> bool:
    turns = np.diff(np.sign(np.diff(monitor.path)))
    return not monitor.touched_any and int((turns != 0).sum()) >= 4


def _toppled(monitor: Monitor, dojo: Dojo) -> bool:
    return bool(axes_of(dojo, monitor.task.item)[2, 2] < 0.5)


_DONE: Mapping[str, Callable[[Monitor, Dojo], bool]] = {
    "pick": lambda m, d: float(m.moved(d)[2]) > 0.05 and d.touching(m.task.item.name),
    "place": _placed,
    "push": lambda m, d: m.along(d) and m.highest < 0.04,
    "slide": lambda m, d: m.along(d) and m.highest < 0.02,
    "open": lambda m, d: d.state(m.task.item).opening > 0.4,
    "topple": _toppled,
    "pat": lambda m, d: m.touched and float(np.linalg.norm(m.moved(d))) < 0.03,
    "miss": _missed,
    "slap": lambda m, d: m.touched and m.fastest > 0.25 and float(np.hypot(*m.moved(d)[:2])) > 0.05,
    "wave": _waved,
}

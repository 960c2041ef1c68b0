"""Who decides the actions: scripted tasks with natural noise, and exploration near contact."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from dojobench.simulator.embodiments import WORKSPACE, in_workspace
from dojobench.simulator.motions import (
    Behaviour,
    Style,
    above,
    draw_style,
    grasp,
    place_of,
    raise_up,
    rest,
    retreat,
    travel,
    wait,
)
from dojobench.simulator.tasks import Task, propose
from dojobench.simulator.world import Dojo


class Policy:
    """Turns a behaviour into actions, with a slow wobble that never adds up.

    Args:
        dojo: The world.
        rng: Randomness of the noise and of what the behaviour leaves open.
        style: How it moves; drawn where ``None``.

    Attributes:
        style: How it moves.
        rng: The random stream, for behaviours to share.
        idle: Whether the behaviour has ended.
    """

    def __init__(self, dojo: Dojo, rng: np.random.Generator, style: Style | None = None) -> None:
        self.style = style or draw_style(rng)
        self.rng = rng
        self.idle = True
        self._dojo = dojo
        self._behaviour: Behaviour = iter(())
        self._wobble = np.zeros(3)

    def begin(self, behaviour: Behaviour) -> None:
        """Starts a behaviour in place of the present one."""
        self._behaviour = behaviour
        self.idle = False

    def act(self) -> npt.NDArray[np.float32]:
        """Gives the next action, ``[dim]``; holds still once the behaviour has ended."""
        dojo = self._dojo
        intent = next(self._behaviour, None)
        if intent is None:
            self.idle = True
            intent = dojo.embodiment.held(dojo.control)
        else:
            kick = self.rng.normal(0, 1, 3)
            self._wobble = 0.8 * self._wobble + 0.6 * self.style.noise * kick
            # Near the table a wobble downwards would only press on it.
            place = intent.position + self._wobble * (0.6 if intent.position[2] < 0.04 else 1.0)
            floor = min(float(intent.position[2]), WORKSPACE[2][0])
            intent = replace(intent, position=in_workspace(place, floor))
        return dojo.embodiment.encode(dojo.control, intent).astype(np.float32)


def explore(dojo: Dojo, rng: np.random.Generator, style: Style) -> Behaviour:
    """Wanders without a task, four times out of five to where something can be touched."""
    while True:
        yield from rest(dojo, style, rng)
        item = dojo.objects[int(rng.integers(len(dojo.objects)))]
        choice = float(rng.random())
        if choice < 0.2:
            goal = np.array(
                [rng.uniform(-0.2, 0.2), rng.uniform(-0.18, 0.16), rng.uniform(0.05, 0.2)]
            )
            yield from travel(dojo, goal, style=style, grip=float(rng.random()))
        elif choice < 0.65:
            yield from _sweep(dojo, rng, style)
        elif choice < 0.85 and not item.fixture:
            yield from grasp(dojo, item, rng, style)
            goal = dojo.embodiment.held(dojo.control).position + rng.normal(0, 0.06, 3)
            goal[2] = float(rng.uniform(0.03, 0.12))
            yield from travel(dojo, goal, style=style, grip=0.0)
            yield from retreat(dojo, rng, style)
        else:
            goal = above(dojo, item)
            goal += rng.normal(0, 0.015, 3)
            yield from travel(dojo, goal, style=style, grip=float(rng.random()))
            yield from wait(dojo, 2, grip=float(rng.random()))


def _sweep(dojo: Dojo, rng: np.random.Generator, style: Style) -> Behaviour:
    """Goes down beside an object and through where it stands."""
    item = dojo.objects[int(rng.integers(len(dojo.objects)))]
    angle = float(rng.uniform(0, 2 * np.pi))
    way = np.array([np.cos(angle), np.sin(angle), 0.0])
    start = place_of(dojo, item) - way * (item.radius + 0.06)
    start[2] = float(rng.uniform(0.11, 0.15))
    yield from travel(dojo, start, style=style, grip=float(rng.random() < 0.3))
    start[2] = float(rng.uniform(0.02, 0.05))
    yield from travel(dojo, start, style=style)
    end = start + way * (2 * item.radius + float(rng.uniform(0.08, 0.2)))
    yield from travel(dojo, end, style=style)
    if rng.random() < 0.5:
        yield from travel(dojo, end - 0.5 * (end - start), style=style)
    yield from raise_up(dojo, rng, style)


def approach(dojo: Dojo, task: Task, rng: np.random.Generator, style: Style) -> Behaviour:
    """Comes near a task's object and stays there, open for any continuation."""
    goal = above(dojo, task.item)
    goal += rng.normal(0, 0.015, 3)
    yield from travel(dojo, goal, style=style, grip=float(rng.uniform(0.3, 1.0)))


class Performer:
    """Does one task after another, of the verbs given, for as long as it is asked.

    Args:
        dojo: The world.
        rng: Randomness of everything it does.
        verbs: What to do; ``explore`` is allowed too. Verbs that fit nothing on the table give
            way to exploration.
        first: A task to begin with.

    Attributes:
        policy: The policy underneath.
        tasks: The tasks begun so far.
    """

    def __init__(
        self,
        dojo: Dojo,
        rng: np.random.Generator,
        verbs: Sequence[str],
        first: Task | None = None,
    ) -> None:
        self.policy = Policy(dojo, rng)
        self.tasks: list[Task] = []
        self._dojo = dojo
        self._verbs = tuple(verbs)
        self._left = 0
        if first is not None:
            self._start(first)

    def _start(self, task: Task) -> None:
        self.tasks.append(task)
        self._left = 120
        self.policy.begin(task.behave(self._dojo, self.policy.rng, self.policy.style))

    def _next(self) -> None:
        rng = self.policy.rng
        for index in rng.permutation(len(self._verbs)):
            verb = self._verbs[int(index)]
            if verb == "explore":
                break
            task = propose(self._dojo, verb, rng)
            if task is not None:
                self._start(task)
                return
        self._left = int(rng.integers(20, 45))
        self.policy.begin(explore(self._dojo, rng, self.policy.style))

    def act(self) -> npt.NDArray[np.float32]:
        """Gives the next action."""
        if self.policy.idle or self._left <= 0:
            self._next()
        self._left -= 1
        return self.policy.act()

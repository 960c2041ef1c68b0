"""Clips made in memory: a plan decides a clip to the byte, rendering only carries it out.

A clip is a stretch of an episode. An episode is decided by its seed and by what a plan says
of the scene and the behaviour; nothing else enters, so any process renders any clip.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from dojobench.protocol.errors import BadInputError
from dojobench.simulator.embodiments import MARKER
from dojobench.simulator.factors import Choice, SceneFactors, sample
from dojobench.simulator.motions import Behaviour, travel
from dojobench.simulator.policies import Performer, approach, explore
from dojobench.simulator.seeding import stream
from dojobench.simulator.tasks import Monitor, Task, propose
from dojobench.simulator.world import Dojo

GENERATOR = "dojo-1"
"""Version of everything that decides the bytes of a clip; part of every plan's hash."""
_SETTLE = 3
"""Steps at the end of a mirrored clip in which the embodiment comes to rest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipPlan:
    """What a clip will be.

    Attributes:
        id: Unique within its suite, ``[A-Za-z0-9._-]+``.
        suite: Such as ``dojo-mini``.
        split: Such as ``counterfactual``.
        seed: Seed of the episode; a hash, so that it does not give a secret suite seed away.
        embodiment: ``arm``, ``arm2`` or ``hand``.
        camera: Camera that sees it.
        frames: Frames of the clip, context included.
        context: Leading frames that a model may see.
        lead: Control steps that are played before the first frame.
        verbs: What is done, in random order; the first task is the first that fits.
        factors: Factors that are held or narrowed.
        star: Kind of the first object, which the first task is done to; ``None``: any.
        branch_group: Name shared by clips that branch from one state after the context.
        branch: The verb of this branch.
        factual: Whether the training data has behaviour of this kind.
        mirror: Whether the second half of the actions takes the first half back.
        actions_withheld: Whether a training set shows this clip without its actions.
    """

    id: str
    suite: str
    split: str
    seed: int
    embodiment: str
    camera: str
    frames: int
    context: int
    lead: int
    verbs: tuple[str, ...]
    factors: Mapping[str, Choice]
    star: str | None = None
    branch_group: str | None = None
    branch: str | None = None
    factual: bool = True
    mirror: bool = False
    actions_withheld: bool = False

    @property
    def episode(self) -> str:
        """Id of the episode that the clip is part of; splits never share one."""
        return f"{self.seed:016x}"

    def digest(self) -> str:
        """Hashes the plan and the generator's version: ``sha256:…``."""
        fields = dataclasses.asdict(self) | {"generator": GENERATOR}
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class RenderedClip:
    """A clip, carried out. ``n`` is its number of frames, ``k`` of its objects.

    Attributes:
        plan: What it was made from.
        frames: ``[n, height, width, 3]`` uint8, or ``None`` where only simulated.
        actions: ``[n - 1, dim]`` float32, within bounds; row ``i`` leads from frame ``i``
            to frame ``i + 1``.
        instruction: The task in words, ``None`` for aimless behaviour.
        success: Whether the first task was done by the end; ``None`` without a task.
        labels: Of every object, such as ``red ball``.
        object_states: ``[n, k, 8]`` float32: position (m), quaternion, opening (0 to 1).
        touched: ``[n, k]`` bool: whether the embodiment touches the object.
        tip: ``[n, 3]`` float32: point between the fingertips, metres.
        marker_rgb: ``[3]`` uint8: colour of the end effector's band.
        object_rgb: ``[k, 3]`` uint8: main colours of the objects, before lighting.
        segmentation: ``[n, height, width]`` uint8, where asked for: 0 background, 1 robot,
            2 and up the objects.
    """

    plan: ClipPlan
    frames: npt.NDArray[np.uint8] | None
    actions: npt.NDArray[np.float32]
    instruction: str | None
    success: bool | None
    labels: tuple[str, ...]
    object_states: npt.NDArray[np.float32]
    touched: npt.NDArray[np.bool_]
    tip: npt.NDArray[np.float32]
    marker_rgb: npt.NDArray[np.uint8]
    object_rgb: npt.NDArray[np.uint8]
    segmentation: npt.NDArray[np.uint8] | None = None


def scene_of(plan: ClipPlan) -> SceneFactors:
    """Samples the scene of a plan, the star's kind put in its place."""
    factors = sample(plan.seed, plan.factors)
    if plan.star is None:
        return factors
    first, *others = factors.objects
    # A scene has room for one fixture of a kind.
    others = [replace(one, kind="box") if one.kind == plan.star else one for one in others]
    return replace(factors, objects=(replace(first, kind=plan.star), *others))


def _first_task(dojo: Dojo, plan: ClipPlan, rng: np.random.Generator) -> Task | None:
    """Takes the first verb, in random order, that fits the star, or anything."""
    order = [plan.verbs[int(i)] for i in rng.permutation(len(plan.verbs))]
    for item in (dojo.objects[0], None) if plan.star is not None else (None,):
        for verb in order:
            if verb == "explore":
                return None
            task = propose(dojo, verb, rng, item)
            if task is not None:
                return task
    return None


class _Recorder:
    """Collects a clip frame by frame."""

    def __init__(
        self,
        dojo: Dojo,
        plan: ClipPlan,
        size: tuple[int, int] | None,
        mask: bool,
        then: Sequence[npt.NDArray[np.float32]] = (),
    ) -> None:
        self._dojo, self._plan, self._size, self._mask = dojo, plan, size, mask
        self._then = then
        self.actions: list[npt.NDArray[np.float32]] = []
        self._frames: list[npt.NDArray[np.uint8]] = []
        self._masks: list[npt.NDArray[np.uint8]] = []
        self._states: list[list[tuple[float, ...]]] = []
        self._touched: list[list[bool]] = []
        self._tips: list[npt.NDArray[np.float64]] = []
        self.look()

    def look(self) -> None:
        dojo = self._dojo
        if self._size is not None:
            picture = dojo.observe(self._plan.camera, self._size, segmentation=self._mask)
            self._frames.append(picture.rgb)
            if picture.segmentation is not None:
                self._masks.append(picture.segmentation)
        states = dojo.states()
        self._states.append([(*s.position, *s.quaternion, s.opening) for s in states])
        hit = {c.first for c in dojo.contacts() if c.second == "robot"}
        self._touched.append([item.name in hit for item in dojo.objects])
        self._tips.append(dojo.tip)

    def step(self, action: npt.NDArray[np.float32]) -> None:
        beyond = len(self.actions) - (self._plan.context - 1)
        if 0 <= beyond < len(self._then):
            action = self._then[beyond]
        self._dojo.step(action)
        self.actions.append(action)
        self.look()

    def finish(self, task: Task | None, success: bool | None) -> RenderedClip:
        objects = self._dojo.objects
        colours = np.array([item.rgb for item in objects])
        return RenderedClip(
            plan=self._plan,
            frames=np.stack(self._frames) if self._frames else None,
            actions=np.stack(self.actions),
            instruction=task.instruction if task else None,
            success=success,
            labels=tuple(item.label for item in objects),
            object_states=np.array(self._states, np.float32),
            touched=np.array(self._touched),
            tip=np.array(self._tips, np.float32),
            marker_rgb=np.round(np.array(MARKER.rgb) * 255).astype(np.uint8),
            object_rgb=np.round(colours * 255).astype(np.uint8),
            segmentation=np.stack(self._masks) if self._masks else None,
        )


def render_clip(
    plan: ClipPlan, *, size: tuple[int, int] | None = (64, 64), segmentation: bool = False
) -> RenderedClip:
    """Carries out a plan.

    Args:
        plan: What to make.
        size: Height and width, 64x64 to 480x640; ``None`` simulates without rendering, which
            is several times quicker and gives everything but the frames.
        segmentation: Whether to give whom every pixel belongs to.

    Returns:
        The same bytes for the same plan on the same machine.

    Raises:
        BadInputError: If the scene cannot be built or the resolution is out of range.
    """
    return _carry_out(plan, size, segmentation, ())


def replay_clip(
    plan: ClipPlan, actions: npt.NDArray[np.float32], *, size: tuple[int, int] = (64, 64)
) -> npt.NDArray[np.uint8]:
    """Carries out a plan up to its last context frame, and then other actions.

    Args:
        plan: Whose context is shared.
        actions: ``[n, dim]`` float32, at least one; of a mirrored clip, at most its own number.
        size: Height and width.

    Returns:
        The ``n`` frames after the context, uint8 ``[n, height, width, 3]``. The plan's own
        actions give its own frames, to the bit.

    Raises:
        BadInputError: If the resolution is out of range, or the actions have another shape, are
            not finite, or are more than a mirrored clip's own.
    """
    frames = plan.context + len(actions)
    if plan.mirror and frames > plan.frames:
        raise BadInputError(
            f"The clip {plan.id} takes its actions back after {plan.frames} frames: replay at most "
            f"{plan.frames - plan.context} actions, not {len(actions)}."
        )
    longer = plan if plan.mirror else replace(plan, frames=frames)
    played = _carry_out(longer, size, False, list(actions))
    if played.frames is None:
        raise ValueError("a replayed clip has frames")
    return played.frames[plan.context : frames]


def _carry_out(
    plan: ClipPlan,
    size: tuple[int, int] | None,
    segmentation: bool,
    then: Sequence[npt.NDArray[np.float32]],
) -> RenderedClip:
    """Carries out a plan, with other actions after the context where some are given."""
    dojo = Dojo(plan.embodiment).reset(plan.seed, scene_of(plan))
    rng = stream(plan.seed, "policy")
    if plan.branch is not None:
        return _branch(dojo, plan, rng, size, segmentation, then)
    if plan.mirror:
        return _mirror(dojo, plan, rng, size, segmentation, then)
    task = _first_task(dojo, plan, rng)
    performer = Performer(dojo, rng, plan.verbs, task)
    monitor = Monitor.of(dojo, task) if task else None
    for _ in range(plan.lead):
        dojo.step(performer.act())
        if monitor:
            monitor.update(dojo)
    recorder = _Recorder(dojo, plan, size, segmentation, then)
    success = None
    for _ in range(plan.frames - 1):
        recorder.step(performer.act())
        if monitor and len(performer.tasks) == 1:
            monitor.update(dojo)
            success = monitor.success(dojo)
    return recorder.finish(task, success)


def _branch(
    dojo: Dojo,
    plan: ClipPlan,
    rng: np.random.Generator,
    size: tuple[int, int] | None,
    segmentation: bool,
    then: Sequence[npt.NDArray[np.float32]],
) -> RenderedClip:
    """Approaches an object alike in every branch of a group, then does the branch's verb."""
    aim = propose(dojo, "miss", rng, dojo.objects[0]) or propose(dojo, "wave", rng)
    performer = Performer(dojo, rng, ("explore",))
    policy = performer.policy
    if aim is not None:
        policy.begin(approach(dojo, aim, rng, policy.style))
    for _ in range(plan.lead):
        dojo.step(policy.act())
    recorder = _Recorder(dojo, plan, size, segmentation, then)
    for _ in range(plan.context - 1):
        recorder.step(policy.act())
    policy.rng = stream(plan.seed, "branch", str(plan.branch))
    item = aim.item if aim is not None else None
    task = propose(dojo, str(plan.branch), policy.rng, item)
    task = task or propose(dojo, str(plan.branch), policy.rng)
    behaviour: Behaviour = explore(dojo, policy.rng, policy.style)
    if task is not None:
        behaviour = task.behave(dojo, policy.rng, policy.style)
    policy.begin(behaviour)
    monitor = Monitor.of(dojo, task) if task else None
    for _ in range(plan.frames - plan.context):
        recorder.step(policy.act())
        if monitor:
            monitor.update(dojo)
    return recorder.finish(task, monitor.success(dojo) if monitor else None)


def _mirror(
    dojo: Dojo,
    plan: ClipPlan,
    rng: np.random.Generator,
    size: tuple[int, int] | None,
    segmentation: bool,
    then: Sequence[npt.NDArray[np.float32]],
) -> RenderedClip:
    """Sets out from rest through free space and takes every step back, to rest again."""
    performer = Performer(dojo, rng, ("explore",))
    policy = performer.policy
    for _ in range(plan.lead):
        dojo.step(policy.act())
    policy.begin(_wander(dojo, rng, performer))
    recorder = _Recorder(dojo, plan, size, segmentation, then)
    held = [dojo.control.copy()]
    for _ in range((plan.frames - 1 - _SETTLE) // 2):
        recorder.step(policy.act())
        held.append(dojo.control.copy())
    for control in reversed(held[:-1]):
        intent = dojo.embodiment.held(control)
        recorder.step(dojo.embodiment.encode(dojo.control, intent).astype(np.float32))
    while len(recorder.actions) < plan.frames - 1:
        intent = dojo.embodiment.held(dojo.control)
        recorder.step(dojo.embodiment.encode(dojo.control, intent).astype(np.float32))
    return recorder.finish(None, None)


def _wander(dojo: Dojo, rng: np.random.Generator, performer: Performer) -> Behaviour:
    while True:
        goal = [rng.uniform(-0.18, 0.18), rng.uniform(-0.12, 0.10), rng.uniform(0.15, 0.22)]
        yield from travel(
            dojo, np.array(goal), style=performer.policy.style, yaw=float(rng.uniform(-0.6, 0.6))
        )

"""The checks of the conformance kit, each a generator of findings about a probed model."""

from collections.abc import Callable, Iterator

import torch

from dojobench.protocol.conformance_alignment import check_alignment, check_borders
from dojobench.protocol.conformance_probe import (
    Broken,
    Difference,
    Finding,
    Probe,
    close,
    difference,
    fail,
    note,
    ok,
    skip,
    told,
)

Check = Callable[[Probe], Iterator[Finding]]

_BEYOND = 1.2
"""So many times the change of a repeat is still the model's own noise."""

_RANDOM = "Not checked, since the spec says that the model is not deterministic."


def check_stated(probe: Probe) -> Iterator[Finding]:
    """Says what the spec states; a contradiction has failed before."""
    spec = probe.spec
    stated = [
        "any resolution"
        if spec.resolution is None
        else f"{spec.resolution[0]}x{spec.resolution[1]}",
        "any rate" if spec.frame_rate is None else f"{spec.frame_rate:g} Hz",
        f"{spec.context_frames} context frame{'s' * (spec.context_frames > 1)}",
        "any actions"
        if spec.action_space is None
        else f"actions of width {spec.action_space.dim} for {spec.action_space.embodiment}",
    ]
    yield ok("spec", f"{spec.name} {spec.version} states {', '.join(stated)}.")


def check_answers(probe: Probe) -> Iterator[Finding]:
    """Type, dtype, shape, device and number of frames, for steps of several lengths."""
    lengths = [probe.chunk, 2 * probe.chunk]
    if probe.spec.any_chunk:
        lengths += [1, probe.chunk + 1]
    for count in sorted(set(lengths)):
        probe.roll(probe.actions[:, :count], chunks=[count])
    shape = (2, "n", 3, *probe.context.shape[-2:])
    written = ", ".join(str(size) for size in shape)
    counts = ", ".join(str(count) for count in sorted(set(lengths)))
    yield ok("answers", f"Steps of {counts} actions give uint8 frames [{written}], one an action.")


def check_range(probe: Probe) -> Iterator[Finding]:
    """Frames use 0 to 255, not 0 to 1, and are not all alike."""
    frames = probe.roll()
    top = int(frames.max())
    if top <= 1 < int(probe.context.max()):
        yield fail(
            "range",
            "All values are 0 or 1 although the context goes to 255: multiply by 255 before "
            "converting to uint8.",
        )
        return
    yield ok("range", f"Values go from {int(frames.min())} to {top}.")
    still = bool((frames == frames[:, :1]).all())
    if still and bool((frames[:, 0] == probe.context[:, -1]).all()):
        yield note(
            "range", "All frames equal the last context frame: the model predicts no motion."
        )
    elif still:
        yield note("range", "All frames of a rollout are the same.")


def check_side_effects(probe: Probe) -> Iterator[Finding]:
    """Inputs stay as they were, and an answer is not overwritten by the next one."""
    given, actions = probe.context.clone(), probe.actions[:, : probe.chunk].clone()
    session = probe.start(context=given)
    try:
        first = session.step(actions)
        kept = first.clone()
        probe.step(session, probe.actions[:, probe.chunk :])
    except Exception as error:
        raise Broken(f"the second step raised {told(error)}") from error
    finally:
        close(session)
    for what, now, before in (
        ("context", given, probe.context),
        ("actions", actions, probe.actions[:, : probe.chunk]),
    ):
        if not torch.equal(now, before):
            yield fail("side effects", f"The model changes the {what} that it was given, in place.")
            return
    if not torch.equal(first, kept):
        yield fail(
            "side effects", "A step overwrites the frames of the step before it: answer copies."
        )
        return
    yield ok("side effects", "Context, actions and earlier answers stay as they were.")


def check_seed(probe: Probe) -> Iterator[Finding]:
    """The same seed gives the same frames; whether another seed gives others is said."""
    frames = probe.roll(seed=1)
    again = difference(frames, probe.roll(seed=1))
    if not probe.spec.deterministic:
        if again.none:
            yield note("seed", "The same seed gave the same frames, though the spec denies it.")
        else:
            yield skip("seed", f"The spec says not deterministic; frames differ by {again}.")
        return
    if not again.none:
        yield fail(
            "seed",
            f"The same context, actions and seed gave other frames the second time ({again}); draw "
            "from a generator seeded in start, or state deterministic=False.",
        )
        return
    other = difference(frames, probe.roll(seed=2))
    effect = "gives the same frames" if other.none else "gives others"
    yield ok("seed", f"The same seed gives the same frames, another seed {effect}.")


def check_batch(probe: Probe) -> Iterator[Finding]:
    """Each sample of a batch is what it would be alone."""
    if not probe.spec.deterministic:
        yield skip("batch", _RANDOM)
        return
    together = probe.roll()
    alone = torch.cat([probe.roll(sample=0), probe.roll(sample=1)])
    apart = difference(together, alone)
    if apart.none:
        yield ok("batch", "Samples of a batch are bit for bit what they are alone.")
    elif apart.rounding:
        yield ok("batch", f"Samples of a batch are what they are alone, up to rounding ({apart}).")
    else:
        yield fail(
            "batch",
            f"A sample of a batch is not what it is alone ({apart}); its noise must come from the "
            "seed alone, the same for each sample, and samples must not mix.",
        )


def check_isolation(probe: Probe) -> Iterator[Finding]:
    """Two sessions stepped in turn do not see each other."""
    if not probe.spec.deterministic:
        yield skip("isolation", _RANDOM)
        return
    alone = [probe.roll(sample=k, seed=k + 1) for k in (0, 1)]
    sessions = [probe.start(k, seed=k + 1) for k in (0, 1)]
    parts: list[list[torch.Tensor]] = [[], []]
    try:
        for begin in (0, probe.chunk):
            for k, session in enumerate(sessions):
                actions = probe.actions[k : k + 1, begin : begin + probe.chunk]
                parts[k].append(probe.step(session, actions))
    finally:
        for session in sessions:
            close(session)
    for k in (0, 1):
        apart = difference(torch.cat(parts[k], dim=1), alone[k])
        if not apart.none:
            yield fail(
                "isolation",
                f"A session gives other frames when another one is stepped in between ({apart}); "
                "keep state and generators in the session, not in the model or the process.",
            )
            return
    yield ok("isolation", "Sessions stepped in turn give what they give alone.")


def check_actions(probe: Probe) -> Iterator[Finding]:
    """Whether frames change when the actions are zero, in another order or one late."""
    space = probe.spec.action_space
    if probe.actions.shape[-1] == 0:
        yield skip("actions", "The model takes no actions.")
        return
    if not probe.spec.deterministic:
        yield skip("actions", _RANDOM)
        return
    true = probe.roll()
    # A model that breaks its seed changes by itself; only what exceeds that is an answer.
    by_itself = difference(true, probe.roll())
    wrong = {
        "zero": torch.zeros_like(probe.actions),
        "shuffled": probe.actions.flip(1),
        "one frame late": torch.cat([probe.actions[:, :1], probe.actions[:, :-1]], dim=1),
    }
    apart = {name: difference(true, probe.roll(actions)) for name, actions in wrong.items()}
    blind = [name for name, change in apart.items() if _no_more(change, by_itself)]
    if len(blind) == len(apart):
        sentence = (
            "The frames are the same whatever the actions are: the model ignores them"
            if by_itself.none
            else "The frames change no more with the actions than they do by themselves"
        )
        if space is None:
            yield note("actions", f"{sentence}.")
        else:
            yield fail("actions", f"{sentence}, though its spec states an action space.")
    elif blind:
        names = " and ".join(blind)
        yield note("actions", f"The frames do not change when the actions are {names}.")
    else:
        moved = ", ".join(f"{change.mean:.3g} when {name}" for name, change in apart.items())
        yield ok("actions", f"The frames follow the actions: mean change in grey levels {moved}.")


def _no_more(change: Difference, by_itself: Difference) -> bool:
    """Whether a change is none, or none beyond what happens with the same actions."""
    return change.none if by_itself.none else change.mean <= _BEYOND * by_itself.mean


def check_refusals(probe: Probe) -> Iterator[Finding]:
    """Whether bad input raises instead of giving frames that look like an answer."""
    stated = probe.spec.action_space is not None
    good = probe.actions[:, : probe.chunk]
    if stated:
        wide = torch.cat([good, good[..., :1] if good.shape[-1] else good.new_zeros(2, len(good[0]), 1)], dim=-1)  # fmt: skip # noqa: E501
        if _answer(probe, wide) is None:
            yield ok("refusals", f"Actions of width {wide.shape[-1]} are refused.")
        else:
            yield fail(
                "refusals",
                f"Actions of width {wide.shape[-1]} are answered with frames, though the spec says "
                f"{good.shape[-1]}; raise an error.",
            )
    if good.shape[-1]:
        broken = good.clone()
        broken[0, 0, 0] = torch.nan
        if _answer(probe, broken) is None:
            yield ok("refusals", "NaN actions are refused.")
        elif stated:
            yield fail("refusals", "NaN actions are answered with frames; raise an error.")
        else:
            yield note("refusals", "NaN actions are answered with frames; who calls must check.")
    empty = _answer(probe, good[:, :0])
    if isinstance(empty, torch.Tensor) and empty.ndim > 1 and empty.shape[1] > 0:
        yield fail("refusals", f"A step of 0 actions is answered with {empty.shape[1]} frames.")
    else:
        yield ok("refusals", "A step of 0 actions gives no frames.")
    session = probe.start()
    close(session)
    try:
        session.step(good.clone())
    except Exception:
        yield ok("refusals", "A closed session refuses to step.")
    else:
        yield note("refusals", "A closed session still steps.")


def _answer(probe: Probe, actions: torch.Tensor) -> object | None:
    """Gives what the model answers, or ``None`` where it raises."""
    session = probe.start()
    try:
        return session.step(actions.clone())
    except Exception:
        return None
    finally:
        close(session)


CHECKS: dict[str, Check] = {
    "spec": check_stated,
    "answers": check_answers,
    "range": check_range,
    "side effects": check_side_effects,
    "alignment": check_alignment,
    "chunk borders": check_borders,
    "seed": check_seed,
    "batch": check_batch,
    "isolation": check_isolation,
    "actions": check_actions,
    "refusals": check_refusals,
}
"""In the order in which they run."""

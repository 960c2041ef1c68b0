"""What one frame costs a torch model: parameters, FLOPs and passes through its networks.

Guidance doubles the passes of a diffusion model, and a sampler multiplies them by its steps;
counting calls of the networks shows both, whatever the model says of itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from dojobench.protocol import Actions, Frames, WorldModel

_DEPTH = 3
"""How many attributes deep a model is searched for its networks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkCost:
    """Cost of one step of a model whose networks are torch modules in this process.

    Attributes:
        parameters: Number of parameters of all networks found.
        flops_per_frame: Floating-point operations per frame and sample (a multiply-add is two),
            as torch's counter knows them: matrix products, convolutions and attention.
        passes_per_step: Calls of each network in one step, by its attribute name; one whose weights
            are used in another way than by calling it is left out.
    """

    parameters: int
    flops_per_frame: float
    passes_per_step: dict[str, int]


def network_cost(model: WorldModel, context: Frames, actions: Actions) -> NetworkCost | None:
    """Counts one step after the first.

    Args:
        model: The model.
        context: uint8 ``[batch, context, 3, height, width]``.
        actions: float32 ``[batch, 2 * n, action_dim]``: the first half opens the rollout, the
            second half is counted.

    Returns:
        ``None`` for a model without torch networks in this process, such as a remote one.
    """
    networks = dict(find_networks(model))
    if not networks:
        return None
    calls = dict.fromkeys(networks, 0)
    first, counted = actions.chunk(2, dim=1)
    session = model.start(context, seed=0)
    hooks = [
        module.register_forward_pre_hook(_Count(calls, name)) for name, module in networks.items()
    ]
    try:
        session.step(first)
        calls.update(dict.fromkeys(calls, 0))
        with FlopCounterMode(display=False) as counter:
            session.step(counted)
    finally:
        for hook in hooks:
            hook.remove()
        session.close()
    unique = {id(p): p.numel() for module in networks.values() for p in module.parameters()}
    frames = int(counted.shape[1]) * int(counted.shape[0])
    return NetworkCost(
        parameters=sum(unique.values()),
        flops_per_frame=counter.get_total_flops() / frames,
        passes_per_step={name: count for name, count in calls.items() if count},
    )


def find_networks(model: object) -> Iterator[tuple[str, torch.nn.Module]]:
    """Finds the outermost torch modules that a model holds as attributes.

    Args:
        model: Any object; if it is a module itself, that is its one network.

    Yields:
        Attribute path and module, each module once.
    """
    seen: set[int] = set()
    yield from _search(model, "model", _DEPTH, seen)


def _search(
    holder: object, path: str, depth: int, seen: set[int]
) -> Iterator[tuple[str, torch.nn.Module]]:
    if id(holder) in seen:
        return
    seen.add(id(holder))
    if isinstance(holder, torch.nn.Module):
        yield path, holder
        return
    if depth == 0:
        return
    for name, value in sorted(getattr(holder, "__dict__", {}).items()):
        yield from _search(value, name if path == "model" else f"{path}.{name}", depth - 1, seen)


class _Count:
    """A forward hook that counts."""

    def __init__(self, calls: dict[str, int], name: str) -> None:
        self._calls, self._name = calls, name

    def __call__(self, module: torch.nn.Module, inputs: object) -> None:
        self._calls[self._name] += 1

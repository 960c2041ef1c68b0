"""Actions as models take them: normalised, relative in groups of four, placed into slots.

Nothing in the harness does this behind a model's back: a model receives the dataset's own
actions and calls what it needs from here. The arithmetic is that of the released DreamDojo
loader (``groot_dreams/data/dataset.py`` and its min-max normaliser at 02f119b), which knows
absolute targets alone. Where an embodiment's actions are moves already, as those of the dojo's
arm, they are summed to targets first, so that relative actions are how far the target has gone
since the group began, and not how much one move differs from another.
"""

from dataclasses import dataclass

import numpy as np
import torch

from dojobench.datasets.embodiments import embodiment, extract, place, select
from dojobench.datasets.statistics import ActionStatistics, Vector
from dojobench.protocol.errors import BadInputError

GROUP = 4
"""Actions per latent frame, and per group of relative actions."""


def normalise(actions: torch.Tensor, statistics: ActionStatistics) -> torch.Tensor:
    """Scales every dimension's range to [-1, 1]; dimensions that never change become 0.

    Values outside the statistics' range go beyond [-1, 1] and are not clipped, as published.

    Args:
        actions: ``[..., dim]``, physical units.
        statistics: Named statistics of the same width.

    Returns:
        ``[..., dim]`` of the same dtype.

    Raises:
        BadInputError: If the widths differ.
    """
    low, span = _range(actions, statistics)
    moving = span != 0
    scaled = 2 * (actions.double() - low) / torch.where(moving, span, 1.0) - 1
    return torch.where(moving, scaled, 0.0).to(actions.dtype)


def denormalise(scaled: torch.Tensor, statistics: ActionStatistics) -> torch.Tensor:
    """Undoes ``normalise``; dimensions that never change get their one value back.

    Args:
        scaled: ``[..., dim]``.
        statistics: Those that were used.

    Returns:
        ``[..., dim]``, physical units, of the same dtype.

    Raises:
        BadInputError: If the widths differ.
    """
    low, span = _range(scaled, statistics)
    return (low + (scaled.double() + 1) / 2 * span).to(scaled.dtype)


def to_relative(
    actions: torch.Tensor, previous: torch.Tensor | None = None, *, group: int = GROUP
) -> torch.Tensor:
    """Turns absolute actions into differences from the step before their group.

    Of rows ``4 g`` to ``4 g + 3``, each is taken relative to row ``4 g - 1``; of the first group
    relative to ``previous``. The last group may be shorter.

    Args:
        actions: ``[..., time, dim]``, normalised, so that the differences lie in [-2, 2].
        previous: ``[..., dim]``, the step before the first row, one clip step earlier. Where an
            episode has none, ``None`` takes the first row in its place: the robot is assumed to
            have been at its first target already, and the first difference is zero.
        group: Rows per group, at least 1.

    Returns:
        ``[..., time, dim]``.
    """
    return actions - _baselines(actions, previous, group)


def to_absolute(
    relative: torch.Tensor, previous: torch.Tensor, *, group: int = GROUP
) -> torch.Tensor:
    """Undoes ``to_relative``.

    Args:
        relative: ``[..., time, dim]``.
        previous: ``[..., dim]``, the baseline of the first group.
        group: Rows per group, at least 1.

    Returns:
        ``[..., time, dim]``.
    """
    absolute = torch.empty_like(relative)
    baseline = previous
    for start in range(0, relative.shape[-2], group):
        rows = relative[..., start : start + group, :] + baseline.unsqueeze(-2)
        absolute[..., start : start + group, :] = rows
        baseline = rows[..., -1, :]
    return absolute


@dataclass(frozen=True, kw_only=True)
class ActionEncoder:
    """From a dataset's actions to a model's 384 slots and back.

    What each number says is stated by the embodiment (``PartRole``). Moves are scaled about
    zero, so that standing still stays zero however often it is summed, and summed to targets from
    the clip's first row on.

    Attributes:
        embodiment: Stated by name.
        statistics: Those of the dataset's whole actions, by name.
        columns: The dataset's column of each slot (``Embodiment.columns``); the identity where
            ``None``.
        relative: Whether actions become relative in groups; pass whole groups at a time, from
            the clip's first action on.
        group: Rows per group.
    """

    embodiment: str
    statistics: ActionStatistics
    columns: tuple[int, ...] | None = None
    relative: bool = True
    group: int = GROUP

    def encode(self, actions: torch.Tensor, previous: torch.Tensor | None = None) -> torch.Tensor:
        """Selects, normalises, sums moves, makes relative and places.

        Args:
            actions: ``[..., time, dataset_dim]``, physical units.
            previous: ``[..., dataset_dim]``, where the targets stand before the first row, as
                ``standing`` gives it; where actions are relative the last action does as well,
                since relative moves need nothing of the past. ``None`` at the start of a clip:
                targets are assumed to have been the first row's (see ``to_relative``), openings
                in the middle of their range, and moves start from zero.

        Returns:
            ``[..., time, 384]``.

        Raises:
            BadInputError: If a width does not match the embodiment or the statistics.
        """
        scaled = self._scale(actions)
        before = None if previous is None else self._scale(previous)
        moves = list(embodiment(self.embodiment).slots("move"))
        if moves:
            targets = scaled[..., moves].cumsum(dim=-2)
            if before is not None and not self.relative:
                targets = targets + before[..., None, moves]
            scaled[..., moves] = targets
        if self.relative:
            baseline = self._baseline(scaled if before is None else before, before is None)
            scaled = to_relative(scaled, baseline, group=self.group)
        return place(scaled, self.embodiment)

    def standing(self, actions: torch.Tensor, previous: torch.Tensor | None = None) -> torch.Tensor:
        """Says where the targets stand after some actions, to encode those that follow.

        Args:
            actions: ``[..., time, dataset_dim]``, at least one row.
            previous: As given to ``encode`` with them.

        Returns:
            ``[..., dataset_dim]``: the last row, with the sums of moves in their columns.
        """
        after = actions[..., -1, :].clone()
        columns = self._move_columns()
        if columns:
            sums = actions[..., columns].sum(dim=-2)
            after[..., columns] = sums if previous is None else sums + previous[..., columns]
        return after

    def decode(self, placed: torch.Tensor, previous: torch.Tensor | None = None) -> torch.Tensor:
        """Undoes ``encode`` for the embodiment's own columns.

        Args:
            placed: ``[..., time, 384]``.
            previous: ``[..., dataset_dim]`` as given to ``encode``; needed where ``relative``.

        Returns:
            ``[..., time, width]`` of the embodiment, physical units.

        Raises:
            BadInputError: If ``previous`` is needed and absent, or a width does not match.
        """
        scaled = extract(placed, self.embodiment)
        before = None if previous is None else self._scale(previous)
        if self.relative:
            if before is None:
                raise BadInputError(
                    "Relative actions need the action before the first one to become absolute; "
                    "pass it as 'previous'."
                )
            scaled = to_absolute(scaled, self._baseline(before, False), group=self.group)
        statistics = self._own_statistics()
        actions = denormalise(scaled, statistics)
        moves = list(embodiment(self.embodiment).slots("move"))
        if moves:
            zero = torch.zeros_like(scaled[..., 0, moves])
            first = zero if self.relative or before is None else before[..., moves]
            steps = scaled[..., moves].diff(dim=-2, prepend=first.unsqueeze(-2))
            reach = torch.as_tensor(_reach(statistics)[moves], device=steps.device)
            actions[..., moves] = (steps.double() * reach).to(actions.dtype)
        return actions

    def _baseline(self, rows: torch.Tensor, starts: bool) -> torch.Tensor:
        """Gives what the first group is relative to."""
        own = embodiment(self.embodiment)
        baseline = (rows[..., 0, :] if starts else rows).clone()
        baseline[..., list(own.slots("move"))] = 0
        if starts:
            baseline[..., list(own.slots("opening"))] = 0
        return baseline

    def _scale(self, actions: torch.Tensor) -> torch.Tensor:
        own = actions if self.columns is None else select(actions, self.columns)
        statistics = self._own_statistics()
        scaled = normalise(own, statistics)
        moves = list(embodiment(self.embodiment).slots("move"))
        if moves:
            reach = torch.as_tensor(_reach(statistics)[moves], device=own.device)
            steps = own[..., moves].double()
            still = torch.zeros_like(steps)
            scaled[..., moves] = torch.where(reach > 0, steps / reach, still).to(scaled.dtype)
        return scaled

    def _move_columns(self) -> list[int]:
        moves = embodiment(self.embodiment).slots("move")
        return [slot if self.columns is None else self.columns[slot] for slot in moves]

    def _own_statistics(self) -> ActionStatistics:
        own = self.statistics
        if self.columns is not None:
            own = own.select(self.columns)
        width = embodiment(self.embodiment).width
        if own.dim != width:
            raise BadInputError(
                f"The statistics '{own.name}' are {own.dim} wide, but the embodiment "
                f"'{self.embodiment}' takes {width}; name the columns or other statistics."
            )
        return own


def _baselines(actions: torch.Tensor, previous: torch.Tensor | None, group: int) -> torch.Tensor:
    first = actions[..., 0, :] if previous is None else previous
    ends = actions[..., group - 1 : -1 : group, :]
    heads = torch.cat([first.unsqueeze(-2), ends], dim=-2)
    return heads.repeat_interleave(group, dim=-2)[..., : actions.shape[-2], :]


def _reach(statistics: ActionStatistics) -> Vector:
    """Gives the largest size of each dimension, ``[dim]``: what a move is scaled by."""
    return np.maximum(np.abs(statistics.minimum), np.abs(statistics.maximum))


def _range(
    actions: torch.Tensor, statistics: ActionStatistics
) -> tuple[torch.Tensor, torch.Tensor]:
    if actions.shape[-1] != statistics.dim:
        raise BadInputError(
            f"The actions are {actions.shape[-1]} wide, but the statistics '{statistics.name}' "
            f"are {statistics.dim} wide; name the statistics of this dataset."
        )
    low = torch.as_tensor(statistics.minimum, device=actions.device)
    high = torch.as_tensor(statistics.maximum, device=actions.device)
    return low, high - low

"""Actions as models take them: normalised, relative in groups of four, placed into slots.

Nothing in the harness does this behind a model's back: a model receives the dataset's own
actions and calls what it needs from here. The arithmetic is that of the released DreamDojo
loader (``groot_dreams/data/dataset.py`` and its min-max normaliser at 02f119b).
"""

from dataclasses import dataclass

import torch

from dojobench.datasets.embodiments import embodiment, extract, place, select
from dojobench.datasets.statistics import ActionStatistics
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
        """Selects, normalises, makes relative and places.

        Args:
            actions: ``[..., time, dataset_dim]``, physical units.
            previous: ``[..., dataset_dim]``, the action of the clip step before; see
                ``to_relative`` for its absence.

        Returns:
            ``[..., time, 384]``.

        Raises:
            BadInputError: If a width does not match the embodiment or the statistics.
        """
        scaled = self._scale(actions)
        if self.relative:
            before = None if previous is None else self._scale(previous)
            scaled = to_relative(scaled, before, group=self.group)
        return place(scaled, self.embodiment)

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
        if self.relative:
            if previous is None:
                raise BadInputError(
                    "Relative actions need the action before the first one to become absolute; "
                    "pass it as 'previous'."
                )
            scaled = to_absolute(scaled, self._scale(previous), group=self.group)
        return denormalise(scaled, self._own_statistics())

    def _scale(self, actions: torch.Tensor) -> torch.Tensor:
        own = actions if self.columns is None else select(actions, self.columns)
        return normalise(own, self._own_statistics())

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

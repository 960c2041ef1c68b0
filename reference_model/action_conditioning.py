"""How actions reach the network: four of them per latent frame, in chunks.

Latent frame ``i`` is made of the pixel frames ``4 i - 3`` to ``4 i``; the actions ``4 i - 4`` to
``4 i - 1`` lead to them. These four are joined into one vector and embedded twice, once for the
time embedding and once for the adaptive layer norms (``ActionChunkConditionedMinimalV1LVGDiT`` in
``action/networks/action_conditioned_minimal_v1_lvg_dit.py`` of NVIDIA/DreamDojo at 02f119b).
Nothing leads to latent frame 0, so its embedding is zero. There is one absolute index: whoever
streams says which latent frame comes first, and passes the actions of just the frames it asks for.
"""

from collections import deque
from functools import cache

import torch
from torch import nn

from dojobench.datasets.actions import ActionEncoder
from dojobench.datasets.embodiments import ACTION_WIDTH, EMBODIMENTS, embodiment, place
from dojobench.datasets.statistics import ActionStatistics
from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.net_config import ActionConfig


class ActionEmbedder(nn.Module):
    """Two linear layers with a GELU between them, from a chunk of actions to an embedding."""

    def __init__(self, features: int, hidden: int, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(features, hidden)
        self.activation = nn.GELU(approximate="tanh")
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, chunks: torch.Tensor) -> torch.Tensor:
        """Embeds ``[..., features]`` as ``[..., width]``."""
        embedded: torch.Tensor = self.fc2(self.activation(self.fc1(chunks)))
        return embedded

    def reset(self, *, layers: tuple[str, ...], zero_last: bool = False) -> None:
        """Draws weights afresh; with ``zero_last`` the embedding starts as zero."""
        for name in layers:
            self.get_submodule(name).reset_parameters()  # type: ignore[operator]
        if zero_last:
            nn.init.zeros_(self.fc2.weight)
            nn.init.zeros_(self.fc2.bias)


def action_encoder(
    config: ActionConfig,
    embodiment_name: str,
    statistics: ActionStatistics,
    columns: tuple[int, ...] | None = None,
) -> ActionEncoder:
    """Gives the encoder from a dataset's actions to what the network takes.

    Args:
        config: Says whether actions are relative, and per how many.
        embodiment_name: Whose slots they go to.
        statistics: Of the dataset's actions.
        columns: The dataset's column of each slot; the identity where ``None``.
    """
    return ActionEncoder(
        embodiment=embodiment_name,
        statistics=statistics,
        columns=columns,
        relative=config.relative,
        group=config.per_latent,
    )


def place_latent_actions(
    latent_actions: torch.Tensor, actions: torch.Tensor | None = None
) -> torch.Tensor:
    """Puts latent actions into their slots, beside those of a robot if there are any.

    Args:
        latent_actions: ``[batch, time, 32]`` of the latent action model, one per action.
        actions: ``[batch, time, 384]`` to be joined; nothing but zeros where ``None``.

    Returns:
        ``[batch, time, 384]``.

    Raises:
        BadInputError: If a latent action is not 32 wide.
    """
    placed = place(latent_actions, "latent")
    return placed if actions is None else _outside_latent_slots(actions) + placed


def displacement(
    actions: torch.Tensor,
    config: ActionConfig,
    start: torch.Tensor | None = None,
    *,
    window: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums relative actions up to the displacement since the context frame.

    Relative actions start afresh with every group, so a row's displacement is its own value plus
    the last rows of all groups before. Latent actions are no displacements; their slots give zero.

    A student, which sees a sliding window, is told the displacement since the oldest frame in it:
    the groups before count as far as they lie in the window. Since the context frame it would
    grow without bound in a long rollout (commands that push against the end of the workspace add
    up too), beyond anything seen in training; within the window it has the range that a
    teacher's clip of ``window + 1`` latent frames has, is the same for the teacher and the student
    in the first frames, and depends on nothing that the student no longer sees. Openings are an
    exception: a clip's first is told from the middle of the range (``ActionEncoder``), so their
    sum since the context frame is the opening itself, bounded, and stays that.

    Args:
        actions: ``[batch, time, width]`` of whole groups, relative.
        config: For the rows per group.
        start: ``[batch, width]``, the displacement before the first row; zero where ``None``.
        window: Earlier latent frames that a frame sees, at least its predecessor; all where
            ``None``.

    Returns:
        ``[batch, time, width]`` after each row, and ``[batch, width]``, the sum after the last
        one, of all groups.

    Raises:
        ValueError: If ``start`` is given with a window and several groups, of which the later
            ones would need to know what it is the sum of.
    """
    batch, rows, width = actions.shape
    groups = rows // config.per_latent
    if window is not None and start is not None and groups > 1:
        raise ValueError(f"{groups} groups in a window cannot start from one displacement.")
    grouped = actions.reshape(batch, groups, config.per_latent, width)
    first = actions.new_zeros(batch, width) if start is None else start.to(actions)
    # Running total before each group, and one more after the last.
    totals = torch.cat([first.unsqueeze(1), grouped[:, :, -1]], dim=1).cumsum(dim=1)
    before = totals[:, :-1]
    if window is not None:
        counted = max(1, window) - 1
        oldest = [max(0, group - counted) for group in range(groups)]
        behind = totals[:, oldest] - first.unsqueeze(1)
        behind[..., opening_slots(width)] = 0
        before = before - behind
    summed = (grouped + before.unsqueeze(2)).reshape(batch, rows, width)
    return _outside_latent_slots(summed), _outside_latent_slots(totals[:, -1])


class StreamDisplacement:
    """The displacement that a stream is told, frame after frame; see ``displacement``.

    Args:
        config: Whether actions are joined by it at all.
        window: Earlier latent frames that a frame sees.
    """

    def __init__(self, config: ActionConfig, window: int) -> None:
        self._config = config
        self._groups: deque[torch.Tensor] = deque(maxlen=max(1, window) - 1)
        self._total: torch.Tensor | None = None

    @property
    def before(self) -> torch.Tensor | None:
        """Displacement ``[batch, width]`` before the next frame's first action, if any."""
        if self._total is None:
            return None
        moved = sum(self._groups, torch.zeros_like(self._total))
        openings = opening_slots(self._total.shape[-1])
        moved[:, openings] = self._total[:, openings]
        return moved

    def add(self, actions: torch.Tensor | None) -> None:
        """Goes on past a frame.

        Args:
            actions: ``[batch, 4, width]`` that led to it; none for frame 0.
        """
        if self._config.cumulative and actions is not None and actions.shape[1]:
            last = actions[:, -1]
            self._groups.append(last)
            self._total = last if self._total is None else self._total + last


def opening_slots(width: int) -> list[int]:
    """Gives the slots that hold openings, of whatever embodiment; none of unplaced actions."""
    return list(_opening_slots()) if width == ACTION_WIDTH else []


@cache
def _opening_slots() -> tuple[int, ...]:
    every = EMBODIMENTS.values()
    return tuple(one.start + slot for one in every for slot in one.slots("opening"))


def action_chunks(
    actions: torch.Tensor,
    config: ActionConfig,
    *,
    frames: int,
    first_frame: int = 0,
    start: torch.Tensor | None = None,
    window: int | None = None,
) -> torch.Tensor:
    """Arranges actions as the embedders take them.

    Args:
        actions: ``[batch, n, width]``: of all latent frames asked for but frame 0.
        config: How.
        frames: Latent frames asked for.
        first_frame: Absolute index of the first of them.
        start: Displacement before the first action, see ``displacement``.
        window: Earlier latent frames that a frame sees, see ``displacement``.

    Returns:
        ``[batch, chunks, config.chunk_features]``; one chunk with a global injection.

    Raises:
        BadInputError: If the actions are not as many or as wide as needed.
    """
    needed = config.per_latent * (frames - (first_frame == 0))
    if actions.shape[1] != needed or actions.shape[2] != config.width:
        raise BadInputError(
            f"{actions.shape[1]} actions of width {actions.shape[2]} were given for latent frames "
            f"{first_frame} to {first_frame + frames - 1}, which take {needed} of width "
            f"{config.width}; pass {config.per_latent} for each latent frame but the first."
        )
    if config.cumulative:
        summed, _ = displacement(actions, config, start, window=window)
        actions = torch.cat([actions, summed], dim=-1)
    batch, rows, features = actions.shape
    chunks = actions.reshape(batch, rows // config.per_latent, config.per_latent * features)
    if config.injection == "chunked":
        return chunks
    if first_frame != 0:
        raise BadInputError(
            f"The injection '{config.injection}' needs the whole clip at once and cannot stream; "
            "use 'chunked'."
        )
    if config.injection == "global-mean":
        return chunks.mean(dim=1, keepdim=True)
    if chunks.shape[1] != config.clip_chunks:
        raise BadInputError(
            f"The injection 'global-flat' was made for {config.clip_chunks} latent frames with "
            f"actions, but the clip has {chunks.shape[1]}."
        )
    return chunks.flatten(1).unsqueeze(1)


def spread_over_frames(
    embedded: torch.Tensor, config: ActionConfig, *, frames: int, first_frame: int = 0
) -> torch.Tensor:
    """Gives every latent frame its embedding; frame 0 gets zero with chunked injection.

    Args:
        embedded: ``[batch, chunks, width]``.
        config: As for ``action_chunks``.
        frames: As for ``action_chunks``.
        first_frame: As for ``action_chunks``.

    Returns:
        ``[batch, frames, width]``.
    """
    if config.injection != "chunked":
        return embedded.expand(-1, frames, -1)
    if first_frame != 0:
        return embedded
    nothing = embedded.new_zeros(embedded.shape[0], 1, embedded.shape[2])
    return torch.cat([nothing, embedded], dim=1)


def _outside_latent_slots(values: torch.Tensor) -> torch.Tensor:
    if values.shape[-1] != ACTION_WIDTH:
        return values
    slots = embodiment("latent")
    kept = torch.ones(ACTION_WIDTH, dtype=values.dtype, device=values.device)
    kept[slots.start : slots.stop] = 0
    return values * kept

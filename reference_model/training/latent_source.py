"""Windows of latents with their actions, for the world model."""

from collections.abc import Mapping
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from dojobench.datasets.actions import ActionEncoder
from dojobench.datasets.embodiments import ACTION_WIDTH
from dojobench.datasets.statistics import ActionStatistics
from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.action_conditioning import action_encoder, place_latent_actions
from dojobench.reference_model.net_config import ActionConfig
from dojobench.reference_model.training.episodes import EpisodeGroup
from dojobench.reference_model.training.latent_store import LatentGroup, LatentStore
from dojobench.reference_model.training.sources import Draw, WindowSampler
from dojobench.reference_model.training.stage import Batch

Conditioning: TypeAlias = Literal["none", "latent", "actions", "withheld"]
"""What stands in the action slots.

- ``none``: zeros; training is action-free.
- ``latent``: latent actions.
- ``actions``: the embodiment's own actions.
- ``withheld``: the same, of human video too, whose actions only a simulator knows.
"""

HAND_COLUMNS = (0, 1, 2, 3, 5)
"""The hand's moves, turn and index finger, with which its other fingers move."""


def encoder_of(
    group: EpisodeGroup, statistics: ActionStatistics, config: ActionConfig
) -> ActionEncoder:
    """Gives the action encoder that training and inference share.

    Args:
        group: Whose actions are to be encoded.
        statistics: Of the group that the model is trained on.
        config: Of the network.
    """
    name = group.info.embodiment
    columns = HAND_COLUMNS if name == "hand" else group.info.columns
    return action_encoder(config, name, statistics, columns)


class LatentWindowSource:
    """Windows of latents, drawn from groups by weight.

    Actions are encoded as a session encodes them that begins at the window: nothing is known of
    the action before it.

    Args:
        latents: Encoded episodes.
        groups: Weight of each group by name, as 1, 2 and 10 for in-lab, egodex and dojo-hv.
        latent_frames: Latent frames of a window, at least 2.
        conditioning: What stands in the action slots.
        actions: How actions are encoded.
        statistics: By embodiment, what actions are normalised by; where an embodiment is not
            named, the statistics of the first of ``groups`` that has it. A held-out group takes
            those of the training group: pass that source's ``statistics``.
        frames: Whether the pixels are given as well.
        seed: Of all chance.

    Attributes:
        statistics: By embodiment, what actions are normalised by.
        encoders: By embodiment, how actions are encoded: what a session must do alike.

    Raises:
        BadInputError: If a group does not exist, has no episode long enough, or lacks the
            actions that are asked for.
    """

    def __init__(
        self,
        latents: LatentStore,
        groups: Mapping[str, float],
        *,
        latent_frames: int,
        conditioning: Conditioning = "actions",
        actions: ActionConfig | None = None,
        statistics: Mapping[str, ActionStatistics] | None = None,
        frames: bool = False,
        seed: int = 0,
    ) -> None:
        config = actions or ActionConfig()
        if latent_frames < 2:
            raise BadInputError(
                f"A window of {latent_frames} latent frames has nothing to predict; ask for at "
                "least 2."
            )
        self._groups = [latents.group(name) for name in groups]
        self._conditioning, self._frames = conditioning, frames
        self._time, self._rows = latent_frames, config.per_latent * (latent_frames - 1)
        self._sampler = WindowSampler(
            tuple(groups.values()),
            [group.windows(latent_frames) for group in self._groups],
            names=tuple(groups),
            what=f"windows of {latent_frames} latent frames",
            seed=seed,
        )
        self.statistics = dict(statistics or {})
        self.encoders: dict[str, ActionEncoder] = {}
        for group in self._groups:
            self._prepare(group, config)

    def _prepare(self, group: LatentGroup, config: ActionConfig) -> None:
        """Sees that a group has the actions asked for, and makes its encoder."""
        name = group.group.info.embodiment
        if self._conditioning == "latent":
            group.actions(0, 0, 0)
        if self._conditioning in ("actions", "withheld"):
            group.group.actions(0, 0, 0, withheld=self._conditioning == "withheld")
            if name not in self.statistics:
                self.statistics[name] = group.group.statistics()
            self.encoders[name] = encoder_of(group.group, self.statistics[name], config)

    def batch(self, step: int, size: int) -> Batch:
        """Gives the batch of a step; see ``Source.batch``.

        Returns:
            ``latents`` float32 ``[size, channels, latent_frames, y, x]``, normalised; ``actions``
            float32 ``[size, 4 (latent_frames - 1), 384]``, relative, normalised and in their
            slots; and where asked for ``frames`` uint8 ``[size, 1 + 4 (latent_frames - 1), 3,
            height, width]``.
        """
        drawn = self._sampler.draw(self._sampler.generator(step), size)
        windows = [
            self._groups[group].window(episode, index, self._time)
            for group, episode, index in drawn
        ]
        stacked = torch.from_numpy(np.stack(windows)).transpose(1, 2)
        batch = {"latents": stacked.float().contiguous(), "actions": self._actions(drawn)}
        if self._frames:
            clips = [
                self._groups[group].group.frames(episode, start, start + 1 + self._rows)
                for group, episode, start in map(self._begin, drawn)
            ]
            batch["frames"] = torch.from_numpy(np.stack(clips))
        return batch

    def _begin(self, draw: Draw) -> Draw:
        """Turns the number of a window into that of its first frame."""
        return draw._replace(start=self._groups[draw.group].start(draw.start))

    def _actions(self, drawn: list[Draw]) -> Tensor:
        if self._conditioning == "none":
            return torch.zeros(len(drawn), self._rows, ACTION_WIDTH)
        placed = torch.empty(len(drawn), self._rows, ACTION_WIDTH)
        for number in sorted({draw.group for draw in drawn}):
            members = [n for n, draw in enumerate(drawn) if draw.group == number]
            group = self._groups[number]
            places = [self._begin(drawn[n]) for n in members]
            placed[members] = self._encode(group, places)
        return placed

    def _encode(self, group: LatentGroup, places: list[Draw]) -> Tensor:
        rows = self._rows
        if self._conditioning == "latent":
            means = [group.actions(at.episode, at.start, at.start + rows) for at in places]
            return place_latent_actions(torch.from_numpy(np.stack(means)))
        own = [
            group.group.actions(
                at.episode, at.start, at.start + rows, withheld=self._conditioning == "withheld"
            )
            for at in places
        ]
        encoder = self.encoders[group.group.info.embodiment]
        return encoder.encode(torch.from_numpy(np.stack(own)))

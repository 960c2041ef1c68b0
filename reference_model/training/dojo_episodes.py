"""Training episodes of the simulated world, rendered on all cores."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from dojobench.datasets.dojo_plans import MakeConfig, checked_size, make_plans
from dojobench.datasets.progress import track
from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.training.episode_files import GroupInfo, StoredEpisode
from dojobench.reference_model.training.episode_writer import fill_group
from dojobench.reference_model.training.episodes import EpisodeGroup, EpisodeStore
from dojobench.simulator.clips import GENERATOR, ClipPlan, RenderedClip
from dojobench.simulator.generation import generate
from dojobench.simulator.world import FRAME_RATE, make_embodiment


@dataclass(frozen=True, kw_only=True)
class DojoGroup:
    """A group of episodes of the simulated world.

    Attributes:
        name: What it is called in the store.
        embodiment: ``arm``, ``arm2`` or ``hand``; the hand stands for human video.
        split: Whose recipe of scenes and behaviour, any split of the suites.
        episodes: Number of episodes.
    """

    name: str
    embodiment: str
    split: str
    episodes: int


def nano_groups(
    *, robot: int = 2000, human: int = 400, held_out: int = 64
) -> tuple[DojoGroup, ...]:
    """Gives the groups that ``nano`` is trained on.

    Args:
        robot: Robot episodes for training.
        human: Episodes of ``dojo-hv``; ``in-lab`` and ``egodex`` have a quarter and a half, since
            they are drawn less often.
        held_out: Episodes for validation, of the robot and of the hand each.
    """
    return (
        DojoGroup(name="arm-train", embodiment="arm", split="train", episodes=robot),
        DojoGroup(name="arm-val", embodiment="arm", split="val", episodes=held_out),
        DojoGroup(name="in-lab", embodiment="hand", split="in-lab", episodes=max(1, human // 4)),
        DojoGroup(name="egodex", embodiment="hand", split="egodex", episodes=max(1, human // 2)),
        DojoGroup(name="dojo-hv", embodiment="hand", split="dojo-hv", episodes=human),
        DojoGroup(name="hand-val", embodiment="hand", split="dojo-hv", episodes=held_out),
    )


@dataclass(frozen=True, kw_only=True)
class DojoDataConfig:
    """Training data of the simulated world.

    Attributes:
        groups: What there is to be; none where all data are recorded video.
        frames: Frames of an episode; 49 and more allow windows of 13 latent frames.
        size: Height and width.
        seed: Any text; another one gives other episodes. No seed gives a scene of a suite, whose
            seeds are derived under other names.
        shard: Episodes of a shard.
        keep_withheld: Whether the hand's actions are stored, under another name; comparisons
            with ground-truth actions need them.
    """

    groups: tuple[DojoGroup, ...] = nano_groups()
    frames: int = 53
    size: tuple[int, int] = (64, 64)
    seed: str = "nano"
    shard: int = 100
    keep_withheld: bool = True

    def __post_init__(self) -> None:
        names = [group.name for group in self.groups]
        if len(set(names)) != len(names):
            raise BadInputError(
                f"The groups of the training data are named {', '.join(names)}; give each a name "
                "of its own."
            )
        if self.frames < 3:
            raise BadInputError(
                f"Episodes of {self.frames} frames are too short to train on; ask for at least 3."
            )


def group_plans(config: DojoDataConfig, group: DojoGroup) -> list[ClipPlan]:
    """Plans a group's episodes, ``config.frames`` frames each; nothing is simulated yet.

    Raises:
        BadInputError: If the embodiment or the split does not exist.
    """
    return make_plans(
        MakeConfig(
            embodiment=group.embodiment,
            episodes=group.episodes,
            frames=config.frames - 1,  # the plan adds the frame that the last action leads to
            seed=f"training/{config.seed}/{group.name}",
            split=group.split,
        )
    )


def make_dojo_data(
    config: DojoDataConfig, root: Path, *, workers: int | None = None
) -> EpisodeStore:
    """Makes the training data, or what is missing of it.

    Args:
        config: What to make.
        root: The store's folder.
        workers: Processes that render; all usable cores where ``None``.

    Returns:
        The store.

    Raises:
        BadInputError: If a group is there already and is another, or cannot be made or written.
    """
    checked_size(config.size)
    for group in config.groups:
        make_dojo_group(config, group, root, workers=workers)
    return EpisodeStore(root)


def make_dojo_group(
    config: DojoDataConfig, group: DojoGroup, root: Path, *, workers: int | None = None
) -> EpisodeGroup:
    """Makes one group, or what is missing of it; see ``make_dojo_data``."""
    human = group.embodiment == "hand"
    spec = make_embodiment(group.embodiment).spec
    info = GroupInfo(
        name=group.name,
        embodiment=group.embodiment,
        frame_rate=FRAME_RATE,
        height=config.size[0],
        width=config.size[1],
        action_dim=0 if human and not config.keep_withheld else spec.dim,
        withheld=human,
        episodes=group.episodes,
        shard=config.shard,
        origin={
            "kind": "dojo",
            "generator": GENERATOR,
            "seed": config.seed,
            "frames": config.frames,
            **asdict(group),
        },
    )

    def make(numbers: Sequence[int]) -> Iterator[StoredEpisode]:
        if not numbers:
            return
        plans = group_plans(config, group)
        wanted = [plans[number] for number in numbers]
        rendered = generate(wanted, size=config.size, workers=workers)
        for clip in track(rendered, f"rendering {group.name}", len(wanted)):
            yield _stored(clip, actions=info.action_dim > 0)

    return fill_group(root, info, make)


def _stored(clip: RenderedClip, *, actions: bool) -> StoredEpisode:
    if clip.frames is None:
        raise ValueError("a rendered clip has frames")
    rows = clip.actions if actions else np.zeros((len(clip.actions), 0), np.float32)
    return StoredEpisode(
        id=clip.plan.id,
        frames=np.ascontiguousarray(clip.frames.transpose(0, 3, 1, 2)),
        actions=rows,
    )

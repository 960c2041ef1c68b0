"""Named embodiments and their slots in the 384-wide action vector of DreamDojo.

Every embodiment owns a range of the vector that no other uses, so that one model can be trained
on all of them (NVIDIA/DreamDojo ``docs/POSTTRAIN.md`` and ``groot_dreams/data/dataset.py`` at
02f119b). An embodiment is always stated by whoever opens data; nothing here looks at a path.
The published layout leaves 169 to 219 free. This project uses 169 to 175 for ``droid`` and 176
to 201 for ``g1_inspire``, 202 to 212 for the arms of the simulated world, 213 to 217 for its
``hand``, whose actions are withheld but for comparisons, and keeps 218 and 219.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch

from dojobench.protocol.errors import BadInputError

ACTION_WIDTH = 384
"""Width of the shared action vector."""


PartRole: TypeAlias = Literal["target", "move", "opening"]
"""What a number of an action says.

- ``target``: where to be, absolute, as a joint's angle. All published embodiments are such.
- ``move``: how far to go from the last target; sums of them are targets.
- ``opening``: how far to be open, absolute. Unlike a robot's pose it is often commanded once and
  held, so the first command of a clip is not taken as where things stood before.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A stretch of an embodiment's actions, such as an arm.

    Attributes:
        name: The part's name in the dataset's ``modality.json``.
        width: Number of values.
        role: What they say.
    """

    name: str
    width: int
    role: PartRole = "target"


@dataclass(frozen=True, kw_only=True, slots=True)
class Embodiment:
    """A robot, or a person's hands, and where its actions go.

    Attributes:
        name: Name that manifests and models state.
        start: First slot.
        parts: Parts in the order in which they fill the slots.
        description: What it is, and the units of its actions.
    """

    name: str
    start: int
    parts: tuple[Part, ...]
    description: str

    @property
    def width(self) -> int:
        """Number of slots."""
        return sum(part.width for part in self.parts)

    @property
    def stop(self) -> int:
        """One past the last slot."""
        return self.start + self.width

    @property
    def names(self) -> tuple[str, ...]:
        """One name per slot, such as ``left_arm.0``."""
        return tuple(f"{part.name}.{i}" for part in self.parts for i in range(part.width))

    def slots(self, role: PartRole) -> tuple[int, ...]:
        """Gives the numbers of a role, counted from the embodiment's first."""
        roles = [part.role for part in self.parts for _ in range(part.width)]
        return tuple(slot for slot, each in enumerate(roles) if each == role)

    def columns(self, modality: Mapping[str, range], width: int) -> tuple[int, ...]:
        """Finds the embodiment's values among a dataset's wider actions.

        Args:
            modality: Columns of each named part, as ``modality.json`` states them.
            width: Width of the dataset's actions.

        Returns:
            For each slot the dataset's column, for example 29 of GR-1's 44.

        Raises:
            BadInputError: If a part is missing, of another width, or outside the actions.
        """
        chosen: list[int] = []
        for part in self.parts:
            if part.name not in modality:
                raise BadInputError(
                    f"The modality file names no action part '{part.name}', which the embodiment "
                    f"'{self.name}' needs; it names: {', '.join(modality) or 'none'}."
                )
            found = modality[part.name]
            if len(found) != part.width:
                raise BadInputError(
                    f"The action part '{part.name}' is {len(found)} wide in the modality file, but "
                    f"the embodiment '{self.name}' takes {part.width}; state another embodiment."
                )
            if found.stop > width:
                raise BadInputError(
                    f"The action part '{part.name}' ends at column {found.stop}, but the dataset's "
                    f"actions are {width} wide; the modality file belongs to another dataset."
                )
            chosen.extend(found)
        return tuple(chosen)


def _parts(*named: tuple[str, int]) -> tuple[Part, ...]:
    return tuple(Part(name=name, width=width) for name, width in named)


_GR1_PARTS = _parts(
    ("left_arm", 7), ("right_arm", 7), ("left_hand", 6), ("right_hand", 6), ("waist", 3)
)

_ALL = (
    Embodiment(
        name="gr1",
        start=0,
        parts=_GR1_PARTS,
        description="Fourier GR-1, upper body: joint targets in rad, 29 of the robot's 44",
    ),
    Embodiment(
        name="gr1_human",
        start=29,
        parts=_GR1_PARTS,
        description="a person's motion (Manus gloves) retargeted to GR-1: joint targets in rad",
    ),
    Embodiment(
        name="g1",
        start=58,
        parts=_parts(
            ("left_leg", 6),
            ("right_leg", 6),
            ("waist", 3),
            ("left_arm", 7),
            ("left_hand", 7),
            ("right_arm", 7),
            ("right_hand", 7),
        ),
        description="Unitree G1, whole body with three-fingered hands: joint targets in rad",
    ),
    Embodiment(
        name="yam",
        start=101,
        parts=_parts(
            ("ee_pose_action_left", 16),
            ("ee_pose_action_right", 16),
            ("gripper_pos_action_left", 1),
            ("gripper_pos_action_right", 1),
            ("joint_pos_action_left", 6),
            ("joint_pos_action_right", 6),
        ),
        description="two YAM arms: end effector poses as 4x4 matrices, grippers, joints in rad",
    ),
    Embodiment(
        name="agibot",
        start=147,
        parts=_parts(
            ("left_arm_joint_position", 7),
            ("right_arm_joint_position", 7),
            ("left_effector_position", 1),
            ("right_effector_position", 1),
            ("head_position", 2),
            ("waist_pitch", 1),
            ("waist_lift", 1),
            ("robot_velocity", 2),
        ),
        description="AgiBot G1: joint targets in rad, effectors, head, waist, base velocity",
    ),
    Embodiment(
        name="droid",
        start=169,
        parts=(
            Part(name="position", width=3),
            Part(name="rotation", width=3),
            Part(name="gripper", width=1, role="opening"),
        ),
        description="Franka arm of DROID: pose target in m and rad, gripper closed fraction",
    ),
    Embodiment(
        name="g1_inspire",
        start=176,
        parts=(
            Part(name="left_arm", width=7),
            Part(name="right_arm", width=7),
            Part(name="left_hand", width=6, role="opening"),
            Part(name="right_hand", width=6, role="opening"),
        ),
        description="Unitree G1, arms in rad and Inspire hands as open fractions",
    ),
    Embodiment(
        name="arm",
        start=202,
        parts=(
            Part(name="position", width=3, role="move"),
            Part(name="yaw", width=1, role="move"),
            Part(name="gripper", width=1, role="opening"),
        ),
        description="the dojo's arm: moves in m and rad from the last target, open fraction",
    ),
    Embodiment(
        name="arm2",
        start=207,
        parts=_parts(("turn", 1), ("elbow", 1), ("lift", 1), ("roll", 1), ("fingers", 2)),
        description="the dojo's second arm: joint targets in rad and m",
    ),
    Embodiment(
        name="hand",
        start=213,
        parts=(
            Part(name="position", width=3, role="move"),
            Part(name="yaw", width=1, role="move"),
            Part(name="fingers", width=1, role="opening"),
        ),
        description="the dojo's hand: moves in m and rad from the last target, bent fraction of "
        "the index finger, with which the others move",
    ),
    Embodiment(
        name="mano",
        start=220,
        parts=_parts(
            ("left_wrist_position", 3),
            ("left_wrist_rotation", 3),
            ("left_joints", 60),
            ("right_wrist_position", 3),
            ("right_wrist_rotation", 3),
            ("right_joints", 60),
        ),
        description="two human hands (MANO): wrists in m and axis-angle, 20 joints each",
    ),
    Embodiment(
        name="latent",
        start=352,
        parts=_parts(("latent", 32)),
        description="latent actions of the latent action model, for video without actions",
    ),
)

EMBODIMENTS: dict[str, Embodiment] = {each.name: each for each in _ALL}
"""All embodiments that have slots, by name."""


def embodiment(name: str) -> Embodiment:
    """Looks an embodiment up.

    Raises:
        BadInputError: If none of that name has slots.
    """
    if name not in EMBODIMENTS:
        raise BadInputError(
            f"The embodiment '{name}' has no action slots; those that have are: "
            f"{', '.join(EMBODIMENTS)}."
        )
    return EMBODIMENTS[name]


def select(actions: torch.Tensor, columns: tuple[int, ...]) -> torch.Tensor:
    """Picks columns of wider actions.

    Args:
        actions: ``[..., dataset_width]``.
        columns: As ``Embodiment.columns`` gives them.

    Returns:
        ``[..., len(columns)]``.

    Raises:
        BadInputError: If a column lies outside the actions.
    """
    if columns and max(columns) >= actions.shape[-1]:
        raise BadInputError(
            f"Column {max(columns)} was asked for, but the actions are {actions.shape[-1]} wide; "
            "the columns belong to another dataset."
        )
    return actions[..., list(columns)]


def place(actions: torch.Tensor, name: str) -> torch.Tensor:
    """Puts an embodiment's actions into its slots; all other slots are zero.

    Args:
        actions: ``[..., width]`` of that embodiment.
        name: The embodiment.

    Returns:
        ``[..., 384]`` of the same dtype and device.

    Raises:
        BadInputError: If the embodiment has no slots or the width is not its own.
    """
    robot = embodiment(name)
    _check_width(actions.shape[-1], robot)
    placed = actions.new_zeros((*actions.shape[:-1], ACTION_WIDTH))
    placed[..., robot.start : robot.stop] = actions
    return placed


def extract(placed: torch.Tensor, name: str) -> torch.Tensor:
    """Takes an embodiment's actions out of their slots; undoes ``place``.

    Args:
        placed: ``[..., 384]``.
        name: The embodiment.

    Returns:
        ``[..., width]`` of that embodiment.

    Raises:
        BadInputError: If the embodiment has no slots or the vector is not 384 wide.
    """
    robot = embodiment(name)
    if placed.shape[-1] != ACTION_WIDTH:
        raise BadInputError(
            f"The action vector is {placed.shape[-1]} wide, but the layout with the slots of "
            f"'{name}' is {ACTION_WIDTH} wide; place the actions first."
        )
    return placed[..., robot.start : robot.stop].clone()


def _check_width(width: int, robot: Embodiment) -> None:
    if width == robot.width:
        return
    layout = ", ".join(f"{part.name} {part.width}" for part in robot.parts)
    raise BadInputError(
        f"The actions are {width} wide, but the embodiment '{robot.name}' takes {robot.width} "
        f"({layout}); select its columns with the dataset's modality file, or state another."
    )

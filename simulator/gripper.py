"""The two-finger gripper that both arms carry."""

from typing import Any

import mujoco

from dojobench.simulator.building import Builder
from dojobench.simulator.embodiments import MARKER, add_servo
from dojobench.simulator.textures import Look

HALF_OPENING = 0.048
"""Travel of one finger, metres."""
LENGTH = 0.15
"""From the wrist's axis to the fingertips, metres."""


def add_gripper(build: Builder, wrist: Any, *, shell: Look, finger: Look) -> None:
    """Adds palm, marker band and fingers below a body, and the site ``tip``.

    Args:
        build: The model under construction.
        wrist: Body that carries the gripper; its own -z axis points to the fingertips.
        shell: Look of the palm.
        finger: Look of the fingers.
    """
    robot: dict[str, Any] = {"owner": "robot", "group": "robot"}
    build.geom(
        wrist, "palm", "box", (0.062, 0.024, 0.018), (0, 0, -0.062), look=shell, mass=0.15, **robot
    )
    build.geom(
        wrist,
        "band",
        "box",
        (0.034, 0.030, 0.0135),
        (0, 0, -0.031),
        look=MARKER,
        owner="robot",
        group="none",
    )
    wrist.add_site(name="tip", pos=[0, 0, -LENGTH])
    for side, name in ((-1, "finger.left"), (1, "finger.right")):
        body = build.body(wrist, name, (side * 0.011, 0, -LENGTH), gravcomp=1)
        body.add_joint(
            name=name,
            type=mujoco.mjtJoint.mjJNT_SLIDE,
            axis=[side, 0, 0],
            limited=True,
            range=[-0.004, HALF_OPENING],
            armature=0.05,
        )
        grip: dict[str, Any] = {"mass": 0.05, "friction": (1.4, 0.02, 0.002), "priority": 1}
        build.geom(
            body, name, "box", (0.008, 0.013, 0.038), (0, 0, 0.032), look=finger, **grip, **robot
        )
        build.geom(
            body,
            f"{name}.knuckle",
            "box",
            (0.012, 0.016, 0.012),
            (side * 0.004, 0, 0.063),
            look=shell,
            owner="robot",
            group="none",
        )
        add_servo(build, name, 500.0, 25.0, 14.0)

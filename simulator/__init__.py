"""The dojo: MuJoCo scenes, embodiments and a ray-cast camera; exact branches."""

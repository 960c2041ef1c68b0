"""Where a result comes from: the code, the packages and the hardware that made it."""

import os
import platform
import re
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from dojobench import __version__
from dojobench.benchmarks.records import CodeEntry

PACKAGES = (
    "torch",
    "torchvision",
    "torchmetrics",
    "lpips",
    "numpy",
    "scipy",
    "pandas",
    "av",
    "pyarrow",
    "mujoco",
)
"""Packages whose versions can move a number."""


def command_line() -> str | None:
    """Gives the command as it was typed, or ``None`` where Python code started the run."""
    if Path(sys.argv[0]).name != "dojobench":
        return None
    return shlex.join(["dojobench", *sys.argv[1:]])


def code_entry() -> CodeEntry:
    """Describes dojobench's own commit, and that of the current directory's repository."""
    here = Path(__file__).resolve()
    commit, dirty = _git_state(here.parent) if _is_tracked(here) else (None, None)
    project = None
    top = _git(Path.cwd(), "rev-parse", "--show-toplevel")
    if top and not here.is_relative_to(Path(top).resolve()):
        project_commit, project_dirty = _git_state(Path.cwd())
        project = {"name": Path(top).name, "commit": project_commit, "dirty": project_dirty}
    return CodeEntry(version=__version__, commit=commit, dirty=dirty, project=project)


def package_versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that matter to a number."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def hardware(device: str = "cpu") -> dict[str, Any]:
    """Describes the machine: CPU, cores this process may use, memory, and the GPU in use."""
    found: dict[str, Any] = {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_gib": _memory_gib(),
    }
    if device.startswith("cuda"):
        found |= _gpu(device)
    return found


def _gpu(device: str) -> dict[str, Any]:
    import torch

    if not torch.cuda.is_available():
        return {}
    index = torch.device(device).index or 0
    properties = torch.cuda.get_device_properties(index)
    return {
        "gpu": properties.name,
        "gpu_memory_gib": round(properties.total_memory / 2**30, 1),
        "cuda": torch.version.cuda,
        "driver": _driver_version(),
    }


def _driver_version() -> str | None:
    file = Path("/proc/driver/nvidia/version")
    if not file.exists():
        return None
    found = re.search(r"Kernel Module\D*(\d+\.[\d.]+)", file.read_text())
    return found.group(1) if found else None


def _cpu_model() -> str:
    file = Path("/proc/cpuinfo")
    if file.exists():
        found = re.search(r"^model name\s*:\s*(.+)$", file.read_text(), re.MULTILINE)
        if found:
            return found.group(1).strip()
    return platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None
    return round(total / 2**30, 1)


def _is_tracked(file: Path) -> bool:
    """An installed copy may lie inside some other project's repository, which is not its own."""
    return _git(file.parent, "ls-files", "--error-unmatch", file.name) is not None


def _git_state(folder: Path) -> tuple[str | None, bool | None]:
    status = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return _git(folder, "rev-parse", "HEAD"), None if status is None else bool(status)


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments, no shell
            ["git", "-C", str(folder), *arguments],  # noqa: S607 - the user's own git
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None

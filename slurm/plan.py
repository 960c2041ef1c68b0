"""A plan: commands of the project, what each must wait for, and what it needs to run.

A plan is data. It is written as JSON, can be edited by hand, and the same file runs on a Slurm
cluster or on one machine.
"""

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from dojobench.protocol.errors import BadInputError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_MAX_BYTES = 16 * 2**20
_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """What a job is given.

    Attributes:
        cpus: Cores.
        gpus: GPUs.
        memory_gb: Main memory in GB (2^30 bytes).
        minutes: Time limit of one attempt; a job that saves its state goes on in the next.
        partition: Slurm's partition; the cluster's default if left out.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    cpus: int = 2
    gpus: int = 0
    memory_gb: float = 8.0
    minutes: int = 240
    partition: str | None = None

    def __post_init__(self) -> None:
        if self.cpus < 1 or self.gpus < 0 or self.memory_gb <= 0 or self.minutes < 1:
            raise BadInputError(
                f"Resources of {self.cpus} cpus, {self.gpus} gpus, {self.memory_gb:g} GB and "
                f"{self.minutes} minutes are impossible; gpus may be 0, the others are above 0."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One command, or with ``array`` several of the same kind.

    Attributes:
        name: Letters, digits, ``-`` and ``_``.
        command: Arguments of ``dojobench``, such as ``("train", "tokenizer", "--out", "RUN")``.
        after: Jobs that must have succeeded before this one starts.
        array: Further arguments of each task; the tasks are called ``NAME.0``, ``NAME.1``, ….
        resources: What each task is given.
        folder: Where the command writes, within the run's folder; ``train.jsonl`` is looked for
            there to tell how far it is. The job's name if left out.
        program: What the arguments are given to, where it is not this Python's dojobench.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: str
    command: tuple[str, ...]
    after: tuple[str, ...] = ()
    array: tuple[tuple[str, ...], ...] | None = None
    resources: Resources = field(default_factory=Resources)
    folder: str | None = None
    program: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise BadInputError(
                f"A job cannot be called '{self.name}'; a name begins with a letter or digit and "
                "has up to 64 letters, digits, '-' and '_'."
            )
        if not self.command and not self.program:
            raise BadInputError(f"Job '{self.name}' has no command; give its arguments.")
        if self.array is not None and not self.array:
            raise BadInputError(
                f"Job '{self.name}' is an array of no tasks; leave 'array' out or fill it."
            )

    def tasks(self) -> list["Task"]:
        """The commands that the job consists of: one, or one for each entry of ``array``."""
        head = self.program or (sys.executable, "-m", "dojobench.cli")
        folder = self.folder or self.name
        if self.array is None:
            return [Task(name=self.name, argv=(*head, *self.command), folder=folder)]
        return [
            Task(
                name=f"{self.name}.{index}",
                argv=(*head, *self.command, *more),
                folder=f"{folder}/{index}",
            )
            for index, more in enumerate(self.array)
        ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One command to run.

    Attributes:
        name: Name of the job, with ``.INDEX`` in an array.
        argv: The whole command.
        folder: Where it writes, within the run's folder.
    """

    name: str
    argv: tuple[str, ...]
    folder: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Jobs that belong together.

    Attributes:
        name: For people, and Slurm's job names.
        jobs: In any order that a reader likes; they run in the order of their ``after``.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: str
    jobs: tuple[Job, ...]

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise BadInputError(
                f"A plan cannot be called '{self.name}'; a name begins with a letter or digit "
                "and has up to 64 letters, digits, '-' and '_'."
            )
        if not self.jobs:
            raise BadInputError(f"Plan '{self.name}' has no jobs; give it at least one.")
        seen: set[str] = set()
        for job in self.jobs:
            if job.name in seen:
                raise BadInputError(
                    f"Plan '{self.name}' has two jobs called '{job.name}'; rename one."
                )
            seen.add(job.name)
        for job in self.jobs:
            for name in job.after:
                if name not in seen:
                    raise BadInputError(
                        f"Job '{job.name}' waits for '{name}', which plan '{self.name}' does not "
                        f"have; its jobs are {', '.join(each.name for each in self.jobs)}."
                    )
        self.ordered()

    def ordered(self) -> list[Job]:
        """The jobs, each behind those that it waits for, else as given.

        Raises:
            BadInputError: If jobs wait for each other in a circle.
        """
        place = {job.name: index for index, job in enumerate(self.jobs)}
        sorter = TopologicalSorter({job.name: set(job.after) for job in self.jobs})
        try:
            sorter.prepare()
        except CycleError as error:
            circle = " waits for ".join(f"'{name}'" for name in reversed(error.args[1]))
            raise BadInputError(
                f"In plan '{self.name}' {circle}, so none could ever start; break the circle."
            ) from error
        order: list[Job] = []
        while sorter.is_active():
            ready = sorted(sorter.get_ready(), key=place.__getitem__)
            order += [self.jobs[place[name]] for name in ready]
            sorter.done(*ready)
        return order

    def upstream(self, name: str) -> list[str]:
        """Names of all jobs that must have succeeded before a job starts, the first ones first."""
        by_name = {job.name: job for job in self.jobs}
        wanted, queue = set[str](), [name]
        while queue:
            above = set(by_name[queue.pop()].after) - wanted
            wanted |= above
            queue += above
        return [job.name for job in self.ordered() if job.name in wanted]


_ADAPTER: TypeAdapter[Plan] = TypeAdapter(Plan)


def plan_to_json(plan: Plan) -> bytes:
    """Writes a plan as JSON, the same bytes for the same plan."""
    return _ADAPTER.dump_json(plan, indent=1) + b"\n"


def read_plan(path: Path) -> Plan:
    """Reads a plan from its file.

    Raises:
        BadInputError: If there is none, or it is no plan; the field is named.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise BadInputError(f"{path} is larger than a plan may be ({_MAX_BYTES >> 20} MB).")
        text = path.read_bytes()
    except OSError as error:
        raise BadInputError(
            f"{path} cannot be read ({error.strerror}); name the JSON file of a plan."
        ) from error
    try:
        return _ADAPTER.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise BadInputError(
            f"{path} is no plan: {where}: {first['msg'].rstrip('.')}; see docs/slurm.md."
        ) from error
    except BadInputError as error:
        raise BadInputError(f"{path}: {error}") from error


def plan_from_steps(name: str, steps: Iterable[Any]) -> Plan:
    """Makes a plan of steps that another room describes.

    Args:
        name: Of the plan.
        steps: Mappings or objects with ``name``, ``argv`` (arguments of ``dojobench``), and,
            where needed, ``after``, ``array``, ``folder`` and ``resources`` (a mapping or an
            object with fields of :class:`Resources`).

    Raises:
        BadInputError: If the steps make no plan.
    """
    jobs = []
    for step in steps:
        fields = _fields(step)
        resources = _fields(fields.get("resources") or {})
        array = fields.get("array")
        jobs.append(
            Job(
                name=str(fields["name"]),
                command=tuple(map(str, fields["argv"])),
                after=tuple(fields.get("after") or ()),
                array=None if array is None else tuple(tuple(map(str, one)) for one in array),
                resources=Resources(**{k: v for k, v in resources.items() if v is not None}),
                folder=fields.get("folder"),
            )
        )
    return Plan(name=name, jobs=tuple(jobs))


def _fields(thing: Any) -> Mapping[str, Any]:
    return thing if isinstance(thing, Mapping) else asdict(thing)

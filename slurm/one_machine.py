"""A whole Slurm on one machine: what tests run on, and what a plan can be tried on.

One controller, nodes that are daemons with ports of their own, and an authentication daemon with
its own key and socket, all in one temporary folder and as the user who starts it. There is no
accounting and no confinement of jobs, and nothing of a Slurm that the machine may already have
is read, changed or stopped.
"""

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from dojobench.protocol.errors import BadInputError
from dojobench.slurm.child import bound_to_this

DAEMONS = ("munged", "slurmctld", "slurmd")
_START_SECONDS = 300.0
_END_SECONDS = 60.0

_CONFIG = """\
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CryptoType=crypto/munge
AuthInfo=socket={folder}/munge.socket,cred_expire={restart_seconds}
SlurmctldPort={port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=2,sched_min_interval=0,bf_interval=2
ReturnToService=2
SlurmdTimeout=300
MessageTimeout=60
KillWait=30
InactiveLimit=0
MinJobAge=600
JobRequeue=1
PreemptType=preempt/none
"""


def missing_programs() -> list[str]:
    """Names the programs of Slurm and munge that are not installed."""
    needed = (*DAEMONS, "sbatch", "srun", "squeue", "scancel", "scontrol")
    return [name for name in needed if _program(name) is None]


class OneMachineCluster:
    """A cluster that lives as long as a ``with`` block.

    Attributes:
        folder: Where its files and logs are.
        environment: Variables by which Slurm's commands find it.
        nodes: Names of the nodes.
    """

    def __init__(
        self,
        *,
        nodes: int = 2,
        cpus: int = 8,
        memory_mb: int = 16000,
        restart_seconds: int = 5,
    ) -> None:
        """Describes a cluster; entering it starts the daemons.

        Args:
            nodes: Number of nodes; each is also a partition of its own, named like the node.
            cpus: What a node says to have; jobs are not confined to it.
            memory_mb: Likewise.
            restart_seconds: How long a requeued job waits; Slurm takes no less than 5.

        Raises:
            BadInputError: If Slurm or munge is not installed.
        """
        if missing := missing_programs():
            raise BadInputError(
                f"A cluster on this machine needs {', '.join(missing)}; install Slurm and munge "
                "(on Debian: apt install slurm-wlm munge)."
            )
        self.nodes = [f"node{number}" for number in range(1, nodes + 1)]
        self.folder = Path()
        self.environment: dict[str, str] = {}
        self._cpus, self._memory_mb = cpus, memory_mb
        self._restart_seconds = restart_seconds
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "OneMachineCluster":
        # A socket's path may have about 100 characters, so the folder lies high up.
        self.folder = Path(tempfile.mkdtemp(prefix="dojobench-slurm-"))
        self.environment = {"SLURM_CONF": str(self.folder / "slurm.conf")}
        try:
            self._write_config()
            self._start_munge()
            self._start("slurmctld", ["slurmctld", "-D", "-c"])
            for node in self.nodes:
                self.start_node(node)
            self._wait("the nodes to report", self._all_idle)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def call(self, *command: str, check: bool = True) -> str:
        """Runs one of Slurm's commands, such as ``squeue``, and returns what it printed."""
        done = subprocess.run(  # noqa: S603 - the caller is a test or this module
            list(command),
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def start_node(self, node: str) -> None:
        """Starts a node's daemon; it is of use again after :meth:`lose_node`."""
        self._start(node, ["slurmd", "-D", "-N", node])

    def lose_node(self, node: str) -> None:
        """Ends a node as a power cut does: its daemon, its job steps and all that they run.

        The controller, which would notice by itself after five minutes, is told.
        """
        daemon = self._running.pop(node)
        doomed = [daemon.pid, *self._steps(node)]
        for pid in doomed:
            _kill(pid, signal.SIGSTOP)
        for one in {*doomed, *(child for pid in doomed for child in _descendants(pid))}:
            _kill(one, signal.SIGKILL)
        daemon.wait()
        self.call("scontrol", "update", f"nodename={node}", "state=down", "reason=power cut")

    def stop(self) -> None:
        """Ends all jobs and daemons and removes the folder; does nothing the second time."""
        if "slurmctld" in self._running:
            self.call("scancel", "--signal=KILL", "--full", "--me", check=False)
            self.call("scancel", "--me", check=False)
            self._wait("the jobs to end", self._no_jobs, patient=True)
        for name in list(self._running)[::-1]:
            steps = self._steps(name) if name in self.nodes else []
            daemon = self._running.pop(name)
            daemon.terminate()
            try:
                daemon.wait(timeout=10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
            for pid in steps:
                _kill(pid, signal.SIGKILL)
        if self.folder != Path():
            shutil.rmtree(self.folder, ignore_errors=True)

    def _write_config(self) -> None:
        host = socket.gethostname().partition(".")[0]
        ports = _free_ports(len(self.nodes) + 1)
        lines = [
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} "
            f"CPUs={self._cpus} RealMemory={self._memory_mb} State=UNKNOWN"
            for node, port in zip(self.nodes, ports[1:], strict=True)
        ]
        lines.append(f"PartitionName=all Nodes={','.join(self.nodes)} Default=YES State=UP")
        lines += [f"PartitionName={node} Nodes={node} State=UP" for node in self.nodes]
        (self.folder / "state").mkdir()
        for node in self.nodes:
            (self.folder / f"spool-{node}").mkdir()
        head = _CONFIG.format(
            host=host,
            user=_user(),
            folder=self.folder,
            port=ports[0],
            restart_seconds=self._restart_seconds,
        )
        (self.folder / "slurm.conf").write_text(head + "\n".join(lines) + "\n", encoding="utf-8")

    def _start_munge(self) -> None:
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        self.folder.chmod(0o755)  # munge wants its socket where everyone may look
        files = {
            "key-file": key,
            "socket": self.folder / "munge.socket",
            "pid-file": self.folder / "munged.pid",
            "log-file": self.folder / "munged.log",
            "seed-file": self.folder / "munged.seed",
        }
        options = [f"--{name}={path}" for name, path in files.items()]
        self._start("munged", ["munged", "--foreground", "--force", *options])
        self._wait("munged to open its socket", files["socket"].exists)

    def _start(self, name: str, command: Sequence[str]) -> None:
        with (self.folder / f"{name}.out").open("ab") as log:
            self._running[name] = subprocess.Popen(  # noqa: S603 - the daemons named above
                bound_to_this([str(_program(command[0])), *command[1:]]),
                env=os.environ | self.environment | dict([self._mark(name).split("=", 1)]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _wait(self, what: str, ready: Callable[[], bool], *, patient: bool = False) -> None:
        end = time.monotonic() + (_END_SECONDS if patient else _START_SECONDS)
        while not ready():
            dead = [name for name, daemon in self._running.items() if daemon.poll() is not None]
            if patient and (dead or time.monotonic() > end):
                return
            if dead or time.monotonic() > end:
                told = "".join(
                    f"\n{path.name}: {path.read_text(errors='replace')[-1500:]}"
                    for path in sorted(self.folder.glob("*.log"))
                    + sorted(self.folder.glob("*.out"))
                )
                gone = f"{', '.join(dead)} ended" if dead else "nothing happened"
                raise RuntimeError(f"waiting for {what}, {gone}{told}")
            time.sleep(0.1)

    def _all_idle(self) -> bool:
        return self.call(
            "sinfo", "-h", "-p", "all", "-t", "idle", "-o", "%D", check=False
        ).strip() == str(len(self.nodes))

    def _no_jobs(self) -> bool:
        return not self.call("squeue", "-h", "-t", "R,CG,CF,S", check=False).strip()

    def _steps(self, node: str) -> list[int]:
        """Processes that watch a node's job steps: they have the environment of its daemon."""
        mark = self._mark(node).encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:  # it ended just now, or is another user's
                continue
        return found

    def _mark(self, name: str) -> str:
        return f"DOJOBENCH_DAEMON={self.folder}/{name}"


def _program(name: str) -> str | None:
    # Daemons lie where an ordinary user's PATH does not lead.
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/local/sbin")


def _user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def _free_ports(count: int) -> list[int]:
    """Gives ports below those that the system hands out.

    So no other program is given one by chance, neither now nor while a node's daemon is away.
    """
    found: list[int] = []
    while len(found) < count:
        port = secrets.choice(range(10_000, 30_000))
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in found:
                found.append(port)
    return found


def _descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The second field is the name in parentheses, and may itself hold anything.
            parent = int(entry.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(entry.parent.name))
    found, queue = [], [pid]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def _kill(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)

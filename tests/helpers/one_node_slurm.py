"""A real Slurm of one node for tests: its own munge, controller and node daemon, all files in one folder.

It needs root and Debian's packages slurm-wlm and munge, which .ci/run installs.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "sinfo")
CONFIGURATION = """
ClusterName=t
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmUser=root
SlurmdSpoolDir={folder}/spool
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SlurmdTimeout=10
KillWait=30
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobAcctGatherType=jobacct_gather/none
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=1
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10
"""


def missing_programs() -> list[str]:
    """Return the programs that this machine lacks; "root" stands for the right to start them."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    return missing if os.geteuid() == 0 else [*missing, "root"]


def wait_until(holds: Callable[[], bool], what: str, seconds: float = 300) -> None:
    """Wait until a condition holds; fail with `what` after some seconds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.3)


class OneNodeSlurm:
    """The three daemons; `environment` lets Slurm's programs find them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "OMP_NUM_THREADS": "1"}

    def start(self) -> None:
        """Write key and configuration, start the daemons and wait for an idle node."""
        for name in ("spool", "state"):
            (self.folder / name).mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        places = {
            "--key-file": "key", "--socket": "socket", "--pid-file": "pid", "--log-file": "log",
            "--seed-file": "seed",
        }  # fmt: skip
        options = [f"{option}={self.folder}/munge.{end}" for option, end in places.items()]
        subprocess.run(["munged", "--force", *options], check=True, capture_output=True)
        host = socket.gethostname().partition(".")[0]
        text = CONFIGURATION.format(host=host, folder=self.folder, ports=(_free_port(), _free_port()))
        (self.folder / "slurm.conf").write_text(text)
        subprocess.run(["slurmctld"], env=self.environment, check=True, capture_output=True)
        self.start_node()

    def start_node(self) -> None:
        """Start slurmd and wait until the node takes jobs."""
        subprocess.run(["slurmd"], env=self.environment, check=True, capture_output=True)
        wait_until(lambda: self.node_state() in ("idle", "mixed", "allocated"), "the node is up", 60)

    def stop_node(self) -> None:
        """End slurmd and kill the processes of its jobs, as when a node is lost; wait for the controller."""
        end(self.folder / "slurmd.pid")
        daemons = {int((self.folder / f"{name}.pid").read_text()) for name in ("slurmctld", "munge")}
        lost = _started_with(f"SLURM_CONF={self.environment['SLURM_CONF']}") - daemons
        # all stand still before the first ends: a job's daemon must not report the end of its process
        for sign in (signal.SIGSTOP, signal.SIGKILL):
            for pid in lost:
                with suppress(ProcessLookupError):
                    os.kill(pid, sign)
        wait_until(lambda: self.node_state().startswith("down"), "the node is down", 90)

    def stop(self) -> None:
        """End jobs and daemons, each by its own pid."""
        self.run("scancel", "--user=root", check=False)
        time.sleep(1)
        for name in ("slurmctld", "slurmd", "munge"):
            end(self.folder / f"{name}.pid")

    def run(self, *command: str, check: bool = True) -> str:
        """Return what one of Slurm's programs prints."""
        shown = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert not check or shown.returncode == 0, shown.stderr
        return shown.stdout

    def node_state(self) -> str:
        """Return the state of the node, such as idle or down*."""
        return self.run("sinfo", "--noheader", "--Node", "--format=%T", "--partition=main").strip()

    def jobs(self) -> dict[str, dict[str, str]]:
        """Return job id, with its task -> the fields of `scontrol show job`."""
        found = {}
        for line in self.run("scontrol", "--oneliner", "show", "job", check=False).splitlines():
            fields = dict(part.split("=", 1) for part in line.split() if "=" in part)
            if "JobId" in fields:
                main, task = fields.get("ArrayJobId"), fields.get("ArrayTaskId")
                found[fields["JobId"] if main is None else f"{main}_{task}"] = fields
        return found

    def running(self) -> list[str]:
        """Return the ids of running jobs of partition main."""
        shown = self.run(
            "squeue", "--noheader", "--array", "--states=RUNNING", "--partition=main", "--format=%i"
        )
        return shown.split()

    def restarts(self) -> dict[str, int]:
        """Return job id -> how often Slurm has put it back into the queue."""
        return {name: int(fields["Restarts"]) for name, fields in self.jobs().items()}


def end(pid_file: Path, seconds: float = 20) -> None:
    """End the process of a pid file; kill it if it is still there after some seconds.

    Slurm 22.05's controller was seen to hang in its shutdown, with one thread on a lock.
    """
    if not pid_file.is_file():
        return
    pid = int(pid_file.read_text())
    limit = time.monotonic() + seconds
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        while _is_alive(pid) and time.monotonic() < limit:
            time.sleep(0.3)
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not _is_alive(pid), f"the process of {pid_file.name} is gone", 20)


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def _started_with(variable: str) -> set[int]:
    """Return the processes that were started with a variable in their environment."""
    found = set()
    for file in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # it has ended
            if variable.encode() in file.read_bytes().split(b"\0"):
                found.add(int(file.parent.name))
    return found


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port

"""Send the missing cells of a campaign to Slurm, or with --local N to N processes of this machine.

Shared stages run before the cells that need them. A job that runs out of time, is preempted or loses its
node returns to the queue and continues from its checkpoint. `fewshot status` follows the progress; the same
command again submits what is still missing. The options of the campaign are those of `fewshot jobs`.

Examples:
  fewshot submit --campaign campaign.toml --partition gpu --gpus 1 --time 4:00:00 --at-once 16
  fewshot submit --method ssl-alpnet --dataset chaost2 --seeds 0,1,2 --local 2 --device cuda:0,cuda:1
"""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

from fewshot.base.errors import UserError
from fewshot.commands import campaign

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from protocols.campaign.campaign_file import CampaignFile
    from protocols.campaign.engines import SlurmOptions
    from protocols.campaign.jobs import Job


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    campaign.add_arguments(parser)
    group = parser.add_argument_group("slurm")
    group.add_argument("--partition", metavar="P", help="partition (default: the cluster's)")
    group.add_argument("--gpus", type=int, default=0, metavar="N", help="GPUs of a job")
    group.add_argument("--cpus", type=int, metavar="N", help="cores of a job (default: the cluster's)")
    group.add_argument("--memory", type=float, metavar="GB", help="memory of a job (default: the cluster's)")
    group.add_argument(
        "--time", default="4:00:00", metavar="T", help="limit of a job as D-HH:MM:SS, H:MM:SS or minutes"
    )
    group.add_argument(
        "--at-once", type=int, metavar="N", help="most jobs at the same time (default: no bound)"
    )
    group.add_argument(
        "--requeues", type=int, default=50, metavar="N", help="how often a job may run out of time"
    )
    group.add_argument("--array-size", type=int, default=1000, metavar="N", help="most jobs of one array")
    group.add_argument(
        "--sbatch",
        action="append",
        default=[],
        metavar="K=V",
        help="another option of sbatch; may be repeated",
    )
    group = parser.add_argument_group("engine")
    group.add_argument(
        "--local", type=int, metavar="N",
        help="run N jobs at a time here, on the devices of --device in turn, and wait for all",
    )  # fmt: skip
    group.add_argument("--name", metavar="NAME", help="folder under WORK/jobs (default: the next number)")


def run(args: argparse.Namespace) -> int:
    """Submit the jobs; return 1 if a local job failed."""
    import logging

    from fewshot.commands import shared
    from protocols.campaign.campaign_file import CampaignFile, new_campaign
    from protocols.campaign.costs import Costs
    from protocols.campaign.jobs import list_jobs, summarise_jobs
    from protocols.campaign.units import plan_units

    slurm = None if args.local is not None else _slurm_options(args)
    devices = tuple(args.device.split(","))
    if args.local is not None:
        if args.local < 1:
            raise UserError(f"--local {args.local}: expected 1 or more processes")
        devices = shared.parse_devices(args)
        args.device = "auto"
    runs = campaign.campaign_runs(args)
    units = plan_units(runs)
    jobs = list_jobs(units, Costs(args.work, runs[0].request.device.type))
    logging.getLogger("fewshot").info("%s", summarise_jobs(units, jobs))
    if not jobs:
        print("every cell is recorded")
        return 0
    folder = new_campaign(args.work, args.name).absolute()
    file = CampaignFile(folder, "local" if slurm is None else "slurm", units, jobs)
    file.write()
    if slurm is None:
        return _run_locally(jobs, devices, args.local, folder, file)
    return _submit(jobs, slurm, folder, file)


def _run_locally(
    jobs: Sequence[Job], devices: Sequence[str], count: int, folder: Path, file: CampaignFile
) -> int:
    """Run the jobs on this machine; print what failed, and return 1 if a job did."""
    import logging

    from fewshot.commands.devices import device_slots
    from protocols.campaign.engines import LocalJob, run_locally
    from protocols.campaign.outcomes import log_file

    log = logging.getLogger("fewshot")
    ids: dict[int, str] = {}

    def on_change(number: int, job_id: str, state: str) -> None:
        ids[number] = job_id
        file.note(number, job_id, state)
        file.write()
        if state != "running":
            log.info("job %d %s: %s", number, state, jobs[number].label)

    places = [devices[number % len(devices)] for number in range(count)]
    local = [LocalJob(job.command, job.after) for job in jobs]
    ended = run_locally(local, device_slots(places), folder, on_change)
    for job, status in zip(jobs, ended, strict=True):
        if status:
            log.info("job %d (%s): %s", job.number, status, log_file(folder, ids[job.number]) or job.line)
    failed = sum(bool(status) for status in ended)
    print(f"{len(jobs) - failed} of {len(jobs)} jobs done; logs in {folder}")
    return 1 if failed else 0


def _submit(jobs: Sequence[Job], slurm: SlurmOptions, folder: Path, file: CampaignFile) -> int:
    """Submit the jobs to Slurm and print where their logs will lie."""
    import shutil

    from fewshot.files.leases import mark_leases
    from protocols.campaign.arrays import JobArray, plan_arrays
    from protocols.campaign.engines import submit_arrays

    submitted: list[str] = []

    def on_array(array: JobArray, ids: list[str]) -> None:
        submitted.extend(ids)
        for job, job_id in zip(array.jobs, ids, strict=True):
            file.note(job.number, job_id)
        file.write()

    mark_leases(folder.parent.parent / "locks")  # this host may see its own disk where nodes see NFS
    arrays = plan_arrays(jobs, slurm.cap, slurm.largest)
    try:
        submit_arrays(arrays, slurm, folder, f"fewshot-{folder.name}", on_array)
    finally:
        if not submitted:
            shutil.rmtree(folder)
    print(f"{len(jobs)} jobs submitted in {len(arrays)} arrays; logs in {folder}; see fewshot status")
    return 0


def _slurm_options(args: argparse.Namespace) -> SlurmOptions:
    from protocols.campaign.engines import SlurmOptions, check_slurm

    check_slurm()
    for flag, value, least in (
        ("--gpus", args.gpus, 0), ("--cpus", args.cpus, 1), ("--at-once", args.at_once, 1),
        ("--requeues", args.requeues, 0), ("--array-size", args.array_size, 1),
    ):  # fmt: skip
        if value is not None and value < least:
            raise UserError(f"{flag} {value}: expected {least} or more")
    more = {}
    for pair in args.sbatch:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise UserError(f"--sbatch {pair!r}: expected name=value, such as account=lab")
        more[name.removeprefix("--")] = value
    return SlurmOptions(
        args.partition, args.gpus, args.cpus, args.memory, _minutes(args.time), args.requeues, args.at_once,
        args.array_size, more,
    )  # fmt: skip


def _minutes(text: str) -> int:
    """Return the minutes of D-HH:MM:SS, H:MM:SS or a number of minutes, rounded up."""
    found = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)", text)
    if found is None:
        if text.isdecimal() and int(text) > 0:
            return int(text)
        raise UserError(f"--time {text!r}: expected D-HH:MM:SS, H:MM:SS or minutes, such as 4:00:00")
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    total = (days * 24 + hours) * 60 + minutes + (seconds > 0)
    if total < 1:
        raise UserError(f"--time {text!r}: expected a minute or more")
    return total

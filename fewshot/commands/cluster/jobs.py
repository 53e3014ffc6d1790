"""List what is missing of a campaign: one command a line, with an estimate of its cost.

Stages of a training that several cells share come first; a cell's command trains the rest and evaluates. Any
program that runs lines can run the list: run it with `--part stages` to its end, then with `--part cells`. A
campaign file is a configuration file of `run` whose method, dataset, protocol, setting and seed may be lists,
with further tables [[runs]].

Examples:
  fewshot jobs --method ssl-alpnet,panet --dataset chaost2,sabs --setting 1,2 --seeds 0,1,2
  fewshot jobs --campaign campaign.toml --part cells --out cells.txt
"""

from __future__ import annotations

import argparse

from fewshot.commands import campaign, options

PARTS = ("all", "stages", "cells")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    campaign.add_arguments(parser)
    group = options.add_output(parser, ("text", "json"))
    group.add_argument(
        "--part", default="all", choices=PARTS, help="which lines: all, shared stages alone, or cells alone"
    )


def run(args: argparse.Namespace) -> int:
    """Print the jobs."""
    import json
    import logging

    from protocols.campaign.costs import Costs
    from protocols.campaign.jobs import job_json, list_jobs, render_job, summarise_jobs
    from protocols.campaign.units import plan_units

    runs = campaign.campaign_runs(args)
    units = plan_units(runs)
    jobs = list_jobs(units, Costs(args.work, runs[0].request.device.type))
    shown = [job for job in jobs if args.part == "all" or bool(job.cells) == (args.part == "cells")]
    logging.getLogger("fewshot").info("%s", summarise_jobs(units, jobs))
    if args.format == "json":
        text = json.dumps([job_json(job) for job in shown], indent=1)
    else:
        text = "\n".join(render_job(job) for job in shown)
    options.write_output(text, args.out)
    return 0

"""Count recorded, running, waiting and failed cells of submitted campaigns, and name the logs of failures.

Examples:
  fewshot status
  fewshot status 003 --format json
"""

from __future__ import annotations

import argparse

from fewshot.commands import options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="one campaign (default: all of WORK/jobs)")
    options.add_output(parser, ("text", "json"))


def run(args: argparse.Namespace) -> int:
    """Print the status."""
    import dataclasses
    import json

    from protocols.campaign.status import campaign_status
    from results.tables.text_table import render_rows

    status = campaign_status(args.work, args.name)
    if args.format == "json":
        text = json.dumps(dataclasses.asdict(status), indent=1, default=str)
    else:
        stages = ", ".join(f"{count} {state}" for state, count in status.stages.items() if count)
        lines = [render_rows(status.rows), f"shared stages: {stages or 'none'}"]
        for failure in status.failures:
            where = failure.log or "never ran; the job before it failed or it was cancelled"
            lines.append(f"failed in {failure.campaign}: {failure.label}: {where}")
        text = "\n".join(lines)
    options.write_output(text, args.out)
    return 0

"""Jobs as job arrays: which array waits for which, so that shared stages end before their cells start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protocols.campaign.jobs import Job

SAME_TASK = "aftercorr"  # a task waits for the task of the same number to succeed
TASK = "afterok"  # all tasks wait for one task to succeed
ALL_ENDED = "afterany"  # all tasks wait until every task has ended
LARGEST = 1000  # tasks of an array; Slurm's default MaxArraySize allows 1,000


@dataclass(frozen=True)
class JobArray:
    """Jobs that are submitted together.

    Attributes:
        jobs: by task number.
        after: number of the array that it waits for, which stands earlier in the list; None without one.
        relation: how it waits; None without `after`.
        task: the task that it waits for, with relation `TASK`.
    """

    jobs: tuple[Job, ...]
    after: int | None = None
    relation: str | None = None
    task: int | None = None


def plan_arrays(jobs: Sequence[Job], cap: int | None, largest: int = LARGEST) -> list[JobArray]:
    """Return the arrays of a campaign's jobs.

    Without a cap every job waits only for the stage that it needs. A cap bounds the tasks of one array, so
    with a cap one array at a time has running tasks: stages by depth, then all cells. A cell whose stage
    failed then starts all the same and trains the stage again.

    Args:
        jobs: from `list_jobs`, numbered by position.
        cap: most simultaneous jobs; None for no cap.
        largest: most tasks of an array.
    """
    if cap is not None:
        return _levels(jobs, largest)
    arrays: list[JobArray] = []
    children: dict[int | None, list[Job]] = {}
    for job in jobs:
        children.setdefault(job.after, []).append(job)
    roots = sorted(children.get(None, ()), key=lambda job: -len(children.get(job.number, ())))
    for start in range(0, len(roots), largest):
        arrays.append(JobArray(tuple(roots[start : start + largest])))
    place = 0
    while place < len(arrays):
        arrays += _followers(place, arrays[place], children, largest)
        place += 1
    return arrays


def _followers(
    place: int, parents: JobArray, children: dict[int | None, list[Job]], largest: int
) -> list[JobArray]:
    """Return the arrays that wait for the array at `place`: one per rank of child, or one per parent."""
    lists = [children.get(job.number, []) for job in parents.jobs]
    counts = [len(one) for one in lists]
    ranks = max(counts)
    if counts == sorted(counts, reverse=True) and ranks < sum(count > 0 for count in counts):
        return [
            JobArray(tuple(one[rank] for one in lists if len(one) > rank), place, SAME_TASK)
            for rank in range(ranks)
        ]
    return [
        JobArray(tuple(one[start : start + largest]), place, TASK, task)
        for task, one in enumerate(lists)
        for start in range(0, len(one), largest)
    ]


def _levels(jobs: Sequence[Job], largest: int) -> list[JobArray]:
    depth: list[int] = []
    for job in jobs:
        depth.append(0 if job.after is None else depth[job.after] + 1)
    last = max(depth, default=0)
    levels: list[list[Job]] = [[] for _ in range(last + 1)]
    for job, level in zip(jobs, depth, strict=True):
        levels[last if job.cells else level].append(job)
    chunks = [
        tuple(level[start : start + largest]) for level in levels for start in range(0, len(level), largest)
    ]
    return [
        JobArray(chunk, number - 1 if number else None, ALL_ENDED if number else None)
        for number, chunk in enumerate(chunks)
    ]

"""Trials that are stopped early since their seeds are worse than those of the best trial.

By the one-sided signed-rank test of Wilcoxon 1945, https://doi.org/10.2307/3001968: exact for up
to 30 seeds, and by the normal approximation for more.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import NormalDist, fmean

from talweg.server.services.cancellation import cancel_for_sweep
from talweg.server.services.comparison.wording import number
from talweg.server.services.sweeps.values import objective_values
from talweg.server.store import jobs as jobs_store
from talweg.server.store.record.database import Transaction
from talweg.server.store.record.rows import SweepRow, TrialRow
from talweg.server.store.sweeps import trials
from talweg.spec.sweeps import Plan
from talweg.v1.jobs_pb2 import Job
from talweg.v1.options_pb2 import Goal

_MOST_EXACT = 30


def prune_by_seeds(tx: Transaction, row: SweepRow, plan: Plan) -> None:
    """Stop the trials whose seeds that have ended are worse than those of their search's best.

    Args:
        tx: A transaction.
        row: The sweep, locked.
        plan: Its trials.
    """
    threshold = plan.spec.pruning.wilcoxon.threshold
    searching = [
        trial
        for trial in trials.open_trials(tx.connection, row.seq)
        if not trial.is_final and not trial.pruned_at
    ]
    bests: dict[int, TrialRow | None] = {}
    for trial in searching:
        if trial.search not in bests:
            bests[trial.search] = trials.best(tx.connection, row.seq, trial.search, row.goal)
    wanted = [trial.number for trial in searching]
    wanted += [trial.number for trial in bests.values() if trial is not None]
    values = _by_seed(tx, row, plan, wanted)
    for trial in searching:
        best = bests[trial.search]
        if best is None:
            continue
        own, others = values.get(trial.number, {}), values.get(best.number, {})
        shared = sorted(own.keys() & others.keys())
        sign = -1 if row.goal == Goal.MAXIMIZE else 1
        worse_by = [sign * (own[seed] - others[seed]) for seed in shared]
        p = signed_rank_p(worse_by)
        if p < threshold and fmean(worse_by) > 0:
            _stop(tx, row, plan, trial, best, fmean(own.values()), len(shared), p)


def signed_rank_p(differences: Sequence[float]) -> float:
    """Return the one-sided p of differences that tend to be above 0.

    Differences of 0 are left out; equal sizes share their ranks.

    Args:
        differences: Paired; any number.
    """
    usable = [each for each in differences if each]
    if not usable:
        return 1.0
    sizes = sorted(map(abs, usable))
    # Twice the mean rank, which is whole.
    ranks = {size: 2 * sizes.index(size) + sizes.count(size) + 1 for size in dict.fromkeys(sizes)}
    observed = sum(ranks[abs(each)] for each in usable if each > 0)
    if len(sizes) > _MOST_EXACT:
        # Counting all ways would take seconds, while others wait for the record.
        mean = sum(ranks[size] for size in sizes) / 2
        sd = math.sqrt(sum(ranks[size] ** 2 for size in sizes)) / 2
        return 1 - NormalDist(mean, sd).cdf(observed - 1)
    ways: Counter[int] = Counter({0: 1})
    for size in sizes:
        ways = ways + Counter({total + ranks[size]: count for total, count in ways.items()})
    at_least = sum(count for total, count in ways.items() if total >= observed)
    return float(at_least / 2 ** len(usable))


def _by_seed(
    tx: Transaction, row: SweepRow, plan: Plan, numbers: Sequence[int]
) -> dict[int, Mapping[int, float]]:
    """Return the objective of jobs that SUCCEEDED, by trial and seed."""
    jobs = trials.jobs_of(tx.connection, row.seq, numbers)
    rows = jobs_store.get_many(tx.connection, [job.job for each in jobs.values() for job in each])
    ended = [each for each in rows.values() if each.state == Job.SUCCEEDED]
    values = objective_values(tx.connection, ended, plan)
    return {
        trial: {
            job.seed: values[rows[job.job].seq]
            for job in of_trial
            if job.job in rows and rows[job.job].seq in values
        }
        for trial, of_trial in jobs.items()
    }


def _stop(
    tx: Transaction,
    row: SweepRow,
    plan: Plan,
    trial: TrialRow,
    best: TrialRow,
    value: float,
    num_seeds: int,
    p: float,
) -> None:
    why = (
        f"stopped after {num_seeds} seeds: {plan.spec.objective.metric} {number(value)} is worse "
        f"than that of trial {best.number} over the same seeds, p {number(p, digits=2)}"
    )
    trials.change(tx, trial, pruned_at=num_seeds, message=why, value=value)
    jobs = trials.jobs_of(tx.connection, row.seq, [trial.number])
    for job in jobs.get(trial.number, ()):
        cancel_for_sweep(tx, job.job, why)

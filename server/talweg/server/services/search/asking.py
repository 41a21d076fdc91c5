"""The settings that a sweep tries next."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from talweg.server.services.search.process import SearchProcess
from talweg.server.store.record.rows import TrialRow
from talweg.spec.sweeps import Plan, Setting, space_to_json
from talweg.v1.options_pb2 import Goal
from talweg.v1.sweeps_pb2 import Trial


@dataclass(frozen=True)
class Pruned:
    """What a trial had reached when it was stopped early."""

    value: float
    """Of its objective."""
    evaluations: int
    """How many it had."""


Outcome = float | Pruned | Literal["running", "failed", "diverged"]
"""What became of a trial: the mean of its objective, or why it has none."""


@dataclass(frozen=True)
class Tried:
    """A trial of the search that has begun; final trials are none."""

    number: int
    """Its number in the sweep, from 1."""
    setting: Setting
    """Its values, as `AskingService.settings` gave them."""
    outcome: Outcome
    """Of its jobs. A cancelled trial counts as failed."""


class AskingService:
    """Finds settings by a sweep's algorithm."""

    def __init__(self, process: SearchProcess) -> None:
        """Keep the process.

        Args:
            process: Is asked for what the plan does not know.
        """
        self._process = process

    async def settings(
        self,
        plan: Plan,
        numbers: Sequence[int],
        history: Mapping[int, Sequence[Tried]],
        *,
        goal: Goal.ValueType,
    ) -> list[Setting]:
        """Return the settings of trials that are to begin.

        The same arguments give the same settings. Those of a call are asked together: each counts
        as running for the ones after it.

        Args:
            plan: Of the sweep.
            numbers: Of the trials, from 1 to `plan.num_trials`; none that has begun.
            history: The trials that have begun, by the index of their search. Read only where
                `needs_history` holds.
            goal: Whether the objective is better low or high.

        Raises:
            InternalError: The search process failed; the log says how.
        """
        if plan.is_known:
            return [plan.trial(number).setting for number in numbers]
        by_search: dict[int, dict[int, int]] = {}
        for number in sorted(numbers):
            search, index = plan.place(number)
            by_search.setdefault(search, {})[index] = number
        found: dict[int, Setting] = {}
        for search, wanted in by_search.items():
            question = _question(plan, search, list(wanted), history.get(search, ()), goal)
            answer = await self._process.ask(question)
            fixed = plan.searches[search].fixed
            for number, pairs in zip(wanted.values(), answer["settings"], strict=True):
                found[number] = (*fixed, *((path, value) for path, value in pairs))
        return [found[number] for number in numbers]


def needs_history(plan: Plan) -> bool:
    """Return whether settings depend on what earlier trials have reached."""
    return plan.spec.algorithm.WhichOneof("kind") == "tpe"


def _question(
    plan: Plan, search: int, wanted: list[int], tried: Sequence[Tried], goal: Goal.ValueType
) -> dict[str, Any]:
    """Return a question as talweg.search reads it."""
    algorithm = plan.spec.algorithm
    question: dict[str, Any] = {
        "space": space_to_json(plan.searches[search].space),
        "algorithm": algorithm.WhichOneof("kind"),
        "numbers": wanted,
    }
    if not needs_history(plan):
        return {**question, "seed": algorithm.qmc.seed}
    num_fixed = len(plan.searches[search].fixed)
    return {
        **question,
        "seed": algorithm.tpe.seed,
        "num_startup": algorithm.tpe.num_startup,
        "goal": "maximize" if goal == Goal.MAXIMIZE else "minimize",
        "trials": [
            {
                "number": plan.place(trial.number)[1],
                "setting": trial.setting[num_fixed:],
                "outcome": _outcome(trial.outcome),
            }
            for trial in tried
        ],
    }


def _outcome(outcome: Outcome) -> float | str | dict[str, float]:
    if isinstance(outcome, Pruned):
        return {"value": outcome.value, "evaluations": outcome.evaluations}
    return outcome


def history_of(rows: Iterable[TrialRow]) -> dict[int, list[Tried]]:
    """Return the trials of a sweep that have begun, by the index of their search.

    Args:
        rows: All trials of the sweep, those of its searches and final ones.
    """
    history: dict[int, list[Tried]] = {}
    for row in rows:
        if not row.is_final:
            history.setdefault(row.search, []).append(Tried(row.number, row.pairs, _became(row)))
    return history


def _became(row: TrialRow) -> Outcome:
    if row.pruned_at and row.value is not None:
        # Though its jobs may not have ended yet.
        return Pruned(row.value, row.pruned_at)
    match row.state:
        case Trial.RUNNING:
            return "running"
        case Trial.DIVERGED:
            return "diverged"
        case Trial.SUCCEEDED if row.value is not None:
            return row.value
    # Cancelled by a user, refused, or without a value: the setting is not to blame.
    return "failed"

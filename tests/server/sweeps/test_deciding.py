"""Seeds that are added while it is open which compared values differ."""

import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tests.server.samples import Rules, held, spec, summary
from tests.server.shared_helpers import SharedSearch

from talweg.server.services.attempts.reports import Report
from talweg.server.services.search.asking import AskingService
from talweg.server.services.sweeps.answering import SweepAnswer, SweepAnswerService
from talweg.server.services.sweeps.creation import CreationService
from talweg.server.services.sweeps.lookup import SweepService
from talweg.server.services.sweeps.messages import sweep_message
from talweg.server.services.sweeps.running.deciding import due_look, write_look
from talweg.server.services.sweeps.running.runner import SweepRunner
from talweg.server.store.sweeps import sweeps
from talweg.spec import from_dict, sweep_id, to_dict
from talweg.spec.sweeps import Plan
from talweg.v1.answers_pb2 import Answer
from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.sweeps_pb2 import Decision, Sweep, SweepEvent, SweepSpec, Trial

FIRST, SECOND = 10, 12
"""The first looks of up to 30 seeds and two comparisons."""

Result = dict[str, float] | int

# What is written is the same on both, and the process of the statistics takes a second to start.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def errors(job: JobSpec) -> Result:
    """Return a test error: mae is far better than mse, and log_cosh a little worse."""
    loss = str(job.loss.WhichOneof("kind"))
    of_seed = random.Random(job.training.seed).gauss(0, 1)
    noise = random.Random(f"{loss}/{job.training.seed}").gauss(0, 0.1)
    error = {"mse": 5.0, "mae": 2.0, "log_cosh": 5.05}[loss] + of_seed + noise
    return {"val/mae": error, "test/mae": error}


class Deciding:
    """A sweep, its runner and its worker."""

    def __init__(self, rules: Rules, result: Callable[[JobSpec], Result]) -> None:
        self.rules = rules
        self.result = result
        self.runner = self.new_runner()
        self.sweeps = SweepService(rules.database)
        self.name = ""

    def new_runner(self) -> SweepRunner:
        """Return a runner as a server has it that has just been started."""
        asking = AskingService(SharedSearch())
        rules = self.rules
        return SweepRunner(rules.database, rules.submission, asking, rules.statistics)

    async def begin(self, **compare: Any) -> None:
        given = {
            "base": to_dict(spec()),
            "space": [{"path": "loss", "values": ["mse", "mae", "log_cosh"]}],
            "compare": {"path": "loss", "decide": {}, **compare},
        }
        creation = CreationService(self.rules.database, self.rules.submission, lambda: None)
        row = await creation.create(
            from_dict(given, SweepSpec, path=""), "", validate_only=False, caller=""
        )
        self.name = row.name

    async def work(self) -> None:
        for row in await self.rules.claim(100):
            result = self.result(row.job_spec)
            if isinstance(result, int):
                await self.rules.leases.finish(held(row), Outcome(state=result), None)  # type: ignore[arg-type]
                continue
            report = Report(99, [], [summary(name, value) for name, value in result.items()])
            await self.rules.leases.finish(held(row), Outcome(state=Job.SUCCEEDED), report)

    async def until(self, is_there: Callable[[Sweep, dict[str, Trial]], bool]) -> None:
        """Have runner and worker take turns."""
        for _ in range(100):
            await self.runner.step()
            if is_there(await self.get(), await self.final()):
                return
            await self.work()
        raise AssertionError(f"it never comes: {await self.final()}")

    async def run(self) -> Sweep:
        await self.until(lambda sweep, _: sweep.state not in (Sweep.RUNNING, Sweep.PAUSED))
        return await self.get()

    async def get(self) -> Sweep:
        return sweep_message(await self.sweeps.get(self.name))

    async def final(self) -> dict[str, Trial]:
        page = await self.sweeps.list_trials(
            self.name, best_first=False, states=(), page_size=100, page_token=""
        )
        return {trial.compared: trial for trial in page.trials if trial.is_final}

    async def looked(self) -> list[SweepEvent]:
        return [
            event async for event in self.sweeps.watch(self.name, 0) if event.HasField("looked")
        ]

    async def answer(self) -> SweepAnswer:
        rules = self.rules
        service = SweepAnswerService(
            rules.database, rules.comparison, rules.answers, rules.sessions
        )
        return await service.answer(self.name)


@pytest.fixture
async def deciding(rules: Rules) -> AsyncIterator[Deciding]:
    yield Deciding(rules, errors)
    await rules.statistics.close()


def num_seeds(final: dict[str, Trial]) -> dict[str, int]:
    return {label: len(trial.jobs) for label, trial in final.items()}


async def test_seeds_are_added_to_what_is_open_and_to_the_baseline(deciding: Deciding) -> None:
    await deciding.begin()
    sweep = await deciding.run()
    assert (sweep.state, sweep.message) == (Sweep.SUCCEEDED, "all trials have ended")
    # The most that there may have been.
    assert sweep.num_jobs == 3 + 3 * 30
    final = await deciding.final()
    seeds = num_seeds(final)
    assert seeds["mae"] == FIRST
    assert seeds["mse"] == seeds["log_cosh"] > FIRST
    assert {trial.state for trial in final.values()} == {Trial.SUCCEEDED}
    assert final["mae"].decision.why == Decision.DIFFERENCE
    assert final["mae"].decision.verdict == Answer.BETTER
    assert "10 paired seeds, p 0.002 <= " in final["mae"].decision.text
    assert final["mse"].decision.why == Decision.BASELINE
    open_for_long = final["log_cosh"].decision
    assert len(open_for_long.looks) > 1
    assert [look.pairs for look in open_for_long.looks][:2] == [FIRST, SECOND]
    assert all(look.p > look.level for look in open_for_long.looks[:-1])
    # Each seed is that of the same number beside the baseline, and all are fresh.
    assert len(await deciding.looked()) == 1 + len(open_for_long.looks)


async def test_the_answer_is_that_of_the_looks(deciding: Deciding) -> None:
    await deciding.begin(margin="0.5")
    await deciding.run()
    found = await deciding.answer()
    assert found.answer is not None
    assert not found.is_provisional
    assert "mae is better than mse" in found.text
    assert "log_cosh is equivalent to mse within ±0.5" in found.text
    assert ", p " not in found.text
    for group in found.answer.groups:
        difference = group.difference
        assert not difference.HasField("p")
        assert not difference.HasField("adjusted_p")
        assert not difference.HasField("equivalence_p")
    assert sorted(group.difference.num_looks for group in found.answer.groups) == [0, 1, 1]
    (remark,) = [each for each in found.answer.remarks if "group-sequential" in each]
    assert "intervals are not adjusted for the looks" in remark
    assert not any(each.what == "number of values" for each in found.answer.inequalities)


async def test_while_a_question_is_open_the_answer_says_so(deciding: Deciding) -> None:
    await deciding.begin()
    await deciding.until(lambda _, final: bool(final) and len(final["mse"].jobs) > FIRST)
    found = await deciding.answer()
    assert found.is_provisional
    assert "mae is better than mse" in found.text
    assert "log_cosh is not decided against mse" in found.text


async def test_another_server_goes_on_alike(deciding: Deciding) -> None:
    await deciding.begin()
    await deciding.run()
    undisturbed = await deciding.final()
    await deciding.begin()
    seen: set[tuple[int, ...]] = set()

    def has_changed(sweep: Sweep, final: dict[str, Trial]) -> bool:
        state = (sweep.state, *(trial.ByteSize() for trial in final.values()))
        is_new = state not in seen
        seen.add(state)
        return is_new

    for _ in range(100):
        # A new server after whatever was written.
        deciding.runner = deciding.new_runner()
        if (await deciding.get()).state == Sweep.SUCCEEDED:
            break
        await deciding.until(has_changed)
        await deciding.work()
    again = await deciding.final()
    assert num_seeds(again) == num_seeds(undisturbed)
    assert {label: each.decision for label, each in again.items()} == {
        label: each.decision for label, each in undisturbed.items()
    }


async def test_a_look_is_written_once_and_not_where_something_has_changed(
    deciding: Deciding,
) -> None:
    await deciding.begin()
    await deciding.until(lambda _, final: bool(final) and len(final["mse"].jobs) == FIRST)
    database, id_ = deciding.rules.database, sweep_id(deciding.name)
    row = await database.reading(sweeps.get, id_)
    plan = Plan(row.sweep_spec)
    # Its jobs have not ended.
    assert await database.reading(due_look, row, plan) is None
    await deciding.work()
    due = await database.reading(due_look, row, plan)
    assert due is not None
    assert due.num_seeds == FIRST
    figures = dict.fromkeys(("level", "equivalence_p", "equivalence_level"))
    look = {"why": "OPEN", "verdict": None, "pairs": FIRST, "p": 0.5, "power": 0.3, **figures}
    found = {"looks": [look, look], "next_seeds": SECOND}
    assert await database.writing(write_look, id_, plan, due, found)
    assert not await database.writing(write_look, id_, plan, due, found)
    final = await deciding.final()
    assert [len(final[label].decision.looks) for label in ("mae", "log_cosh")] == [1, 1]
    # The jobs of the next look are to be submitted.
    assert await database.reading(due_look, row, plan) is None


async def test_a_sweep_whose_time_is_over_ends_undecided(deciding: Deciding) -> None:
    await deciding.begin()
    await deciding.until(lambda _, final: bool(final) and len(final["mse"].jobs) > FIRST)
    database = deciding.rules.database
    with database.write() as tx:
        row = sweeps.lock(tx, sweep_id(deciding.name))
        sweeps.change(tx, row, deadline=tx.now)
    await deciding.runner.step()
    assert (await deciding.get()).state == Sweep.RUNNING
    await deciding.work()
    sweep = await deciding.run()
    assert sweep.state == Sweep.SUCCEEDED
    found = await deciding.answer()
    assert "mae is better than mse" in found.text
    assert "log_cosh is not decided against mse" in found.text


async def test_values_without_a_result_get_no_more_seeds(deciding: Deciding) -> None:
    def result(job: JobSpec) -> Result:
        if job.loss.WhichOneof("kind") == "mae" and job.training.seed > 0:
            return Job.DIVERGED
        return errors(job)

    deciding.result = result
    await deciding.begin()
    sweep = await deciding.run()
    assert sweep.state == Sweep.SUCCEEDED
    final = await deciding.final()
    assert num_seeds(final)["mae"] == FIRST
    assert final["mae"].state == Trial.DIVERGED
    assert final["mae"].decision.why == Decision.NO_PAIRS
    found = await deciding.answer()
    assert "mae cannot be compared" in found.text


async def test_pairs_that_are_missing_are_no_part_of_a_look(deciding: Deciding) -> None:
    def result(job: JobSpec) -> Result:
        if job.loss.WhichOneof("kind") == "log_cosh" and job.training.seed == 3:
            return Job.FAILED
        return errors(job)

    deciding.result = result
    await deciding.begin()
    await deciding.run()
    looks = (await deciding.final())["log_cosh"].decision.looks
    assert [(each.num_seeds, each.pairs) for each in looks][:2] == [
        (FIRST, FIRST - 1),
        (SECOND, SECOND - 1),
    ]


async def test_a_baseline_without_results_ends_all(deciding: Deciding) -> None:
    def result(job: JobSpec) -> Result:
        if job.loss.WhichOneof("kind") == "mse" and job.training.seed > 0:
            return Job.DIVERGED
        return errors(job)

    deciding.result = result
    await deciding.begin()
    sweep = await deciding.run()
    assert sweep.state == Sweep.SUCCEEDED
    assert set(num_seeds(await deciding.final()).values()) == {FIRST}
    found = await deciding.answer()
    assert found.answer is not None
    assert not any(group.difference.text for group in found.answer.groups)

"""What a sweep shows: the chosen settings, and how their values compare."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from talweg.server.errors import InvalidRequest
from talweg.server.services.arguments import sweep_of
from talweg.server.services.comparison.answer import AnswerService, question_of
from talweg.server.services.comparison.compare import Comparison, ComparisonService
from talweg.server.services.comparison.wording import number
from talweg.server.services.sessions.deciding import SessionService
from talweg.server.services.sweeps.messages import decision_of, trial_message
from talweg.server.services.sweeps.plans import Plans
from talweg.server.services.sweeps.predicted import predicted_seeds, predicted_time
from talweg.server.services.sweeps.settling import TIME_OVER
from talweg.server.store.record.database import Database
from talweg.server.store.record.rows import SweepRow
from talweg.server.store.record.scope import acting_in
from talweg.server.store.sweeps import sweeps, trials
from talweg.server.store.sweeps.trials import SearchCounts
from talweg.spec import job_name, undefined_when
from talweg.spec.sweeps import Plan
from talweg.v1.answers_pb2 import Answer, Question
from talweg.v1.jobs_pb2 import Job
from talweg.v1.sessions_pb2 import SessionAnswer
from talweg.v1.sweeps_pb2 import Decision, Sweep, Trial

# What is told first.
_VERDICTS = (
    Answer.BETTER,
    Answer.EQUIVALENT,
    Answer.NOT_DISTINGUISHABLE,
    Answer.UNDECIDED,
    Answer.WORSE,
    Answer.TOO_FEW,
    Answer.VERDICT_UNSPECIFIED,
)


@dataclass(frozen=True)
class SweepAnswer:
    """What a sweep shows."""

    is_provisional: bool
    """It may change: not all that it rests on has ended."""
    text: str
    """In words."""
    chosen: Sequence[Trial]
    """The best trial of each search."""
    remarks: Sequence[str]
    """What the reader should know."""
    comparison: Comparison | None = None
    """Of the compared values; None where there is none yet."""
    answer: Answer | None = None
    """Its intervals and verdicts."""
    session_answers: Sequence[SessionAnswer] = ()
    """Of a sweep in a session: what was decided under its budget, in place of verdicts."""


@dataclass(frozen=True)
class _Read:
    """What is read of the record."""

    row: SweepRow
    plan: Plan
    chosen: Sequence[Trial]
    """The best of each search that has one."""
    jobs: Mapping[str, str]
    """The compared values by the names of the jobs that show them."""
    is_final: bool
    """They are final ones, of fresh seeds."""
    counts: Sequence[SearchCounts]
    """How the trials of each search have ended."""
    final_states: Mapping[str, Counter[int]]
    """How many final jobs of each compared value are in each state; of those that there are."""
    num_jobs: Mapping[str, int]
    """How many jobs have shown each compared value."""
    num_deleted: Mapping[str, int]
    """How many of them were deleted since; of those values that have lost some."""
    num_spared: int
    """Jobs that were taken over, or went on from shorter ones."""
    decisions: Mapping[str, Decision] | None
    """What looks have found, by compared value; None where the number of seeds is fixed."""


class SweepAnswerService:
    """Answers what a sweep was created to ask."""

    def __init__(
        self,
        database: Database,
        comparison: ComparisonService,
        answers: AnswerService,
        sessions: SessionService,
    ) -> None:
        """Keep its collaborators.

        Args:
            database: The record.
            comparison: Compares jobs.
            answers: Says how sure a comparison is.
            sessions: Decides in its place where the sweep is of a session.
        """
        self._database = database
        self._sessions = sessions
        self._comparison = comparison
        self._answers = answers
        self._plans = Plans()

    async def answer(self, name: str) -> SweepAnswer:
        """Answer from what has ended so far.

        Args:
            name: `sweeps/{id}`.

        Raises:
            SweepNotFound: There is no such sweep.
            InvalidRequest: That is not a sweep's name.
        """
        id_ = sweep_of(name)
        read = await self._database.reading(self._read, id_)
        remarks = _remarks(read)
        ended = read.row.ended
        if not read.plan.spec.HasField("compare"):
            remarks += predicted_time(read.row, read.num_spared)
            return SweepAnswer(not ended, _best_text(read), read.chosen, remarks)
        if not read.jobs:
            text = "No compared value has a result yet." if not ended else "Nothing has a result."
            return SweepAnswer(not ended, text, read.chosen, remarks)
        if read.plan.spec.HasField("session"):
            return await self._in_session(read, remarks)
        comparison, answer, more = await self._compare(read)
        remarks += [*more, *predicted_time(read.row, read.num_spared)]
        if read.is_final:
            remarks += predicted_seeds(read.row, answer)
        text = _compared_text(read, comparison, answer)
        return SweepAnswer(not ended, text, read.chosen, remarks, comparison, answer)

    async def _in_session(self, read: _Read, remarks: list[str]) -> SweepAnswer:
        """Answer under the budget of the session, on validation data."""
        spec = read.plan.spec
        # Also where who asks, such as a worker, acts in all projects.
        with acting_in(read.row.project):
            session = await self._sessions.of(spec.session)
        comparison = await self._comparison.compare(
            names=list(read.jobs), metric=spec.objective.metric, labels=read.jobs
        )
        answer = await self._answers.answer(comparison, Question(), _paths(read))
        found = [each for each in session.answers if each.sweep == read.row.name]
        text = "; ".join(each.text for each in found) + "."
        remarks += predicted_time(read.row, read.num_spared)
        tests = [each for each in session.tests if each.sweep == read.row.name]
        if tests:
            means = ", ".join(f"{each.label} {number(each.mean)}" for each in tests)
            text += f" {tests[0].metric} of the kept weights: {means}."
        else:
            remarks.append(
                f"decided on validation data, under the budget of {session.name}: "
                f"{number(session.left, digits=2)} of {number(session.error, digits=2)} is left; "
                "the test data are left alone until it is closed"
            )
        return SweepAnswer(
            not read.row.ended, text, read.chosen, remarks, comparison, answer, found
        )

    def _read(self, connection: Connection, id_: str) -> _Read:
        row = sweeps.get(connection, id_)
        plan = self._plans.of(row)
        best = [
            trials.best(connection, row.seq, search, row.goal)
            for search in range(len(plan.searches))
        ]
        found = [trial for trial in best if trial is not None]
        final = trials.final(connection, row.seq)
        compared = final or found
        jobs = trials.jobs_of(connection, row.seq, [trial.number for trial in compared])
        of_best = trials.jobs_of(connection, row.seq, [trial.number for trial in found])
        labels = {
            job.job: plan.searches[trial.search].label
            for trial in compared
            for job in jobs.get(trial.number, ())
        }
        known = trials.states_of(connection, list(labels))
        states: dict[str, Counter[int]] = {}
        for job, state in known.items() if final else ():
            states.setdefault(labels[job], Counter())[state] += 1
        return _Read(
            row,
            plan,
            [trial_message(trial, plan, of_best.get(trial.number, ())) for trial in found],
            {job_name(job): label for job, label in labels.items() if job in known},
            bool(final),
            trials.counts(connection, row.seq, len(plan.searches)),
            states,
            Counter(labels.values()),
            Counter(label for job, label in labels.items() if job not in known),
            trials.num_reused(connection, row.seq) + trials.num_continued(connection, row.seq),
            {plan.searches[trial.search].label: decision_of(trial) for trial in final}
            if final and plan.decides
            else None,
        )

    async def _compare(self, read: _Read) -> tuple[Comparison, Answer, list[str]]:
        spec = read.plan.spec
        metric = spec.compare.metric if read.is_final else spec.objective.metric
        comparison = await self._comparison.compare(
            names=list(read.jobs), metric=metric, labels=read.jobs
        )
        groups = comparison.groups
        baseline = read.plan.searches[read.plan.baseline].label
        questions = [Question()]
        remarks = []
        if any(group.labels == (baseline,) and group.values for group in groups):
            questions = [question_of(baseline), *questions]
            if spec.compare.margin:
                questions = [question_of(baseline, spec.compare.margin), *questions]
        else:
            remarks.append(f"{baseline}, the baseline, has no result: nothing is compared with it")
        for question in questions[:-1]:
            try:
                # In what the sweep varies its values differ on purpose.
                answer = await self._answers.answer(
                    comparison, question, _paths(read), read.decisions
                )
                return comparison, answer, remarks
            except InvalidRequest as exc:
                # Such as a margin of 1% of a mean of 0, which nobody could know before.
                remarks.append(str(exc))
        answer = await self._answers.answer(comparison, questions[-1], _paths(read))
        return comparison, answer, remarks


def _best_text(read: _Read) -> str:
    if not read.chosen:
        return "No trial has a result yet." if not read.row.ended else "No trial has a result."
    best, objective = read.chosen[0], read.plan.spec.objective.metric
    value = _value_text(best, objective)
    return f"The best of {read.counts[0].ended} trials is {best.label}: {value}."


def _value_text(trial: Trial, metric: str) -> str:
    spread = f" ± {number(trial.sd)} over {trial.count} seeds" if trial.HasField("sd") else ""
    return f"{metric} {number(trial.value)}{spread}"


def _compared_text(read: _Read, comparison: Comparison, answer: Answer) -> str:
    """Return the answer as a paragraph: verdicts by kind, the most telling first."""
    phase = (
        "over fresh seeds, each at the setting that validation data chose"
        if read.is_final
        else "so far, on the validation data by which settings are chosen"
    )
    texts = [
        (_VERDICTS.index(each.difference.verdict), each.difference.text)
        for each in answer.groups
        if each.difference.text
    ]
    said = "; ".join(text for _, text in sorted(texts, key=lambda pair: pair[0]))
    if not said:
        means = [
            f"{' '.join(group.labels)} {number(group.mean)}"
            for group in comparison.groups
            if group.mean is not None
        ]
        said = "; ".join(means) or "no value has a result"
    return f"{comparison.metric} {phase}: {said}."


def _remarks(read: _Read) -> list[str]:
    remarks = []
    is_cut = read.row.ended
    if read.row.ended and read.row.state != Sweep.SUCCEEDED:
        remarks.append(f"the sweep has not run to its end: {read.row.message}")
    elif read.row.ended and read.row.message.startswith(TIME_OVER):
        remarks.append(read.row.message)
    else:
        is_cut = False
    if read.plan.spec.HasField("compare"):
        if read.row.ended and not read.is_final:
            remarks.append(
                "no final jobs were run: the figures are of the validation data by which the "
                "settings were chosen, and so too good"
            )
        efforts = {search.num_trials for search in read.plan.searches}
        if len(efforts) > 1:
            each = ", ".join(f"{each.label} {each.num_trials}" for each in read.plan.searches)
            remarks.append(f"unequal effort, in settings tried: {each}")
    remarks += _told_of_searches(read, is_cut=is_cut)
    remarks += _told_of_jobs(read, is_cut=is_cut)
    return remarks


def _told_of_searches(read: _Read, *, is_cut: bool) -> Iterator[str]:
    """Yield what came of trials beside results, unless the end of the sweep has said it."""
    for search, counts in zip(read.plan.searches, read.counts, strict=True):
        what = f"of {counts.ended} trials of {search.label or 'the search'}"
        if counts.diverged:
            yield f"{counts.diverged} {what} diverged"
        if counts.failed and not is_cut:
            yield f"{counts.failed} {what} failed"
        if counts.cancelled and not is_cut:
            yield f"{counts.cancelled} {what} {_were(counts.cancelled)} cancelled"
        if counts.without_value:
            yield f"{counts.without_value} {what} {_without_value(read.plan)}"


def _told_of_jobs(read: _Read, *, is_cut: bool) -> Iterator[str]:
    """Yield what came of the jobs that are compared, beside results."""
    for label, states in read.final_states.items():
        what = f"of {states.total()} final jobs of {label}"
        for state, verb in ((Job.DIVERGED, "diverged"), (Job.FAILED, "failed")):
            if states[state]:
                yield f"{states[state]} {what} {verb}"
        if (cancelled := states[Job.CANCELLED]) and not is_cut:
            yield f"{cancelled} {what} {_were(cancelled)} cancelled"
    for label, count in read.num_deleted.items():
        jobs = f"{count} of {read.num_jobs[label]} jobs of {label}"
        yield f"{jobs} have been deleted and count no more"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _without_value(plan: Plan) -> str:
    metric = plan.spec.objective.metric
    when = undefined_when(plan.spec.base, metric)
    why = f"where {when}, or where" if when else "where"
    return f"succeeded without a value of {metric}: it is undefined {why} outputs are not finite"


def _paths(read: _Read) -> list[str]:
    """Return the paths that the sweep varies on purpose."""
    varied = {setting.path for trial in read.chosen for setting in trial.setting}
    return sorted(varied)

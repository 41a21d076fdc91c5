"""The shares of a session's budget: each proposal gets its own when it is submitted.

Not when somebody asks: who looks at the metrics of all and asks for the best alone would spend the
share of one on the chances of all.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection

from talweg.server.differences import differing, is_repetition
from talweg.server.errors import InvalidSpec
from talweg.server.queries.grouping import value_at
from talweg.server.services.sessions.settings import TAG_PROPOSAL, setting_digest
from talweg.server.services.submission.violations import refused
from talweg.server.store import jobs, sessions
from talweg.server.store.jobs import NewJob
from talweg.server.store.record.database import Transaction
from talweg.server.store.record.rows import JobRow, SweepRow
from talweg.server.store.record.session_rows import ProposalRow, SessionJobRow, SessionRow
from talweg.spec import Violation
from talweg.spec.catalogue.describe import label
from talweg.spec.sweeps import Plan
from talweg.v1.sessions_pb2 import SessionAnswer
from talweg.v1.spec_pb2 import JobSpec

ERROR = 0.05
"""The budget of a session."""
_MOST_NAMED = 3
_MOST_CHARS = 200


def closed(tx: Transaction, new: Sequence[NewJob]) -> dict[str, InvalidSpec]:
    """Begin or lock the sessions of new jobs, and refuse the jobs of those that are closed."""
    names = sorted({job.session for job in new if job.session})
    rows = {name: sessions.lock(tx, name, error=ERROR) for name in names}
    return {
        job.id: refused([_closed(rows[job.session], "session")])
        for job in new
        if job.session and rows[job.session].close_time is not None
    }


def _closed(row: SessionRow, field: str) -> Violation:
    hint = "it was closed, and its test data have been looked at: begin another one"
    return Violation(field, row.id, "a session that is open", hint)


def leak(connection: Connection, spec: JobSpec, links: Sequence[str]) -> Violation | None:
    """Return what is wrong with a job that would test what an open session holds back.

    A job outside of it that goes on with one of it, or starts from its weights, is evaluated on
    the test data with nearly its weights. A replay is not.

    Args:
        connection: To read by.
        spec: Of the job.
        links: The ids of the jobs that it names, among others.
    """
    held_back = "" if spec.HasField("replay") else sessions.open_session_of(connection, links)
    if held_back in ("", spec.session):
        return None
    hint = "it names a job of that session, which is open: its test data are left alone"
    found = spec.session or "nothing"
    return Violation("session", found, f"{held_back}, until that is closed", hint)


def register_jobs(tx: Transaction, taken: Iterable[JobRow], *, of_sweep: bool) -> None:
    """Write down jobs of sessions, and give new settings of single jobs their shares.

    Args:
        tx: The transaction that takes the jobs; their sessions are locked.
        taken: The jobs.
        of_sweep: They are those of a sweep, whose share was given when it was created.
    """
    by_session: dict[str, list[JobRow]] = {}
    for row in taken:
        # A replay trains nothing.
        if row.job_spec.HasField("session") and not row.job_spec.HasField("replay"):
            by_session.setdefault(row.job_spec.session, []).append(row)
    for name, rows in sorted(by_session.items()):
        session = sessions.lock(tx, name)
        if of_sweep:
            sessions.add_jobs(tx, [SessionJobRow(session.seq, row.id, 0) for row in rows])
            continue
        known = sessions.proposals(tx.connection, session.seq)
        found: list[SessionJobRow] = []
        for row in sorted(rows, key=lambda each: each.seq):
            proposal = _proposal(tx, session, known, found, row)
            found.append(SessionJobRow(session.seq, row.id, proposal.number))
        sessions.add_jobs(tx, found)


def register_sweep(tx: Transaction, row: SweepRow, plan: Plan) -> None:
    """Give each compared value of a sweep its share; its baseline needs none.

    Args:
        tx: The transaction that creates the sweep.
        row: The sweep.
        plan: Its trials.

    Raises:
        InvalidSpec: The session is closed.
    """
    if not plan.spec.HasField("session"):
        return
    session = sessions.lock(tx, plan.spec.session, error=ERROR)
    if session.close_time is not None:
        raise refused([_closed(session, "session")])
    if not plan.spec.HasField("compare"):
        return
    known = sessions.proposals(tx.connection, session.seq)
    for index, search in enumerate(plan.searches):
        if index != plan.baseline:
            new = ProposalRow(
                session=session.seq,
                number=len(known) + 1,
                place=_next_place(known),
                sweep=row.id,
                search=index,
                baseline=plan.baseline,
                label=search.label[:_MOST_CHARS],
                setting=b"",
            )
            sessions.add_proposal(tx, new)
            known.append(new)


def best_of(session: SessionRow, proposals: Sequence[ProposalRow]) -> ProposalRow | None:
    """Return the setting of single jobs that the next one is compared with.

    The first one, and from there on what was kept against it, and so on. Never back: what is kept
    against an earlier one may be worse than the best.
    """
    single = [each for each in proposals if not each.sweep]
    first = single[0] if single else None
    best = next((each for each in single if each.number == session.best), first)
    kept = [each for each in single if each.decision == SessionAnswer.KEEP]
    while best is not None:
        following = next((each for each in kept if each.baseline == best.number), None)
        if following is None:
            break
        best = following
    return best


def may_change_best(connection: Connection, id_: str, new: Sequence[NewJob]) -> bool:
    """Return whether looks must be taken before jobs are: they may have a new setting."""
    session = sessions.find(connection, id_)
    if session is None or session.close_time is not None:
        return False
    known = [each for each in sessions.proposals(connection, session.seq) if not each.sweep]
    if len(known) < 2:
        return False
    settings = {each.setting for each in known}
    specs = (JobSpec.FromString(job.spec) for job in new if job.session == id_)
    return any(setting_digest(spec) not in settings for spec in specs)


def _proposal(
    tx: Transaction,
    session: SessionRow,
    known: list[ProposalRow],
    found: Sequence[SessionJobRow],
    row: JobRow,
) -> ProposalRow:
    setting = setting_digest(row.job_spec)
    same = next((each for each in known if each.setting == setting and not each.sweep), None)
    if same is not None:
        return same
    best = best_of(session, known)
    new = ProposalRow(
        session=session.seq,
        number=len(known) + 1,
        place=0 if best is None else _next_place(known),
        sweep="",
        search=0,
        baseline=0 if best is None else best.number,
        label=_label(tx, session, best, found, row.job_spec)[:_MOST_CHARS],
        setting=setting,
    )
    sessions.add_proposal(tx, new)
    known.append(new)
    return new


def _next_place(known: Sequence[ProposalRow]) -> int:
    return max((each.place for each in known), default=0) + 1


def _label(
    tx: Transaction,
    session: SessionRow,
    best: ProposalRow | None,
    found: Sequence[SessionJobRow],
    spec: JobSpec,
) -> str:
    """Return a setting in words: its tag, or in what it differs from what it is compared with."""
    if TAG_PROPOSAL in spec.tags:
        return spec.tags[TAG_PROPOSAL]
    if best is None:
        return label(spec.loss)
    of_session = [*sessions.jobs_of(tx.connection, session.seq), *found]
    ids = [each.job for each in of_session if each.proposal == best.number]
    reference = next(iter(jobs.get_many(tx.connection, ids[:1]).values()), None)
    paths = [] if reference is None else differing([reference.job_spec, spec])
    paths = [path for path in paths if path and not is_repetition(path)]
    named = [f"{path}={value_at(spec, path)}" for path in paths[:_MOST_NAMED]]
    more = ["…"] if len(paths) > _MOST_NAMED else []
    return ", ".join([*named, *more]) or label(spec.loss)

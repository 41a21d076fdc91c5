"""Seeds that nothing in a session has used: those of the final trials of its sweeps.

Jobs that chose a setting would otherwise be its proof as well: the same seeds give the same bits.
"""

from collections.abc import Iterator

from sqlalchemy import Connection

from talweg.server.store import sessions
from talweg.server.store.record.database import Transaction
from talweg.server.store.record.rows import SweepRow
from talweg.server.store.sweeps import sweeps
from talweg.spec import to_dict
from talweg.spec.sweeps import Plan, seed_at
from talweg.v1.spec_pb2 import JobSpec


def reserve_seeds(tx: Transaction, row: SweepRow, plan: Plan) -> None:
    """Choose the seeds of a sweep's final trials, if it is of a session, and write them down.

    Args:
        tx: The transaction in which they begin.
        row: The sweep, locked.
        plan: Its trials.
    """
    if not plan.spec.HasField("session"):
        return
    session = sessions.lock(tx, plan.spec.session)
    first = plan.spec.seeds.count
    for used in sorted(_used(tx.connection, session.seq, row, plan)):
        if used >= first + plan.final_seeds:
            break
        first = max(first, used + 1)
    sessions.set_first_seed(tx, row.id, first)


def first_final_seed(connection: Connection, row: SweepRow, plan: Plan) -> int:
    """Return by how much the first seed of a sweep's final trials is above the base's."""
    own = plan.spec.seeds.count
    return max(own, sessions.first_seed(connection, row.id)) if plan.spec.session else own


def _used(connection: Connection, session: int, row: SweepRow, plan: Plan) -> set[int]:
    """Return by how much seeds are above the sweep's own that jobs of its session have or get."""
    base = to_dict(plan.spec.base)
    firsts = {path: seed_at(base, path) for path in plan.spec.seeds.vary}
    specs = [job.job_spec for job in sessions.rows_of(connection, session).values()]
    used = {seed - first for path, first in firsts.items() for seed in _seeds_at(specs, path)}
    reserved = {
        each.sweep: each.first_seed
        for each in sessions.proposals(connection, session)
        if each.first_seed and each.sweep != row.id
    }
    for id_, first_seed in reserved.items():
        other = Plan(sweeps.get(connection, id_).sweep_spec)
        of_other = to_dict(other.spec.base)
        for path in firsts.keys() & set(other.spec.seeds.vary):
            begin = seed_at(of_other, path) + first_seed - firsts[path]
            used |= set(range(begin, begin + other.final_seeds))
    return used


def _seeds_at(specs: list[JobSpec], path: str) -> Iterator[int]:
    for spec in specs:
        value: object = spec
        for name in path.split("."):
            value = getattr(value, name, None)
        if isinstance(value, int):
            yield value

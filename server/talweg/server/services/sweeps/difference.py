"""What an edited sweep runs, beside an earlier version of it."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from talweg.server.services.arguments import sweep_of
from talweg.server.services.sweeps.reusing import Cell, Source, cell_of, finished, sources
from talweg.server.store.record.database import Database
from talweg.server.store.record.rows import JobRow, SweepRow
from talweg.server.store.sweeps import sweeps, trials
from talweg.spec import SpecError, continuation_changes, to_dict
from talweg.spec.sweeps import Plan, Setting, setting_text
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.sweeps_pb2 import Sweep, SweepDifference, SweepSpec

MOST_JOBS = 1_000
"""Jobs of each sweep that are looked at: reading their settings takes most of the time."""
_MOST_LISTED = 100
_MOST_CHANGES = 20
_MOST_FIELDS = 3
_MOST_CHARS = 100
_NOTHING = "nothing"
# The settings tell of it.
_TOLD = ("space",)
_ALWAYS_ANEW = "jobs on GPUs, or with data of no fixed version, always train anew"
_KINDS = SweepDifference


@dataclass(frozen=True)
class _Planned:
    """A setting of a sweep, with its jobs."""

    setting: Setting
    jobs: Sequence[JobSpec]
    cells: Sequence[Cell]


@dataclass(frozen=True)
class _Listed:
    """The settings of a sweep, as far as they are looked at."""

    settings: Mapping[str, _Planned]
    is_complete: bool


@dataclass(frozen=True)
class _Known:
    """What the record has of the cells of a sweep."""

    finished: Mapping[bytes, JobRow]
    """What is taken over."""
    sources: Mapping[Cell, Source]
    """What longer jobs go on from, or might."""
    elsewhere: frozenset[bytes]
    """What has SUCCEEDED by other versions or on another CPU."""


class DifferenceService:
    """Compares a sweep that is about to be created with an earlier one."""

    def __init__(self, database: Database) -> None:
        """Keep the record.

        Args:
            database: The record.
        """
        self._database = database

    async def difference(self, spec: SweepSpec, name: str) -> SweepDifference:
        """Return what a sweep runs, beside an earlier version of it.

        Args:
            spec: Of the new one, filled and checked.
            name: sweeps/{id} of the earlier one.

        Raises:
            SweepNotFound: There is no such sweep.
            InvalidRequest: That is not a sweep's name.
        """
        row = await self._database.reading(sweeps.get, sweep_of(name))
        old, new = Plan(row.sweep_spec), Plan(spec)
        listed = await asyncio.to_thread(_listed, new)
        if old.is_known:
            before = await asyncio.to_thread(_listed, old)
        else:
            before = await self._database.reading(_begun, row, old)
        known = await self._database.reading(_known, listed, spec)
        return await asyncio.to_thread(_difference, row, before, new, listed, known)


def _listed(plan: Plan) -> _Listed:
    """List the settings that are known before anything runs."""
    if not plan.is_known:
        return _Listed({}, False)
    most = _most_settings(plan)
    numbers = range(1, min(plan.num_trials, most) + 1)
    return _Listed(
        dict(_planned(plan, plan.trial(number).setting) for number in numbers),
        plan.num_trials <= most,
    )


def _begun(connection: Connection, row: SweepRow, plan: Plan) -> _Listed:
    """List the settings that a search has come to."""
    most = _most_settings(plan)
    found = trials.page(connection, row.seq, states=(), goal=None, start=0, limit=most)
    pairs = [trial.pairs for trial in found if not trial.is_final]
    return _Listed(
        dict(_planned(plan, each) for each in pairs), row.ended and row.num_begun <= most
    )


def _most_settings(plan: Plan) -> int:
    return max(1, MOST_JOBS // plan.spec.seeds.count)


def _planned(plan: Plan, setting: Setting) -> tuple[str, _Planned]:
    key = json.dumps(sorted(setting, key=lambda pair: pair[0]), sort_keys=True)
    try:
        jobs = [plan.job(setting, seed) for seed in range(plan.spec.seeds.count)]
    except SpecError:
        jobs = []  # It will be refused.
    return key, _Planned(setting, jobs, [cell_of(job) for job in jobs])


def _known(connection: Connection, listed: _Listed, spec: SweepSpec) -> _Known:
    cells = [cell for each in listed.settings.values() for cell in each.cells]
    if spec.cache == SweepSpec.off:
        return _Known({}, {}, frozenset())
    digests = [cell.digest for cell in cells]
    found = finished(connection, digests)
    left = [cell for cell in cells if cell.digest not in found]
    elsewhere = trials.finished(connection, [cell.digest for cell in left])
    return _Known(found, sources(connection, left), frozenset(elsewhere))


def _difference(
    row: SweepRow, before: _Listed, new: Plan, listed: _Listed, known: _Known
) -> SweepDifference:
    settings = [
        _setting_of(each, before.settings.get(key), new, known)
        for key, each in listed.settings.items()
    ]
    if listed.is_complete:
        settings += [
            SweepDifference.Setting(kind=_KINDS.REMOVED, label=setting_text(each.setting))
            for key, each in before.settings.items()
            if key not in listed.settings
        ]
    is_complete = listed.is_complete and before.is_complete
    message = SweepDifference(
        sweep=row.name,
        num_jobs=sum(each.num_jobs for each in settings),
        num_taken_over=sum(each.num_taken_over for each in settings),
        num_continued=sum(each.num_continued for each in settings),
        settings=sorted(settings, key=lambda each: each.kind == _KINDS.KEPT)[:_MOST_LISTED],
        changes=list(_changes(row.sweep_spec, new.spec, beside=_TOLD if is_complete else ()))[
            :_MOST_CHANGES
        ],
        is_complete=is_complete,
        remarks=_remarks(row, before, new, listed),
    )
    counts = [each.kind for each in settings]
    message.num_new = counts.count(_KINDS.NEW)
    message.num_kept = counts.count(_KINDS.KEPT)
    message.num_again = counts.count(_KINDS.AGAIN)
    message.num_removed = counts.count(_KINDS.REMOVED)
    return message


def _setting_of(
    each: _Planned, before: _Planned | None, new: Plan, known: _Known
) -> SweepDifference.Setting:
    taken = sum(cell.digest in known.finished for cell in each.cells)
    found = [known.sources[cell] for cell in each.cells if cell in known.sources]
    setting = SweepDifference.Setting(
        label=setting_text(each.setting),
        num_jobs=new.spec.seeds.count,
        num_taken_over=taken,
        num_continued=sum(not source.why for source in found),
    )
    if before is None:
        setting.kind = _KINDS.NEW
    else:
        setting.kind = _KINDS.KEPT if taken else _KINDS.AGAIN
        if taken < setting.num_jobs:
            setting.why = _why(each, before, new.spec, known)
            stays = next((source.why for source in found if source.why), "")
            if stays:
                setting.why += f"; no job goes on from the shorter one: {stays}"
    return setting


def _why(each: _Planned, before: _Planned, spec: SweepSpec, known: _Known) -> str:
    """Say why the jobs of a setting that both have are not all taken over."""
    if not each.jobs or not before.jobs:
        return "its values do not go together"
    changes = continuation_changes(before.jobs[0], each.jobs[0])
    if changes:
        fields = [f"{path} {_cut(old)} -> {_cut(new)}" for path, (old, new) in changes.items()]
        more = f" and {len(fields) - _MOST_FIELDS} more" if len(fields) > _MOST_FIELDS else ""
        return f"{', '.join(fields[:_MOST_FIELDS])}{more}"
    if spec.cache == SweepSpec.off:
        return "cache is off"
    if not each.cells[0].digest:
        return _ALWAYS_ANEW
    if any(cell.digest in known.elsewhere for cell in each.cells):
        return (
            "it ran with other versions or plug-ins, or on another CPU, than the workers have now"
        )
    if len(each.jobs) > len(before.jobs):
        return f"{len(each.jobs)} seeds in place of {len(before.jobs)}"
    return "its jobs have not all SUCCEEDED, or were deleted"


def _remarks(row: SweepRow, before: _Listed, new: Plan, listed: _Listed) -> Iterator[str]:
    if not row.ended:
        state = Sweep.State.Name(row.state)  # type: ignore[arg-type]
        yield (
            f"{row.name} is {state} and goes on beside this one; what it has not ended by then "
            "trains in both: cancel it if this one is to take its place"
        )
    if not new.is_known:
        algorithm = new.spec.algorithm.WhichOneof("kind")
        yield (
            f"{algorithm} chooses settings as the sweep runs: what equals a job that has ended is "
            "taken over then"
        )
    elif not (listed.is_complete and before.is_complete):
        yield (
            f"the numbers are of the first {MOST_JOBS:,} jobs of each sweep, or of the settings "
            "that the earlier one has come to"
        )
    if new.spec.HasField("compare"):
        yield (
            "final jobs come beside these: which settings have them depends on the search, and "
            "what equals a job that has ended is taken over"
        )


def _changes(old: SweepSpec, new: SweepSpec, *, beside: Sequence[str]) -> Iterator[str]:
    """Yield what differs, by path, but for the fields `beside`."""
    was, now = (dict(_leaves(to_dict(each))) for each in (old, new))
    for path in {**was, **now}:
        one, other = was.get(path, _NOTHING), now.get(path, _NOTHING)
        if one != other and path.partition(".")[0] not in (*beside, "predicted"):
            yield f"{path}: {_cut(one)} -> {_cut(other)}"


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}.{name}" if path else str(name))
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        yield path, text


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_CHARS else f"{text[:_MOST_CHARS]}…"

"""Rows of stored data sets: a version is a name with the digest of its content."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, delete, or_, select, update

from talweg.server.errors import DatasetNotFound
from talweg.server.store.record.database import Transaction
from talweg.server.store.record.inserting import insert_new
from talweg.server.store.record.rows import StoredDatasetRow
from talweg.server.store.record.schema import jobs, links, unreferenced
from talweg.server.store.record.schema import stored_datasets as table
from talweg.server.store.record.scope import in_project, project_of
from talweg.spec import job_name
from talweg.spec.identity.projects import DEFAULT_PROJECT
from talweg.spec.states import ENDED
from talweg.spec.stored import DatasetName

_NEWEST_FIRST = (table.c.update_time.desc(), table.c.seq.desc())


class Content(NamedTuple):
    """The content of data sets, once for all of them that lie together."""

    digest: str
    """Its digest."""

    project: str
    """In whose part of the blob store it lies."""


def insert_version(tx: Transaction, row: StoredDatasetRow) -> StoredDatasetRow:
    """Make a version the newest of its name; where there is one of this content, that one.

    Args:
        tx: A transaction.
        row: The version; number and times are set here. Where there is one of its content, that
            takes over how its file was read. Its content stays where it lies: jobs may have been
            told so.

    Returns:
        The row as it is now.
    """
    connection = tx.connection
    row = replace(row, project=project_of(connection) or row.project)
    named = (table.c.project == row.project, table.c.name == row.name)
    newest = connection.execute(
        select(table).where(*named).order_by(*_NEWEST_FIRST).limit(1)
    ).first()
    # Later than any other, whatever the resolution of the clock.
    time = tx.now if newest is None else max(tx.now, StoredDatasetRow(*newest).update_time + 1)
    same = (*named, table.c.digest == row.digest)
    known = connection.execute(select(table).where(*same).with_for_update()).first()
    if known is not None:
        before = StoredDatasetRow(*known)
        if newest is not None and newest.seq == before.seq:
            time = before.update_time
        # Its bytes may be others, such as other ends of lines: these are known from now on.
        now = replace(before, update_time=time, read_key=row.read_key)
        if now != before:
            change = update(table).where(*same)
            connection.execute(change.values(update_time=time, read_key=row.read_key))
        if row.stored_in != now.stored_in:
            note_if_free(tx, Content(row.digest, row.stored_in))
        return now
    row = replace(row, create_time=tx.now, update_time=time)
    columns = {field: value for field, value in vars(row).items() if field != "seq"}
    insertion = insert_new(tx.connection, table).values(**columns).returning(table.c.seq)
    seq = connection.execute(insertion).scalar()
    if seq is None:
        # Another call has been quicker.
        return StoredDatasetRow(*connection.execute(select(table).where(*same)).one())
    return replace(row, seq=seq)


def find(connection: Connection, name: DatasetName) -> StoredDatasetRow:
    """Find a version; the newest where the name has no digest.

    Args:
        connection: To read by.
        name: The name.

    Raises:
        DatasetNotFound: There is none.
    """
    statement = select(table).where(table.c.name == name.name)
    if name.digest:
        statement = statement.where(table.c.digest.startswith(name.digest, autoescape=True))
    statement = in_project(connection, statement, table)
    row = connection.execute(statement.order_by(*_NEWEST_FIRST).limit(1)).first()
    if row is None:
        raise DatasetNotFound(_unknown(connection, name), metadata={"dataset": str(name)})
    return StoredDatasetRow(*row)


def find_many(
    connection: Connection, names: Collection[DatasetName]
) -> dict[DatasetName, StoredDatasetRow]:
    """Find versions; those that do not exist are missing in the result."""
    rows = {}
    for name in names:
        try:
            rows[name] = find(connection, name)
        except DatasetNotFound:
            continue
    return rows


def known_names(connection: Connection) -> Sequence[str]:
    """Return the names of all data sets."""
    statement = select(table.c.name).distinct().order_by(table.c.name)
    return connection.execute(in_project(connection, statement, table)).scalars().all()


def read_before(connection: Connection, read_key: str) -> StoredDatasetRow | None:
    """Return a version of the same bytes that was read in the same way, under whatever name."""
    statement = select(table).where(table.c.read_key == read_key)
    statement = in_project(connection, statement, table).order_by(*_NEWEST_FIRST).limit(1)
    row = connection.execute(statement).first()
    return None if row is None else StoredDatasetRow(*row)


def page(
    connection: Connection, name: str, after: Sequence[str | int] | None, limit: int
) -> list[StoredDatasetRow]:
    """Return versions, the newest first; without their columns.

    Args:
        connection: To read by.
        name: Of this name; empty for all.
        after: Time and number of the last one of the page before.
        limit: At most so many.
    """
    columns = [c for c in table.c if c.name != "info"]
    statement = select(*columns).order_by(*_NEWEST_FIRST).limit(limit)
    statement = in_project(connection, statement, table)
    if name:
        statement = statement.where(table.c.name == name)
    if after is not None:
        time, seq = after
        earlier = table.c.update_time < time
        statement = statement.where(
            or_(earlier, and_(table.c.update_time == time, table.c.seq < seq))
        )
    return [StoredDatasetRow(**row, info=b"") for row in connection.execute(statement).mappings()]


def lock_versions(tx: Transaction, name: DatasetName) -> list[StoredDatasetRow]:
    """Find the versions that a name stands for, and keep others from using them meanwhile.

    Args:
        tx: A transaction.
        name: One version, or with a name alone all versions.

    Raises:
        DatasetNotFound: There is none.
    """
    statement = select(table).where(table.c.name == name.name)
    if name.digest:
        statement = statement.where(table.c.digest.startswith(name.digest, autoescape=True))
    statement = in_project(tx.connection, statement, table)
    rows = tx.connection.execute(statement.order_by(table.c.seq).with_for_update())
    versions = [StoredDatasetRow(*row) for row in rows]
    if not versions:
        raise DatasetNotFound(_unknown(tx.connection, name), metadata={"dataset": str(name)})
    return versions


def keep(tx: Transaction, names: Collection[str]) -> set[str]:
    """Keep versions from being deleted until the transaction ends.

    Args:
        tx: A transaction.
        names: datasets/{name}@{digest}.

    Returns:
        Those that are there.
    """
    kept = set()
    for name in sorted(names):
        version = DatasetName.parse(name)
        if version is None:
            continue
        statement = select(table.c.seq).where(
            table.c.name == version.name, table.c.digest == version.digest
        )
        statement = in_project(tx.connection, statement, table)
        if tx.connection.execute(statement.with_for_update(read=True)).first() is not None:
            kept.add(name)
    return kept


def readers(connection: Connection, names: Sequence[str]) -> Mapping[str, bool]:
    """Return the jobs that read versions, and whether each has ended; the oldest first.

    Args:
        connection: To read by.
        names: datasets/{name}@{digest}.
    """
    statement = (
        select(jobs.c.id, jobs.c.state)
        .join(links, jobs.c.seq == links.c.job)
        .where(links.c.target.in_(list(names)))
        .order_by(jobs.c.seq)
    )
    statement = in_project(connection, statement, jobs)
    return {job_name(id_): state in ENDED for id_, state in connection.execute(statement)}


def at_root(connection: Connection, project: str, versions: Collection[DatasetName]) -> list[str]:
    """Return the digests of a project's data sets whose content lies at the blob store's root.

    Args:
        connection: To read by.
        project: Any but `default`.
        versions: The data sets in question: another of the same content may lie elsewhere.
    """
    statement = select(table.c.digest).where(
        table.c.project == project,
        or_(*(and_(table.c.name == v.name, table.c.digest == v.digest) for v in versions)),
        table.c.stored_in == DEFAULT_PROJECT,
    )
    return sorted(set(connection.scalars(statement)))


def remove(tx: Transaction, rows: Sequence[StoredDatasetRow]) -> None:
    """Delete versions, and note which content no data set refers to any more.

    Args:
        tx: A transaction.
        rows: The versions, locked.
    """
    tx.connection.execute(delete(table).where(table.c.seq.in_([row.seq for row in rows])))
    for content in sorted({Content(row.digest, row.stored_in) for row in rows}):
        note_if_free(tx, content)


def note_if_free(tx: Transaction, content: Content) -> None:
    """Note content that no data set refers to any more, for it to be removed.

    Args:
        tx: A transaction.
        content: Which.
    """
    if not _is_referred(tx, content):
        note_unreferenced(tx, content, due=tx.now)


def note_unreferenced(tx: Transaction, content: Content, *, due: int) -> bool:
    """Note content that no data set refers to, or not yet.

    Args:
        tx: A transaction.
        content: Which.
        due: From when on it may be removed.

    Returns:
        False, where it is being removed just now.
    """
    at = _note_of(content)
    values = {**content._asdict(), "due": due, "removing": False}
    tx.connection.execute(insert_new(tx.connection, unreferenced).values(**values))
    note = tx.connection.execute(select(unreferenced).where(at).with_for_update()).one()
    if note.removing:
        return False
    # Never earlier: somebody may be about to refer to it.
    tx.connection.execute(update(unreferenced).where(at).values(due=max(due, note.due)))
    return True


def take_note(tx: Transaction, content: Content) -> bool:
    """Drop the note of content that is about to be referred to.

    Args:
        tx: A transaction.
        content: Which.

    Returns:
        False, where there is none, or the content is being removed.
    """
    at = _note_of(content)
    note = tx.connection.execute(select(unreferenced).where(at).with_for_update()).first()
    if note is None or note.removing:
        return False
    forget_unreferenced(tx, content)
    return True


def forget_unreferenced(tx: Transaction, content: Content) -> None:
    """Drop the note: the content is gone, or a data set refers to it."""
    tx.connection.execute(delete(unreferenced).where(_note_of(content)))


def begin_removing(tx: Transaction, limit: int) -> list[Content]:
    """Choose content to remove now, to which nobody refers; nobody can from now on.

    Args:
        tx: A transaction.
        limit: At most so much.
    """
    statement = select(unreferenced).where(
        or_(unreferenced.c.due <= tx.now, unreferenced.c.removing)
    )
    notes = tx.connection.execute(
        statement.order_by(unreferenced.c.due).limit(limit).with_for_update()
    ).all()
    contents = []
    for note in notes:
        content = Content(note.digest, note.project)
        if _is_referred(tx, content):
            forget_unreferenced(tx, content)
            continue
        tx.connection.execute(update(unreferenced).where(_note_of(content)).values(removing=True))
        contents.append(content)
    return contents


def _note_of(content: Content) -> ColumnElement[bool]:
    return and_(unreferenced.c.digest == content.digest, unreferenced.c.project == content.project)


def _is_referred(tx: Transaction, content: Content) -> bool:
    statement = select(table.c.seq).where(
        table.c.digest == content.digest, table.c.stored_in == content.project
    )
    return tx.connection.execute(statement.limit(1)).first() is not None


def _unknown(connection: Connection, name: DatasetName) -> str:
    if name.digest:
        statement = select(table.c.digest).where(table.c.name == name.name)
        statement = in_project(connection, statement, table)
        versions = connection.execute(statement.order_by(*_NEWEST_FIRST)).scalars().all()
        if versions:
            some = ", ".join(digest[:12] for digest in versions[:5])
            return (
                f"there is no version {name.digest[:12]} of data set {name.name!r}: it has {some}"
            )
    return f"there is no data set {name.name!r}"

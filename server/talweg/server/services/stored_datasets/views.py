"""Rows of stored data sets and their messages."""

from talweg.server.store.record.clock import to_timestamp
from talweg.server.store.record.rows import StoredDatasetRow
from talweg.spec.stored import DatasetName
from talweg.v1.stored_datasets_pb2 import StoredDataset

_LONG = ("columns", "preview", "pictures", "warnings")


def info_of(row: StoredDatasetRow) -> StoredDataset:
    """Return all that is known of a data set, without name and time."""
    return StoredDataset.FromString(row.info)


def row_of(name: str, read_key: str, info: StoredDataset) -> StoredDatasetRow:
    """Return the row of a data set that is about to be recorded; its times come later.

    Args:
        name: Its name.
        read_key: Of the file that it was read from.
        info: All that is known of it.
    """
    summary = StoredDataset()
    summary.CopyFrom(info)
    for field in _LONG:
        summary.ClearField(field)  # type: ignore[arg-type]
    return StoredDatasetRow(
        seq=0,
        name=name,
        digest=info.digest,
        update_time=0,
        create_time=0,
        read_key=read_key,
        summary=summary.SerializeToString(deterministic=True),
        info=info.SerializeToString(deterministic=True),
    )


def dataset_message(row: StoredDatasetRow, info: StoredDataset | None = None) -> StoredDataset:
    """Return a data set's message.

    Args:
        row: Its row; without name where it was only checked.
        info: What to tell of it; only its summary where None.
    """
    message = StoredDataset()
    message.CopyFrom(info if info is not None else StoredDataset.FromString(row.summary))
    if row.name:
        message.name = str(DatasetName(row.name, row.digest))
        message.create_time.CopyFrom(to_timestamp(row.create_time))
    return message

"""What is known of a data set: its columns, a preview, and what is worth knowing."""

from talweg.ingest.columns import describe_column
from talweg.ingest.pictures import pictures
from talweg.ingest.preview import preview_rows
from talweg.ingest.remarks import remarks
from talweg.ingest.request import Column, Content
from talweg.v1.stored_datasets_pb2 import DataColumn, StoredDataset

_MOST_WARNINGS = 100


def describe(content: Content) -> StoredDataset:
    """Describe what was read; digest and size come with writing it."""
    if content.is_weights:
        columns = [_tensor(column) for column in content.columns]
        return StoredDataset(options=content.options, columns=columns, warnings=content.notes)
    columns = [describe_column(column) for column in content.columns]
    warnings = [*content.notes, *remarks(content, columns)]
    return StoredDataset(
        num_samples=content.num_samples,
        options=content.options,
        columns=columns,
        preview=preview_rows(content),
        pictures=pictures(content),
        warnings=warnings[:_MOST_WARNINGS],
    )


def _tensor(column: Column) -> DataColumn:
    """Describe a tensor of weights, whose numbers say nothing to people."""
    return DataColumn(
        name=column.name,
        type=column.type,
        shape=column.values.shape,
        dtype=str(column.values.dtype),
    )

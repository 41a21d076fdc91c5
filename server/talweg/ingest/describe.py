"""What is known of a data set: its columns, a preview, and what is worth knowing."""

from talweg.ingest.columns import describe_column
from talweg.ingest.preview import preview_rows
from talweg.ingest.request import Content
from talweg.v1.stored_datasets_pb2 import StoredDataset


def describe(content: Content) -> StoredDataset:
    """Describe what was read; digest and size come with writing it."""
    info = StoredDataset(
        num_samples=content.num_samples,
        options=content.options,
        columns=map(describe_column, content.columns),
    )
    info.preview.extend(preview_rows(content))
    info.warnings.extend(content.notes)
    return info

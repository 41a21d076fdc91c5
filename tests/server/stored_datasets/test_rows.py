"""Rows about data in the record, over either database."""

import random
import string
from dataclasses import replace

import pytest

from talweg.server.services.stored_datasets.views import row_of
from talweg.server.store import source_files, stored_datasets
from talweg.server.store.record.database import Database
from talweg.server.store.source_files import SourceFile
from talweg.spec.stored import DatasetName
from talweg.spec.stored.uris import BadUriError, parse_uri
from talweg.v1.stored_datasets_pb2 import StoredDataset

FILE = SourceFile("file:///data/x.csv", "as it was", "0" * 64, 1)


def test_a_file_is_remembered_as_it_was_last(database: Database) -> None:
    changed = replace(FILE, fingerprint="as it is", num_bytes=5 << 30)
    for file in (FILE, changed):
        with database.write() as tx:
            source_files.remember(tx, file)
    with database.read() as connection:
        assert source_files.find(connection, FILE.uri) == changed
        assert source_files.find(connection, "file:///data/y.csv") is None


@pytest.mark.parametrize("size", [2500, 4096])
def test_a_uri_that_may_be_read_can_be_remembered(database: Database, size: int) -> None:
    # At random, as a database would compress anything else.
    key = "".join(random.Random(0).choices(string.ascii_letters, k=size - len("s3://b/")))
    try:
        uri = str(parse_uri(f"s3://b/{key}"))
    except BadUriError:
        assert size > 2500
        return
    with database.write() as tx:
        source_files.remember(tx, replace(FILE, uri=uri))
    with database.read() as connection:
        assert source_files.find(connection, uri) == replace(FILE, uri=uri)


def test_the_same_content_of_another_file_is_known_by_that(database: Database) -> None:
    info = StoredDataset(digest="d" * 64)
    with database.write() as tx:
        first = stored_datasets.insert_version(tx, row_of("houses", "lines end in LF", info))
    with database.write() as tx:
        again = stored_datasets.insert_version(tx, row_of("houses", "lines end in CR LF", info))
    assert again == replace(first, read_key="lines end in CR LF")
    with database.read() as connection:
        assert stored_datasets.read_before(connection, "lines end in CR LF") == again
        assert stored_datasets.find(connection, DatasetName("houses", "d" * 64)) == again

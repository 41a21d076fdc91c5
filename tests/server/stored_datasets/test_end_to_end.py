"""A CSV file on its way: uploaded, stored, named by a job, deleted."""

import json
from pathlib import Path

import grpc
import pyarrow as pa
import pytest
from tests.server.conftest import Running
from tests.server.stored_datasets.parts import houses, job, upload

from talweg.v1 import stored_datasets_pb2 as pb
from talweg.v1.jobs_pb2 import SubmitJobRequest


async def test_a_csv_file_becomes_a_data_set_that_a_job_reads(
    running: Running, tmp_path: Path
) -> None:
    stored = await upload(running, houses())
    assert stored.name == f"datasets/houses@{stored.digest}"
    assert (stored.num_samples, stored.file_name) == (40, "houses.csv")
    assert [(c.name, pb.DataColumn.Type.Name(c.type)) for c in stored.columns] == [
        ("area", "NUMBER"),
        ("kind", "CATEGORY"),
        ("price", "NUMBER"),
    ]
    assert json.loads(stored.preview[0]) == {"area": 20.0, "kind": "flat", "price": 1000.5}
    folder = tmp_path / "blobs" / "datasets" / stored.digest
    with pa.memory_map(str(folder / "data.arrow")) as file:
        table = pa.ipc.open_file(file).read_all()
    assert table.num_rows == 40
    assert table.schema.field("kind").type == pa.dictionary(pa.int32(), pa.string())
    assert (folder / "info.json").exists()
    assert list((tmp_path / "uploads").iterdir()) == []

    fetched = await running.data.GetStoredDataset(pb.GetStoredDatasetRequest(name="houses"))
    assert fetched == stored
    listed = await running.data.ListStoredDatasets(pb.ListStoredDatasetsRequest())
    assert [each.name for each in listed.datasets] == [stored.name]
    assert not listed.datasets[0].columns

    response = await running.jobs.SubmitJob(SubmitJobRequest(spec=job()))
    data = response.job.spec.dataset.stored
    assert data.digest == stored.digest
    assert data.facts.num_samples == 40
    # The area, three kinds and one for kinds that training has not seen.
    assert list(data.facts.shape) == [5]

    with pytest.raises(grpc.aio.AioRpcError, match=response.job.name):
        await running.data.DeleteStoredDataset(pb.DeleteStoredDatasetRequest(name="houses"))

"""What the delivery writes to the blob store: pictures, and what a worker could not."""

from dataclasses import replace
from pathlib import Path

from matplotlib.image import imread
from tests.worker._jobs import Jobs, tiny_spec
from tests.worker.tracking.spools import SUCCEEDED, keep_network, losses, writer_of

from talweg.blobs import PICTURES, TRAINING, Blobs, has_part, project_blobs, read_artifacts
from talweg.worker.settings import Settings
from talweg.worker.tracking.delivery import Delivery


def ended(jobs: Jobs, settings: Settings, *, project: str = "default") -> str:
    """A job that has ended; its files are in the spool alone."""
    assignment = jobs.begin(tiny_spec(outputs={"model": True, "plots": True}))
    assignment.project = project
    with writer_of(assignment, settings.spool_dir) as writer:
        writer.points(losses(range(1, 6)))
        keep_network(writer, assignment.spec)
        jobs.finish(assignment, SUCCEEDED)
        writer.end(state="SUCCEEDED")
    return assignment.lease.job


def test_pictures_are_stored_while_mlflow_is_away(jobs: Jobs, settings: Settings) -> None:
    name = ended(jobs, settings, project="vision")
    away = replace(settings, tracking_uri="http://127.0.0.1:9")
    delivery = Delivery(away)
    delivery.deliver()
    blobs = project_blobs(settings.blobs, "vision")
    stored = read_artifacts(blobs, name, last=1)
    paths = [each.path for each in stored.files]
    assert {"model/weights.safetensors", "model/model.json", "job.yaml"} <= set(paths)
    pictures = [each for each in stored.files if each.path.startswith("plots/")]
    assert pictures
    assert not stored.awaits
    assert not Path(settings.blobs, name).exists(), "it belongs to a project"
    for picture in pictures:
        file = blobs.local(picture.blob)
        assert file is not None
        assert imread(file).size > 1000
    delivery.deliver()
    assert (settings.spool_dir / name.removeprefix("jobs/")).is_dir(), "MLflow still needs it"


def test_a_store_that_comes_back_gets_all(
    jobs: Jobs, settings: Settings, delivery: Delivery
) -> None:
    Path(settings.blobs).write_text("in the way")
    name = ended(jobs, settings)
    delivery.deliver()
    folder = settings.spool_dir / name.removeprefix("jobs/")
    assert folder.is_dir(), "not all of it has arrived"
    Path(settings.blobs).unlink()
    Delivery(settings).deliver()
    blobs = Blobs(settings.blobs)
    assert has_part(blobs, name, 1, TRAINING)
    assert has_part(blobs, name, 1, PICTURES)
    assert not folder.exists()

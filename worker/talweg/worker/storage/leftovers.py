"""Files of a job that has ended which nobody needs: no attempt comes that would remove them."""

from collections.abc import Collection

from talweg.blobs import Blobs
from talweg.spec import CheckpointName, checkpoint_folder, is_sha256


def remove_leftovers(blobs: Blobs, job: str, *, named: Collection[str]) -> None:
    """Remove a job's checkpoints that its record does not name, and its half-written files.

    Other files stay, and so do other jobs' files, even where they lie in this one's folder.

    Args:
        blobs: The store.
        job: Jobs/ID; it has ended.
        named: The names of the checkpoints that the record holds.

    Raises:
        OSError: The store does not answer.
    """
    folder = checkpoint_folder(job)

    def name_of(file: str) -> str:
        return f"{folder}/{file.partition('.')[0]}"

    for file in blobs.names(folder):
        if _is_checkpoint(name_of(file)) and name_of(file) not in named:
            blobs.remove(f"{folder}/{file}")
    blobs.remove_unfinished(folder, is_ours=lambda file: _is_checkpoint(name_of(file)))
    blobs.remove_unfinished(f"{job}/model", is_ours=lambda file: is_sha256(file.partition(".")[0]))


def _is_checkpoint(name: str) -> bool:
    try:
        CheckpointName.parse(name)
    except ValueError:
        return False
    return True

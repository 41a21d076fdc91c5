"""How well it was predicted what a sweep takes."""

from collections.abc import Iterator

from talweg.server.services.comparison.wording import number
from talweg.server.store.record.clock import SECOND
from talweg.server.store.record.rows import SweepRow
from talweg.v1.answers_pb2 import Answer
from talweg.v1.sweeps_pb2 import Sweep


def predicted_time(row: SweepRow, num_spared: int) -> Iterator[str]:
    """Yield how the time that a sweep took compares with what was predicted, if that was.

    Args:
        row: The sweep.
        num_spared: Its jobs that were taken over, or went on from shorter ones.
    """
    predicted = row.sweep_spec.predicted
    if not predicted.HasField("seconds") or row.state != Sweep.SUCCEEDED or row.end_time is None:
        return
    took = (row.end_time - row.create_time) / SECOND
    text = (
        f"it was predicted to take {number(predicted.seconds)} s and took {number(took)} s, "
        f"{took / predicted.seconds:.2f} times as long"
    )
    if num_spared:
        text += f"; {num_spared} of its jobs were taken over or went on from shorter ones"
    yield text


def predicted_seeds(row: SweepRow, answer: Answer) -> Iterator[str]:
    """Yield how the seeds that it takes compare with what was predicted, if that was.

    Args:
        row: The sweep.
        answer: Of its final jobs.
    """
    predicted = row.sweep_spec.predicted
    differences = [each.difference for each in answer.groups if each.HasField("difference")]
    if not (row.ended and predicted.HasField("seeds") and differences):
        return
    if not all(each.HasField("needed") for each in differences):
        return
    needed = max(max(each.needed, each.least) for each in differences)
    low = max(max(each.needed_low, each.least) for each in differences)
    high = "more than 100,000"
    if all(each.HasField("needed_high") for each in differences):
        high = f"{max(max(each.needed_high, each.least) for each in differences):,}"
    yield (
        f"it was predicted that {predicted.seeds:,} seeds show a difference of the margin in "
        f"every comparison; by the noise of the final jobs it takes {needed:,} ({low:,} to {high} "
        "with probability 0.8)"
    )

"""Trains random specs in this process, and writes how each ended, one a line.

One case alone, with its spec and its traceback:

    python -m tests.fuzz.training CASE --seed SEED
"""

import argparse
import faulthandler
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tests.fuzz.seeds import SEED, chance, fixed_seed
from tests.fuzz.specs import FEATURES, random_spec
from tests.worker.training.feature_models import FEATURES as WRITTEN
from tests.worker.training.feature_models import write_features

from talweg.spec import complete, kind, to_yaml
from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import diagnostics
from talweg.worker.artifacts import predictor
from talweg.worker.execution import outcomes
from talweg.worker.execution.reporter import JobReporter
from talweg.worker.models import saved
from talweg.worker.tracking.spool import SpoolWriter
from talweg.worker.training import Result, Stop

LIMIT_S = 5.0
"""Seconds of CPU time after which a case is stopped as a time limit would."""


@dataclass(frozen=True)
class End:
    """How a case ended."""

    case: int
    """Its number."""
    state: str
    """The job's state."""
    cause: str
    """Why, where it did not succeed."""
    message: str
    """What people are told."""
    loss: str
    """The loss that was trained with."""
    seconds: float
    """Seconds of CPU time."""
    traceback: str = ""
    """Of an error of the service."""

    @property
    def is_fault(self) -> bool:
        """Whether nobody but the service can have caused it."""
        return self.cause == "SERVICE"


class Deadline:
    """A control that stops a run at its time limit."""

    def __init__(self) -> None:
        self._end = time.process_time() + LIMIT_S

    def check(self) -> Stop | None:
        """Return whether to stop."""
        if time.process_time() < self._end:
            return None
        return Stop("time_limit", f"{LIMIT_S:g} s")


def train(case: int, spec: JobSpec, spool: Path) -> End:
    """Train as an attempt does, up to what it keeps of a success."""
    started = time.process_time()
    trace = ""
    filled, violations, _ = complete(spec)
    assert not violations
    with SpoolWriter(spool, job_id=f"case-{case}", attempt=1) as writer:
        report = JobReporter(filled, writer)
        try:
            result = diagnostics.run(filled, report=report, control=Deadline(), device="cpu")
            outcome = outcomes.of_result(result)
            if outcome.state == Job.SUCCEEDED:
                _keep(filled, report, result)
        except Exception as exc:
            outcome = outcomes.of_error(exc)
            trace = outcomes.traceback_of(exc) if outcome.cause == Outcome.SERVICE else ""
        report.take_news(last=True)
    return End(
        case=case,
        state=Job.State.Name(outcome.state),
        cause=Outcome.Cause.Name(outcome.cause) if outcome.cause else "",
        message=outcome.message,
        loss=kind(spec.loss)[0],
        seconds=time.process_time() - started,
        traceback=trace,
    )


def _keep(spec: JobSpec, report: JobReporter, result: Result) -> None:
    """Describe the model, build it anew from its files' content, and predict."""
    assert report.bundle is not None
    assert result.model is not None
    description = predictor.describe(spec, report.bundle)
    example = predictor.example(spec, report.bundle)
    weights = {name: value.contiguous() for name, value in result.model.state_dict().items()}
    again = json.loads(json.dumps(description, allow_nan=False))
    with torch.no_grad():
        predictor.Predictor(saved.rebuild(again, weights)).eval()(example)


@contextmanager
def features() -> Iterator[str]:
    """Keep a model that losses compare by while it lasts; its digest."""
    assert FEATURES == WRITTEN
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TALWEG_BLOBS"] = folder
        yield write_features(Path(folder))


def spec_of(seed: int, case: int, features_sha256: str) -> JobSpec:
    """Return a case's spec."""
    return random_spec(chance(seed, case), features_sha256=features_sha256)


def main() -> None:
    """Train cases: those of a range, or one with all that is known of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", type=int)
    parser.add_argument("--to", type=int, help="train all cases from CASE to before this one")
    parser.add_argument("--step", type=int, default=1, help="train one in so many")
    parser.add_argument("--seed", type=int, default=fixed_seed(), help=f"by default {SEED}")
    parser.add_argument("--show", action="store_true", help="only write the case's job file")
    args = parser.parse_args()
    faulthandler.enable()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    seed = args.seed
    with features() as sha256, tempfile.TemporaryDirectory() as spool:
        for case in range(args.case, args.to or args.case + 1, args.step):
            spec = spec_of(seed, case, sha256)
            if args.to is None:
                print(to_yaml(spec))
                if args.show:
                    break
            else:
                # So that whoever waits knows which case hangs or ends this process.
                print(json.dumps({"begins": case}), flush=True)
            end = train(case, spec, Path(spool))
            print(json.dumps(asdict(end)), flush=True)
            if args.to is None and end.traceback:
                print(end.traceback, file=sys.stderr)


if __name__ == "__main__":
    main()

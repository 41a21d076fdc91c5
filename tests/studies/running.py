"""One case of the study through the whole way, and what came out."""

import json
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tests._parts import served, wait_until
from tests.integration.stack import Stack
from tests.studies import pictures
from tests.studies.cases import Case, table_of
from tests.studies.pictures import Prepared

from talweg.client import Client, Comparison, Job, StoredDataset

SEEDS = (0, 1, 2)
_FEW = 5
_WAIT = 1200
# Scikit-learn's models minimise squared errors, and the share of right answers hides rare classes.
_SECOND = {"regression": "test/rmse", "multiclass": "test/f1_macro"}
# What `talweg recommend` calls the target of masks and boxes.
_TARGETS = {"segmentation": "mask", "detection": "classes"}


@dataclass
class Finding:
    """What a case gave."""

    case: Case
    num_samples: int
    compared: list[Comparison]
    """By the main metric first; a second one where the first is not all."""
    recommended: str
    seconds: float
    """From the upload to the last job's end."""
    others: Mapping[str, float] = field(default_factory=dict)
    """What the study itself computed beside the service, by name."""


def run(stack: Stack, client: Client, case: Case, packages: Path, scratch: Path) -> Finding:
    """Upload, recommend, train, compare, predict and serve.

    Args:
        stack: Where.
        client: Of that stack.
        case: What.
        packages: The folder of what packages ship.
        scratch: For files.

    Raises:
        AssertionError: Something is not as it should be.
        TalwegError: The service refused something.
    """
    path, rows, prepared = _data(case, packages, scratch)
    started = time.monotonic()
    stored = client.upload(path, name=case.name, read=dict(case.read))
    print(f"{stored.num_samples:,} samples, {len(stored.columns)} columns")
    for warning in stored.warnings:
        print(f"  warning: {warning}")
    recommended, losses = _losses(stack, case, stored)
    jobs = client.submit_many(_specs(case, stored, losses))
    for text in {text.message for job in jobs for text in job.warnings}:
        print(f"  warning: {text}")
    for job in jobs:
        job.wait(_WAIT).result()
    seconds = time.monotonic() - started
    compared = [client.compare(jobs)]
    if case.task in _SECOND:
        compared.append(client.compare(jobs, metric=_SECOND[case.task]))
    print("\n\n".join(map(str, compared)))
    finding = Finding(case, stored.num_samples, compared, recommended, seconds)
    if prepared is None:
        _predict_table(jobs[0], rows, scratch)
    else:
        finding.others = _predict_images(jobs[0], prepared, scratch)
    _serve(stack, jobs[0], rows if prepared is None else prepared.images[:_FEW])
    return finding


def _data(case: Case, packages: Path, to: Path) -> tuple[Path, pd.DataFrame, Prepared | None]:
    if case.prepare is None:
        path, frame = table_of(case, packages, to)
        return path, frame.head(_FEW), None
    prepared = case.prepare(packages, to)
    return prepared.folder, pd.DataFrame(), prepared


def _losses(stack: Stack, case: Case, stored: StoredDataset) -> tuple[str, list[Any]]:
    """Return what the service recommends, and the losses to compare with it among them."""
    target = case.target or _TARGETS[case.task]
    done = stack.run(
        "recommend", "--task", case.task, "--data", stored.name, "--target", target, "--json"
    )
    assert done.returncode == 0, done.stderr
    best = json.loads(done.stdout)["recommendations"][0]
    [kind] = best["loss"]
    print(f"recommended: {kind}: {best['reason']}")
    losses = list(case.losses)
    kinds = {loss if isinstance(loss, str) else next(iter(loss)) for loss in losses}
    return kind, losses if kind in kinds else [*losses, best["loss"]]


def _specs(case: Case, stored: StoredDataset, losses: list[Any]) -> Iterator[dict[str, Any]]:
    roles = {**({"target": case.target} if case.target else {}), **case.roles}
    for loss in losses:
        for seed in SEEDS:
            yield {
                **case.spec,
                "experiment": f"own data {case.name}",
                "task": case.task,
                "dataset": {"stored": {"name": stored.version, **roles}},
                "loss": loss,
                "training": {**case.spec["training"], "seed": seed},
                "diagnostics": {"baseline": {}} if seed == SEEDS[0] else {},
            }


def _predict_table(job: Job, rows: pd.DataFrame, to: Path) -> None:
    """Predict raw rows here, to a file, and on a worker: all three say the same."""
    here = job.predict(rows)
    print(here.to_string())
    assert len(here) == len(rows)
    rows.to_csv(to / "rows.csv", index=False)
    job.predict_file(to / "rows.csv", to / "predictions.csv")
    remote = job.predict(rows, remote=True)
    for name, values in (("a file", pd.read_csv(to / "predictions.csv")), ("a worker", remote)):
        assert list(values["prediction"].astype(str)) == list(here["prediction"].astype(str)) or (
            np.allclose(values["prediction"], here["prediction"], rtol=1e-5)
        ), f"predictions of {name} differ"


def _predict_images(job: Job, prepared: Prepared, to: Path) -> dict[str, float]:
    """Predict images to a file; of masks, return what the file and a threshold reach."""
    np.savez(to / "images.npz", x=prepared.images)
    job.predict_file(to / "images.npz", to / "predictions.npz")
    with np.load(to / "predictions.npz") as file:
        [name, *_] = file.files
        predicted = file[name]
        print(f"predictions: {', '.join(f'{each} {file[each].shape}' for each in file.files)}")
    assert len(predicted) == len(prepared.images)
    if prepared.masks is None:
        return {}
    masks = predicted.argmax(axis=1) if predicted.ndim == 4 else predicted
    reached = pictures.iou(masks, prepared.masks)
    said = job.result().metrics["test/mean_iou"]
    assert abs(reached - said) < 0.005, f"the file has an IoU of {reached}, the test {said}"
    return {"threshold (Otsu)": pictures.iou(pictures.otsu(prepared.images[:, 0]), prepared.masks)}


def _serve(stack: Stack, job: Job, inputs: Any) -> None:
    """Serve the model by MLflow, and ask it over HTTP."""
    wait_until(lambda: job.refresh().message.tracking.complete, timeout=120, what="delivered")
    model = job.register(f"study-{job.id[:8]}").uri
    if isinstance(inputs, pd.DataFrame):
        body = {"dataframe_split": json.loads(inputs.to_json(orient="split"))}
    else:
        body = {"inputs": inputs.tolist()}
    with served(model, stack.tracking) as address:
        request = urllib.request.Request(
            f"http://{address}/invocations",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=120) as response:
            answers = json.load(response)["predictions"]
    assert len(answers) == len(inputs), f"{len(answers)} answers for {len(inputs)}"
    print("served")

"""Losses with heads, counts or weights of their own: trained, they beat what needs no training."""

from typing import Any

import numpy as np
import pytest
import torch
from tests.worker.training.jobs import flat, job, run
from torch.nn import functional as F

from talweg.v1.jobs_pb2 import Job
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import data
from talweg.worker.losses import class_weights
from talweg.worker.training import RecordingReporter, Result

COUNTS = "train.class_counts"
RARE = {"synthetic_classification": {
    "num_samples": 3000, "num_classes": 3, "class_shares": [0.9, 0.07, 0.03],
    "class_separation": 0.8, "label_noise": 0,
}}  # fmt: skip


def succeeded(spec: JobSpec) -> tuple[Result, RecordingReporter]:
    result, report = run(spec)
    assert result.state == Job.SUCCEEDED, result.message
    return result, report


def targets(spec: JobSpec) -> tuple[Any, Any]:
    """Return the training and test targets in their own units."""
    bundle = data.load(spec)
    parts = [part.y.double().numpy() for part in (bundle.train, bundle.test)]
    scaler = bundle.target_scaler
    return tuple(y if scaler is None else scaler.unscale(y) for y in parts)  # type: ignore[return-value]


def regression(loss: Any) -> JobSpec:
    return job(loss=loss, training={"epochs": 30, "evaluate_every_epochs": 30})


def classes(loss: Any, **fields: Any) -> JobSpec:
    return job(
        task="multiclass",
        loss=loss,
        model={"mlp": {"hidden": [32]}},
        **{"dataset": "wine", "training": {"epochs": 30, "evaluate_every_epochs": 30}, **fields},
    )


def majority(spec: JobSpec) -> float:
    """Return the accuracy of the most frequent class."""
    y = data.load(spec).test.y
    return float(torch.bincount(y).max()) / len(y)


def test_gaussian_nll_learns_mean_and_spread() -> None:
    spec = regression("gaussian_nll")
    result, report = succeeded(spec)
    train, test = targets(spec)
    assert report.last("test/mae") < 0.85 * np.abs(test - train.mean()).mean()
    # The best that one mean and one variance for all could do, in standardised units.
    constant = (np.log(1.0) + np.square((test - train.mean()) / train.std()).mean()) / 2
    assert report.last("test/loss") < constant - 0.1
    found = result.predictions
    assert found is not None
    assert found.sd is not None
    # The errors are as large as they are said to be.
    scores = (found.y_true - found.y_pred) / found.sd
    assert 0.8 < scores.std() < 1.4
    # The spread differs from patient to patient, and the larger half of it is the larger error.
    wide = found.sd > np.median(found.sd)
    errors = np.abs(found.y_true - found.y_pred)
    assert errors[wide].mean() > errors[~wide].mean()


def test_gaussian_nll_reads_mean_and_variance_of_each_target() -> None:
    spec = job(
        dataset={"synthetic_regression": {"num_targets": 2}},
        loss="gaussian_nll",
        training={"epochs": 2},
    )
    result, _ = succeeded(spec)
    bundle, found = data.load(spec), result.predictions
    assert result.model is not None
    assert found is not None
    with torch.no_grad():
        outputs = result.model(bundle.test.x).double().numpy()
    assert outputs.shape[1] == 4
    scaler = bundle.target_scaler
    assert scaler is not None
    np.testing.assert_allclose(found.y_pred, scaler.unscale(outputs[:, [0, 2]]), rtol=1e-6)
    spread = np.sqrt(np.log1p(np.exp(outputs[:, [1, 3]]))) * scaler.sd
    assert found.sd is not None
    np.testing.assert_allclose(found.sd, spread, rtol=1e-6)


def test_evidential_gives_mean_aleatoric_and_epistemic_variance_of_each_target() -> None:
    spec = job(
        dataset={"synthetic_regression": {"num_targets": 2}},
        loss="evidential",
        training={"epochs": 2},
    )
    result, _ = succeeded(spec)
    bundle, predictions = data.load(spec), result.predictions
    assert result.model is not None
    assert predictions is not None
    with torch.no_grad():
        outputs = result.model(bundle.test.x).double().numpy()
    assert outputs.shape[1] == 8
    scaler = bundle.target_scaler
    assert scaler is not None
    mean, *raw = np.moveaxis(outputs.reshape(-1, 2, 4), -1, 0)
    nu, excess, beta = np.log1p(np.exp(raw))
    aleatoric = beta / excess * np.square(scaler.sd)
    np.testing.assert_allclose(predictions.y_pred, scaler.unscale(mean), rtol=1e-6)
    assert predictions.aleatoric is not None
    assert predictions.epistemic is not None
    assert predictions.sd is not None
    np.testing.assert_allclose(predictions.aleatoric, aleatoric, rtol=1e-6)
    np.testing.assert_allclose(predictions.epistemic, aleatoric / nu, rtol=1e-6)
    np.testing.assert_allclose(predictions.sd, np.sqrt(aleatoric + aleatoric / nu), rtol=1e-6)


def test_evidential_learns_mean_and_spread() -> None:
    spec = regression("evidential")
    result, report = succeeded(spec)
    train, test = targets(spec)
    assert report.last("test/mae") < 0.85 * np.abs(test - train.mean()).mean()
    predictions = result.predictions
    assert predictions is not None
    assert predictions.sd is not None
    # The spread differs from patient to patient, and the larger half of it is the larger error.
    wide = predictions.sd > np.median(predictions.sd)
    errors = np.abs(predictions.y_true - predictions.y_pred)
    assert errors[wide].mean() > errors[~wide].mean()


def test_multi_quantile_beats_the_quantiles_of_all() -> None:
    quantiles = np.array([0.1, 0.5, 0.9])
    spec = regression({"multi_quantile": {"quantiles": list(quantiles)}})
    _, report = succeeded(spec)
    train, test = targets(spec)
    error = test[:, None] - np.quantile(train, quantiles)
    constant = np.maximum(quantiles * error, (quantiles - 1) * error).mean()
    assert report.last("test/pinball") < 0.9 * constant


@pytest.mark.parametrize("loss", ["tweedie", "poisson_nll"])
def test_a_model_of_logarithms_begins_at_the_mean_of_the_targets(loss: str) -> None:
    spec = job(
        loss=loss,
        optimizer={"adamw": {"learning_rate": 1e-12}},
        training={"steps": 1},
    )
    result, _ = succeeded(spec)
    train, _ = targets(spec)
    assert result.predictions is not None
    # The first weights are still there and spread the answers a little about it.
    middle = np.exp(np.log(result.predictions.y_pred).mean())
    assert middle == pytest.approx(train.mean(), rel=0.5)


def test_tweedie_learns_a_mean_above_zero_in_its_own_units() -> None:
    spec = regression({"tweedie": {"power": 1.5}})
    assert not spec.preprocessing.standardise_targets
    result, report = succeeded(spec)
    train, test = targets(spec)
    assert report.last("test/mae") < 0.85 * np.abs(test - train.mean()).mean()
    assert result.predictions is not None
    assert (result.predictions.y_pred > 0).all()
    assert result.model is not None
    with torch.no_grad():
        outputs = result.model(data.load(spec).test.x)[:, 0].double()
    np.testing.assert_allclose(result.predictions.y_pred, outputs.exp().numpy(), rtol=1e-6)


@pytest.mark.parametrize("name", ["arcface", "cosface", "ldam"])
def test_losses_with_vectors_of_the_classes_learn_them(name: str) -> None:
    spec = classes({name: {"embedding_size": 6, "scale": 16}})
    result, report = succeeded(spec)
    assert report.last("test/accuracy") > max(0.9, majority(spec) + 0.3)
    assert report.last("test/ece") < 0.3

    bundle, found = data.load(spec), result.predictions
    assert result.model is not None
    assert found is not None
    weight = result.model.state_dict()["loss.class_weight"]
    assert weight.shape == (3, 6)
    untrained, _ = succeeded(classes(spec.loss, optimizer={"adamw": {"learning_rate": 1e-12}}))
    assert untrained.model is not None
    before = untrained.model.state_dict()["loss.class_weight"]
    assert F.cosine_similarity(weight, before).max() < 0.999, "they are learnt"
    # The answer is the class whose vector points most nearly in the embedding's direction.
    with torch.no_grad():
        embeddings = result.model(bundle.test.x)
    assert embeddings.shape == (len(bundle.test), 6)
    cosines = F.cosine_similarity(embeddings[:, None], weight, dim=2)
    assert found.y_pred.tolist() == cosines.argmax(1).tolist()
    assert found.probabilities is not None
    np.testing.assert_allclose(
        found.probabilities, (16 * cosines).softmax(1).numpy(), rtol=1e-3, atol=1e-5
    )


def test_a_loss_of_its_own_weights_trains_the_same_bit_for_bit() -> None:
    spec = classes("arcface", training={"epochs": 3, "seed": 4})
    (one, _), (other, _) = succeeded(spec), succeeded(spec)
    assert one.model is not None
    assert other.model is not None
    assert torch.equal(flat(one.model), flat(other.model))


def test_early_stopping_takes_the_losss_weights_back_too() -> None:
    stopping = {"epochs": 12, "early_stopping": {"patience": 3, "metric": "val/loss"}}
    spec = classes(
        {"cosface": {"embedding_size": 4}},
        optimizer={"adamw": {"learning_rate": 0.2}},
        training=stopping,
    )
    result, report = succeeded(spec)
    best = min(value for _, value in report.series("val/loss"))
    assert best < report.last("val/loss"), "it must have got worse for this to tell anything"
    bundle = data.load(spec)
    assert result.model is not None
    with torch.no_grad():
        embeddings = result.model(bundle.validation.x)
    from talweg.worker.losses import evaluate

    again = evaluate(
        {"cosface": {}},
        {
            "embeddings": embeddings,
            "class_weight": result.model.state_dict()["loss.class_weight"],
            "labels": bundle.validation.y,
        },
    )
    assert again.item() == pytest.approx(best, rel=1e-5)


def test_the_guard_watches_the_losss_weights() -> None:
    """Their gradient is part of the norm by which steps are clipped and refused."""
    spec = classes(
        {"arcface": {"embedding_size": 6}},
        optimizer={"sgd": {"learning_rate": 1.0}},
        training={"steps": 1, "clip_norm": 1e-3, "log_every_steps": 1},
    )
    result, report = succeeded(spec)
    untouched, _ = succeeded(
        classes(
            {"arcface": {"embedding_size": 6}},
            optimizer={"sgd": {"learning_rate": 1e-30}},
            training={"steps": 1},
        )
    )
    assert report.last("guard/clipped") == 1
    assert result.model is not None
    assert untouched.model is not None
    moved = {
        name: (value - untouched.model.state_dict()[name]).double().norm().item()
        for name, value in result.model.state_dict().items()
    }
    # One step of rate 1 along a gradient of norm 1e-3, of which the vectors have their part.
    assert np.hypot.reduce(list(moved.values())) == pytest.approx(1e-3, rel=1e-3)
    assert moved["loss.class_weight"] > 1e-5


def test_rare_classes_are_found_by_weights_and_by_logit_adjustment() -> None:
    found: dict[str, float] = {}
    for name, loss in {
        "plain": "cross_entropy",
        "balanced": {"cross_entropy": {"weight": "balanced"}},
        "effective": {"cross_entropy": {"weight": {"effective_number": {"beta": 0.9999}}}},
        "adjusted": "logit_adjusted",
    }.items():
        spec = classes(loss, dataset=RARE)
        result, _ = succeeded(spec)
        assert result.predictions is not None
        y, answer = result.predictions.y_true, result.predictions.y_pred
        found[name] = float(np.mean([(answer[y == c] == c).mean() for c in range(3)]))
    assert found["plain"] > 1 / 3
    for name in ("balanced", "effective", "adjusted"):
        assert found[name] > found["plain"] + 0.05, found


def test_logit_adjustment_is_plain_cross_entropy_in_evaluation() -> None:
    spec = classes({"logit_adjusted": {"tau": 1.5}}, dataset=RARE)
    result, report = succeeded(spec)
    bundle = data.load(spec)
    assert result.model is not None
    with torch.no_grad():
        logits = result.model(bundle.test.x)
    plain = F.cross_entropy(logits, bundle.test.y)
    assert report.last("test/loss") == pytest.approx(plain.item(), rel=1e-6)
    counts = torch.bincount(bundle.train.y)
    adjusted = F.cross_entropy(logits + 1.5 * (counts / counts.sum()).log(), bundle.test.y)
    assert abs(adjusted.item() - plain.item()) > 1e-2


def numbers(text: str) -> list[float]:
    return [float(number) for number in text.strip("[]").split(",")]


@pytest.mark.parametrize(
    ("task", "dataset", "computed", "given", "name"),
    [
        ("multiclass", RARE, {"cross_entropy": {"weight": "balanced"}}, "cross_entropy", "weight"),
        ("multiclass", RARE, {"focal": {"alpha": "effective_number"}}, "focal", "alpha"),
        ("multiclass", RARE, {"ldam": {"weight": "balanced"}}, "ldam", "weight"),
        ("binary", "breast_cancer", {"bce_with_logits": {"pos_weight": "balanced"}},
         "bce_with_logits", "pos_weight"),
        ("multilabel", "synthetic_multilabel", {"bce_with_logits": {"pos_weight": "balanced"}},
         "bce_with_logits", "pos_weight"),
        ("multilabel", "synthetic_multilabel", {"bce_with_logits": {"weight": "balanced"}},
         "bce_with_logits", "weight"),
    ],
)  # fmt: skip
def test_computed_weights_are_told_and_are_those_of_the_training_split(
    task: str, dataset: Any, computed: Any, given: str, name: str
) -> None:
    def spec(loss: Any) -> JobSpec:
        return job(task=task, dataset=dataset, loss=loss, training={"epochs": 2})

    result, report = succeeded(spec(computed))

    y = data.load(spec(computed)).train.y
    if task == "multiclass":
        counts = torch.bincount(y).tolist()
    else:
        counts = [int(n) for n in y.reshape(len(y), -1).sum(0).tolist()]
    assert numbers(report.parameters[COUNTS]) == counts
    told = numbers(report.parameters[f"loss.{given}.{name}.values"])
    if name == "pos_weight":
        assert told == pytest.approx([(len(y) - n) / n for n in counts])
    else:
        way = "effective_number" if given == "focal" else "balanced"
        assert told == pytest.approx(class_weights(counts, way).tolist())
    # The same job with the numbers written out is the same to the bit.
    params: dict[str, Any] = {name: told}
    if given == "ldam":
        params["class_counts"] = counts
        assert numbers(report.parameters["loss.ldam.class_counts"]) == counts
    written, again = succeeded(spec({given: params}))
    assert result.model is not None
    assert written.model is not None
    assert torch.equal(flat(result.model), flat(written.model))
    assert list(again.parameters) == [COUNTS]


def test_a_regression_has_nothing_to_count() -> None:
    _, report = succeeded(job(training={"steps": 1}))
    assert report.parameters == {}

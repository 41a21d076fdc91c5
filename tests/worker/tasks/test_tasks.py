from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from sklearn import metrics

from talweg.spec import fill, from_dict, leaves, metrics_of
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import data, models, tasks
from talweg.worker.data import DataBundle
from talweg.worker.errors import UserSpecError
from talweg.worker.tasks import OneTarget
from talweg.worker.tasks.classification.predictions import class_log_odds

DATASETS = {
    "regression": "diabetes",
    "binary": "breast_cancer",
    "multiclass": "iris",
    "multilabel": "synthetic_multilabel",
    "ordinal": "diabetes",
}
LOSSES = {"regression": "mse", "multiclass": "cross_entropy", "ordinal": "coral"}


def job(task: Any, **fields: Any) -> JobSpec:
    name = task if isinstance(task, str) else next(iter(task))
    spec = {
        "task": task,
        "dataset": DATASETS[name],
        "model": "linear",
        "loss": LOSSES.get(name, "bce_with_logits"),
        **fields,
    }
    return fill(from_dict(spec))


def made(task: Any, **fields: Any) -> tuple[OneTarget, DataBundle]:
    spec = job(task, **fields)
    bundle = data.load(spec)
    task = tasks.make(spec, bundle)
    assert isinstance(task, OneTarget)
    return task, bundle


def random_outputs(task: OneTarget, count: int) -> torch.Tensor:
    return torch.randn(count, task.num_outputs, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", DATASETS)
def test_metrics_are_those_of_the_catalogue(name: str) -> None:
    task, bundle = made(name)
    predictions = task.predict(random_outputs(task, len(bundle.test)), bundle.test.y)
    expected = [metric.name for metric in metrics_of(job(name))]
    assert sorted(task.metrics(predictions)) == sorted(expected)


@pytest.mark.parametrize("name", DATASETS)
def test_loss_takes_outputs_and_targets(name: str) -> None:
    task, bundle = made(name)
    outputs = random_outputs(task, len(bundle.train)).requires_grad_()
    target = task.targets(bundle.train.y)
    loss = task.criterion({"pred": outputs, "target": target})
    assert loss.dim() == 0
    assert torch.autograd.grad(loss, outputs)[0].abs().sum() > 0
    assert task.targets(bundle.train.y[:0]).shape == (0, *target.shape[1:])


def test_samples_are_ranked_though_their_probabilities_round_to_one() -> None:
    # From a logit of 37 on a probability is 1 in double precision.
    for name, metric in (("binary", "average_precision"), ("multilabel", "map")):
        task, bundle = made(name)
        outputs = 200 + 100 * random_outputs(task, len(bundle.test))
        found = task.metrics(task.predict(outputs, bundle.test.y))
        truth, scores = bundle.test.y.numpy(), outputs.reshape(bundle.test.y.shape).numpy()
        assert found[metric] == pytest.approx(metrics.average_precision_score(truth, scores))
        if name == "binary":
            assert found["auroc"] == pytest.approx(metrics.roc_auc_score(truth, scores))


def test_classes_are_ranked_by_their_log_odds() -> None:
    area = {"torchmetrics": {"class": "AUROC"}}
    task, bundle = made("multiclass", evaluation={"metrics": [area]})
    outputs = 300 * random_outputs(task, len(bundle.test)).double()
    rows = outputs.numpy()
    # Of each class its logit against the log of the others' summed exponentials.
    odds = [rows[:, c] - logsumexp(np.delete(rows, c, axis=1), axis=1) for c in range(3)]
    torch.testing.assert_close(class_log_odds(outputs), torch.tensor(np.stack(odds, axis=1)))
    small = outputs / 300
    p = small.softmax(1)
    torch.testing.assert_close(class_log_odds(small), p.log() - (1 - p).log())
    found = task.all_metrics(task.predict(outputs, bundle.test.y))["auroc"]
    truth = bundle.test.y.numpy()
    areas = [metrics.roc_auc_score(truth == c, each) for c, each in enumerate(odds)]
    assert found == pytest.approx(np.mean(areas), rel=1e-5)


def test_regression_is_judged_in_the_targets_units() -> None:
    task, bundle = made("regression", preprocessing={"target_outliers": {}})
    scaler = bundle.target_scaler
    assert scaler is not None
    outputs = random_outputs(task, len(bundle.test))
    predictions = task.predict(outputs, bundle.test.y)
    truth = bundle.test.y.double().numpy() * scaler.sd + scaler.mean
    answers = outputs[:, 0].double().numpy() * scaler.sd + scaler.mean
    assert predictions.y_true == pytest.approx(truth)
    assert 25 <= predictions.y_true.min() <= predictions.y_true.max() <= 346.001
    values = task.metrics(predictions)
    assert values["mae"] == pytest.approx(metrics.mean_absolute_error(truth, answers))
    assert values["rmse"] == pytest.approx(metrics.root_mean_squared_error(truth, answers))
    assert values["r2"] == pytest.approx(metrics.r2_score(truth, answers))


def test_poisson_predicts_the_rate_and_not_its_logarithm() -> None:
    task, bundle = made("regression", loss="poisson_nll")
    outputs = torch.full((len(bundle.test), 1), 5.0)
    assert task.predict(outputs, bundle.test.y).y_pred == pytest.approx(np.exp(5))
    plain, _ = made("regression", loss={"poisson_nll": {"log_input": False}})
    assert plain.predict(outputs, bundle.test.y).y_pred == pytest.approx(5)
    assert task.criterion({"pred": outputs, "target": task.targets(bundle.test.y)}).isfinite()


@pytest.mark.parametrize("num_targets", [1, 3])
def test_multi_quantile_gives_each_target_its_quantiles(num_targets: int) -> None:
    dataset = {"synthetic_regression": {"num_targets": num_targets}}
    quantiles = [0.1, 0.4, 0.9]
    task, bundle = made(
        "regression", dataset=dataset, loss={"multi_quantile": {"quantiles": quantiles}}
    )
    assert task.num_outputs == 3 * num_targets
    scaler, y = bundle.target_scaler, bundle.test.y
    assert scaler is not None
    # Right where the quantiles of target k stand at 3k, 3k + 1, 3k + 2.
    offsets = torch.tensor([-1.0, 0.0, 2.0])
    outputs = (y.reshape(len(y), -1, 1) + offsets).reshape(len(y), -1)
    predictions = task.predict(outputs, y)
    assert predictions.y_pred == pytest.approx(predictions.y_true)
    assert predictions.quantiles is not None
    assert predictions.quantiles.shape == (*y.shape, 3)
    errors = offsets.numpy() * np.asarray(scaler.sd).reshape(-1, 1)
    found = (predictions.quantiles - predictions.y_true[..., None]).reshape(-1, num_targets, 3)
    assert found == pytest.approx(np.broadcast_to(errors, found.shape), rel=1e-4, abs=1e-3)
    # Errors of -1, 0 and 2 sd cost 0.1, 0 and 0.2 sd.
    assert task.metrics(predictions)["pinball"] == pytest.approx(
        0.1 * float(np.mean(scaler.sd)), rel=1e-4
    )
    loss = task.criterion({"pred": outputs, "target": task.targets(y)})
    assert float(loss) == pytest.approx(0.1, rel=1e-4)


def test_pinball_is_that_of_the_losss_own_quantile() -> None:
    task, bundle = made("regression", loss={"quantile": {"q": 0.9}})
    outputs = random_outputs(task, len(bundle.test))
    predictions = task.predict(outputs, bundle.test.y)
    expected = metrics.mean_pinball_loss(predictions.y_true, predictions.y_pred, alpha=0.9)
    assert task.metrics(predictions)["pinball"] == pytest.approx(expected)


def test_binary_against_scikit_learn_at_another_threshold() -> None:
    task, bundle = made({"binary": {"threshold": 0.3}})
    y = bundle.test.y
    outputs = random_outputs(task, len(y)) + y[:, None]
    predictions = task.predict(outputs, y)
    probabilities = 1 / (1 + np.exp(-outputs[:, 0].double().numpy()))
    answers = probabilities >= 0.3
    assert predictions.probabilities == pytest.approx(probabilities)
    assert predictions.y_pred.tolist() == answers.astype(int).tolist()
    values = task.metrics(predictions)
    assert values["accuracy"] == pytest.approx(metrics.accuracy_score(y, answers))
    assert values["f1"] == pytest.approx(metrics.f1_score(y, answers))
    assert values["auroc"] == pytest.approx(metrics.roc_auc_score(y, probabilities))
    expected = metrics.average_precision_score(y, probabilities)
    assert values["average_precision"] == pytest.approx(expected)
    # Below 0.5 the answer's probability is the smaller one.
    confidence = np.where(answers, probabilities, 1 - probabilities)
    assert 0 < values["ece"] < abs(confidence - (answers == y.numpy())).mean()


def test_one_class_alone_leaves_metrics_out() -> None:
    task, _ = made("binary")
    y = torch.zeros(4)
    values = task.metrics(task.predict(torch.full((4, 1), -3.0), y))
    assert sorted(values) == ["accuracy", "ece"]
    assert values["accuracy"] == 1
    labels, _ = made("multilabel")
    nothing = torch.zeros(4, 5)
    assert labels.metrics(labels.predict(torch.full((4, 5), -3.0), nothing)) == {}


def test_multiclass_against_scikit_learn() -> None:
    task, bundle = made("multiclass")
    outputs = random_outputs(task, len(bundle.test))
    predictions = task.predict(outputs, bundle.test.y)
    values = task.metrics(predictions)
    truth, answers = bundle.test.y.numpy(), outputs.argmax(dim=1).numpy()
    assert predictions.probabilities == pytest.approx(outputs.double().softmax(dim=1).numpy())
    assert values["accuracy"] == pytest.approx(metrics.accuracy_score(truth, answers))
    assert values["f1_macro"] == pytest.approx(metrics.f1_score(truth, answers, average="macro"))


def test_multilabel_against_scikit_learn() -> None:
    task, bundle = made({"multilabel": {"threshold": 0.6}})
    y = bundle.test.y
    outputs = random_outputs(task, len(y)) + y
    values = task.metrics(task.predict(outputs, y))
    scores = torch.sigmoid(outputs.double()).numpy()
    answers = scores >= 0.6
    truth = y.numpy()
    assert values["f1_macro"] == pytest.approx(metrics.f1_score(truth, answers, average="macro"))
    assert values["f1_micro"] == pytest.approx(metrics.f1_score(truth, answers, average="micro"))
    assert values["map"] == pytest.approx(metrics.average_precision_score(truth, scores))


def test_bce_stands_behind_a_sigmoid_just_once() -> None:
    layers = ["linear", "sigmoid"]
    bare, bundle = made("binary", loss="bce")
    closed, _ = made("binary", loss="bce", model={"sequential": {"layers": layers}})
    logits = random_outputs(bare, len(bundle.test))
    y = bundle.test.y
    target = bare.targets(y)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
    assert torch.isclose(bare.criterion({"pred": logits, "target": target}), expected)
    probabilities = logits.sigmoid()
    assert torch.isclose(closed.criterion({"pred": probabilities, "target": target}), expected)
    one, other = bare.predict(logits, y), closed.predict(probabilities, y)
    assert one.probabilities == pytest.approx(other.probabilities, abs=1e-6)


def test_softmax_at_the_end_gives_the_probabilities_themselves() -> None:
    layers = ["linear", "softmax", {"dropout": {"p": 0.1}}]
    task, bundle = made("multiclass", model={"sequential": {"layers": layers}})
    probabilities = random_outputs(task, len(bundle.test)).softmax(dim=1)
    predictions = task.predict(probabilities, bundle.test.y)
    assert predictions.probabilities == pytest.approx(probabilities.numpy())


def test_a_sum_gives_each_term_what_it_takes() -> None:
    terms = [
        {"loss": {"bce": {}}, "weight": 2},
        {"loss": {"sum": {"terms": [{"loss": "bce"}, {"loss": "bce_with_logits", "weight": 3}]}}},
    ]
    task, bundle = made("binary", loss={"sum": {"terms": terms}})
    logits = random_outputs(task, len(bundle.test))
    target = task.targets(bundle.test.y)
    one = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
    task.criterion.check_values({"pred": logits, "target": target})
    task.criterion.check_inputs({"pred": logits, "target": target})
    assert torch.isclose(task.criterion({"pred": logits, "target": target}), 6 * one)
    names = [name for _, name, _ in leaves(job("binary", loss={"sum": {"terms": terms}}).loss)]
    assert names == ["bce", "bce", "bce_with_logits"]


def test_a_rank_is_the_number_of_steps_that_are_likely() -> None:
    likely, unlikely = 3.0, -3.0
    rows = torch.tensor([[unlikely] * 4, [likely, likely, unlikely, unlikely], [likely] * 4])
    coral, _ = made("ordinal")
    found = coral.predict(rows, torch.tensor([0, 2, 3]))
    assert found.y_pred.tolist() == [0, 2, 4]
    assert coral.metrics(found) == pytest.approx({"mae": 1 / 3, "accuracy": 2 / 3})
    # Each of these steps alone is likely, and all of them together are not.
    step = torch.full((1, 4), float(np.log(0.8 / 0.2)))
    corn, _ = made("ordinal", loss="corn")
    assert corn.predict(step, torch.tensor([0])).y_pred.tolist() == [3]
    assert coral.predict(step, torch.tensor([0])).y_pred.tolist() == [4]
    expected = [0.2, 0.8 * 0.2, 0.64 * 0.2, 0.512 * 0.2, 0.8**4]
    assert corn.predict(step, torch.tensor([0])).probabilities == pytest.approx(
        np.array([expected])
    )


def test_ordinal_against_scikit_learn() -> None:
    rows = torch.randn(80, 4, generator=torch.Generator().manual_seed(0)) * 3
    truth = torch.arange(80) % 5
    task, _ = made("ordinal")
    found = task.predict(rows, truth)
    values = task.metrics(found)
    assert values["mae"] == pytest.approx(metrics.mean_absolute_error(truth, found.y_pred))
    assert values["accuracy"] == pytest.approx(metrics.accuracy_score(truth, found.y_pred))
    assert 0 < values["accuracy"] < 1 < values["mae"]


def test_ranks_of_numbers_hold_as_many_training_samples_each() -> None:
    _, bundle = made({"ordinal": {"ranks": 4}})
    assert bundle.class_names[0].startswith("up to ")
    assert len(bundle.class_names) == bundle.num_targets == 4
    shares = torch.bincount(bundle.train.y).double() / len(bundle.train)
    assert shares.tolist() == pytest.approx([0.25] * 4, abs=0.01)
    numbers = data.load(job("regression", preprocessing={"standardise_targets": False}))
    means = [float(numbers.test.y[bundle.test.y == rank].mean()) for rank in range(4)]
    assert means == sorted(means)


def test_more_ranks_than_different_numbers_are_refused() -> None:
    with pytest.raises(UserSpecError, match="must leave no rank empty, but 200 ranks"):
        made({"ordinal": {"ranks": 200}})


def test_answers_of_coral_never_contradict_each_other_and_corns_may() -> None:
    for loss, is_shared in (("coral", True), ("corn", False)):
        task, bundle = made("ordinal", loss=loss)
        network = models.build(job("ordinal").model, bundle.inputs.shape, task.num_outputs, seed=0)
        task.start(network)
        outputs = network(bundle.test.x)
        gaps = outputs - outputs[:, :1]
        assert bool(torch.allclose(gaps, gaps[:1], atol=1e-5)) == is_shared

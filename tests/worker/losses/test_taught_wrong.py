"""What is often taught wrong about these losses, computed."""

import math

import pytest
import torch
from tests.worker.losses.cases import slope
from torch.nn import functional as F

from talweg.worker.losses import evaluate

GENERATOR = torch.Generator().manual_seed(0)


def test_the_textbook_example_of_mse_mae_and_huber() -> None:
    pred = torch.tensor([2.5, 0.0, 2.1, 7.8], dtype=torch.float64)
    target = torch.tensor([3.0, -0.5, 2.0, 8.0], dtype=torch.float64)
    assert evaluate("mse", {"pred": pred, "target": target}).item() == pytest.approx(0.1375)
    assert evaluate("mae", {"pred": pred, "target": target}).item() == pytest.approx(0.3250)
    pred[-1] = 10.0
    assert evaluate("huber", {"pred": pred, "target": target}).item() == pytest.approx(0.43875)


@pytest.mark.parametrize("beta", [0.1, 0.5, 1.0, 3.0])
def test_smooth_l1_is_huber_divided_by_beta(beta: float) -> None:
    inputs = {"pred": torch.linspace(-4, 4, 41).double(), "target": torch.zeros(41).double()}
    smooth = evaluate({"smooth_l1": {"beta": beta}}, inputs)
    huber = evaluate({"huber": {"delta": beta}}, inputs)
    torch.testing.assert_close(smooth, huber / beta)
    assert (smooth.item() == pytest.approx(huber.item())) == (beta == 1)


@pytest.mark.parametrize(
    ("error", "dtype"),
    [(89.5, torch.float32), (12.0, torch.float16)],
)
def test_log_of_cosh_overflows_and_ours_does_not(error: float, dtype: torch.dtype) -> None:
    pred = torch.tensor([error], dtype=dtype, requires_grad=True)
    naive = torch.log(torch.cosh(pred))
    assert naive.isinf()
    assert slope(naive, pred).isnan()
    ours = evaluate("log_cosh", {"pred": pred, "target": torch.zeros(1, dtype=dtype)})
    assert ours.item() == pytest.approx(error - math.log(2), rel=1e-6)
    assert slope(ours, pred).item() == 1


def test_log_of_cosh_vanishes_near_zero_and_ours_does_not() -> None:
    pred = torch.tensor([1e-4])
    assert torch.log(torch.cosh(pred)).item() == 0
    ours = evaluate("log_cosh", {"pred": pred, "target": torch.zeros(1)})
    assert ours.item() == pytest.approx(5e-9, rel=1e-5)


def test_clamped_probabilities_learn_nothing_where_the_model_is_sure_and_wrong() -> None:
    logit = torch.tensor([120.0], requires_grad=True)
    inputs = {"target": torch.zeros(1)}
    clamped = -torch.log((1 - torch.sigmoid(logit)).clamp(min=1e-7))
    assert slope(clamped, logit).item() == 0
    saturated = evaluate("bce", {"pred": torch.sigmoid(logit), **inputs})
    assert saturated.item() == 100
    assert slope(saturated, logit).item() == 0
    ours = evaluate("bce_with_logits", {"pred": logit, **inputs})
    assert ours.item() == 120
    assert slope(ours, logit).item() == 1


def test_one_alpha_for_all_classes_scales_the_whole_loss() -> None:
    logits = torch.randn(50, 4, generator=GENERATOR)
    inputs = {"pred": logits, "target": torch.randint(0, 4, (50,), generator=GENERATOR)}
    plain = evaluate("focal", inputs)
    scaled = evaluate({"focal": {"alpha": [0.25] * 4}}, inputs)
    torch.testing.assert_close(scaled, plain / 4)


def test_label_smoothing_off_the_target_is_more_of_ours() -> None:
    classes, eps = 5, 0.2
    logits = torch.randn(30, classes, generator=GENERATOR, dtype=torch.float64)
    target = torch.randint(0, classes, (30,), generator=GENERATOR)
    off_target = torch.full((30, classes), eps / (classes - 1), dtype=torch.float64)
    off_target[torch.arange(30), target] = 1 - eps
    taught = -(off_target * F.log_softmax(logits, 1)).sum(1).mean()
    smoothing = eps * classes / (classes - 1)
    inputs = {"pred": logits, "target": target}
    ours = evaluate({"cross_entropy": {"label_smoothing": smoothing}}, inputs)
    torch.testing.assert_close(ours, taught)
    same = evaluate(
        {"cross_entropy": {"label_smoothing": eps}}, {"pred": logits, "target": target}
    )
    assert abs(same.item() - taught.item()) > 0.01


def test_random_logits_do_not_give_the_logarithm_of_the_classes() -> None:
    logits = torch.randn(200_000, 10, generator=GENERATOR)
    target = torch.randint(0, 10, (200_000,), generator=GENERATOR)
    loss = evaluate("cross_entropy", {"pred": logits, "target": target})
    assert loss.item() == pytest.approx(2.7289, abs=0.01)
    loss = evaluate("cross_entropy", {"pred": 0.01 * logits, "target": target})
    assert loss.item() == pytest.approx(math.log(10), abs=1e-3)


@pytest.mark.parametrize("loss", ["mse", "cross_entropy", "bce_with_logits"])
def test_losses_are_convex_in_the_prediction_and_not_in_the_weights(loss: str) -> None:
    """Two layers of one unit each, x → w2 tanh(w1 x), which (w1, w2) and (-w1, -w2) share."""
    inputs = torch.tensor([[-1.0], [0.5], [2.0]])
    targets = {
        "mse": torch.tensor([[-1.0], [0.6], [1.2]]),
        "cross_entropy": torch.tensor([1, 0, 0]),
        "bce_with_logits": torch.tensor([[0.0], [1.0], [1.0]]),
    }

    def of_prediction(pred: torch.Tensor) -> float:
        logits = torch.cat([pred, torch.zeros_like(pred)], 1) if loss == "cross_entropy" else pred
        return evaluate(loss, {"pred": logits, "target": targets[loss]}).item()

    def of_weights(first: float, second: float) -> float:
        return of_prediction(second * torch.tanh(first * inputs))

    assert of_weights(0, 0) > (of_weights(1, 1) + of_weights(-1, -1)) / 2
    for _ in range(20):
        one, other = torch.randn(2, 3, 1, generator=GENERATOR).unbind()
        middle = (of_prediction(one) + of_prediction(other)) / 2
        assert of_prediction((one + other) / 2) <= middle + 1e-6


def test_a_likelihood_can_be_negative() -> None:
    inputs = {"pred": torch.tensor([2.0]), "target": torch.tensor([9.0])}
    assert evaluate("poisson_nll", inputs).item() < 0

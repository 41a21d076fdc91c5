"""What is often taught wrong about losses, computed. docs/corrections.md tells of each test."""

import math
from typing import Any

import pytest
import torch
from tests.worker.losses.cases import slope
from torch.nn import functional as F

from talweg.worker.losses import clip_by_global_norm, evaluate, gradient_penalty
from talweg.worker.losses.features import VGG16_LAYERS, Vgg16

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


def test_the_logarithm_of_cosh_overflows_and_vanishes_and_log_cosh_does_not() -> None:
    for error, dtype in ((89.5, torch.float32), (12.0, torch.float16)):
        pred = torch.tensor([error], dtype=dtype, requires_grad=True)
        naive = torch.log(torch.cosh(pred))
        assert naive.isinf()
        assert slope(naive, pred).isnan()
        ours = evaluate("log_cosh", {"pred": pred, "target": torch.zeros(1, dtype=dtype)})
        assert ours.item() == pytest.approx(error - math.log(2), rel=1e-6)
        assert slope(ours, pred).item() == 1
    small = torch.tensor([1e-4])
    assert torch.log(torch.cosh(small)).item() == 0
    ours = evaluate("log_cosh", {"pred": small, "target": torch.zeros(1)})
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
    # Nine of one class and one of the other, all alike: what part of the loss is the rare one's?
    target = torch.tensor([0] * 9 + [1])
    for alpha, part in (([0.25, 0.25], 0.1), ([0.1, 0.9], 0.5)):
        values = evaluate(
            {"focal": {"alpha": alpha, "reduction": "none"}},
            {"pred": torch.zeros(10, 2), "target": target},
        )
        assert (values[-1] / values.sum()).item() == pytest.approx(part)


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


def test_nt_xent_counts_the_positive_once_at_index_i_plus_n_minus_1() -> None:
    number, temperature = 4, 0.05
    z1, z2 = torch.randn(2, number, 8, generator=GENERATOR, dtype=torch.float64).unbind()
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    scores = z @ z.T / temperature
    positive = torch.cat([scores.diagonal(number), scores.diagonal(-number)])[:, None]
    others = scores[~torch.eye(2 * number, dtype=torch.bool)].reshape(2 * number, -1)

    index = torch.cat([torch.arange(number) + number - 1, torch.arange(number)])
    ours = evaluate({"nt_xent": {"temperature": temperature}}, {"z1": z1, "z2": z2})
    torch.testing.assert_close(ours, F.cross_entropy(others, index))

    # Views that agree and samples that do not cost nothing, but taught so they cost ln 2.
    views = torch.eye(number, dtype=torch.float64)
    sure = {"nt_xent": {"temperature": temperature}}
    assert evaluate(sure, {"z1": views, "z2": views}).item() < 1e-7
    scores = torch.cat([views, views]) @ torch.cat([views, views]).T / temperature
    others = scores[~torch.eye(2 * number, dtype=torch.bool)].reshape(2 * number, -1)
    positive = torch.full((2 * number, 1), 1 / temperature, dtype=torch.float64)
    twice = F.cross_entropy(torch.cat([positive, others], 1), index * 0)
    assert twice.item() == pytest.approx(math.log(2))
    # Nor is the positive at i + N once the diagonal is gone: there stands a negative, or nothing.
    wrong = (torch.arange(2 * number) + number) % (2 * number - 1)
    assert F.cross_entropy(others, wrong).item() > 10


def test_dice_of_all_pixels_at_once_hardly_sees_a_missed_object() -> None:
    target = torch.zeros(4, 10, 10).long()
    target[:, 0, 0] = 1
    background = torch.zeros(4, 2, 10, 10)
    background[:, 0] = 1
    truth = F.one_hot(target, 2).movedim(-1, 1)

    flat = 1 - 2 * (background * truth).sum() / (background.sum() + truth.sum())

    assert flat.item() == pytest.approx(0.01)
    inputs = {"pred": background, "target": target}
    params = {"mode": "multiclass", "from_logits": False}
    values = evaluate({"dice": {**params, "reduction": "none"}}, inputs)
    assert values[:, 0].tolist() == pytest.approx([1 - 198 / 199] * 4, rel=1e-4)
    assert values[:, 1].tolist() == pytest.approx([1] * 4, rel=1e-4)
    assert evaluate({"dice": params}, inputs).item() > 0.5


def test_iou_has_no_eps_and_refuses_swapped_corners() -> None:
    box = torch.tensor([[0.0, 0.0, 1e-3, 1e-3]])
    area = 1e-6
    assert area / (area + 1e-6) == 0.5
    for loss in ("iou", "giou", "diou", "ciou"):
        assert evaluate(loss, {"pred": box, "target": box}).item() == pytest.approx(0, abs=1e-6)
    swapped, unit = [1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]
    assert _giou_as_taught(swapped, unit) == 0
    with pytest.raises(ValueError, match="pred must have x2 >= x1, but got x1 = 1 and x2 = 0"):
        evaluate("giou", {"pred": torch.tensor([swapped]), "target": torch.tensor([unit])})


def _giou_as_taught(a: list[float], b: list[float]) -> float:
    sides = [max(0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1)]
    both = sides[0] * sides[1]
    union = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)) - both
    around = [max(a[i + 2], b[i + 2]) - min(a[i], b[i]) for i in (0, 1)]
    area = around[0] * around[1]
    return 1 - (both / union - (area - union) / area)


def test_a_critic_of_means_alone_has_no_floor_and_one_with_a_penalty_has() -> None:
    """Real samples at 1 and made ones at 0: with |slope| = w the critic pays -w."""
    real, fake, share = torch.ones(8, 1), torch.zeros(8, 1), torch.linspace(0, 1, 8)
    for penalised in (False, True):
        critic = torch.nn.Linear(1, 1)
        torch.nn.init.zeros_(critic.weight)
        optimizer = torch.optim.SGD(critic.parameters(), lr=0.04)
        for _ in range(200):
            optimizer.zero_grad()
            outputs = {"real": critic(real), "fake": critic(fake)}
            means = evaluate({"gan": {"form": "wgan"}}, outputs)
            loss = means + gradient_penalty(critic, real, fake, share) if penalised else means
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        # 10 (w - 1)² - w is least at w = 1.05.
        assert critic.weight.item() == pytest.approx(1.05 if penalised else 8, rel=1e-4)


@pytest.mark.parametrize(
    ("params", "log_var", "weight"),
    [
        ({"task_types": ["regression"]}, math.log(4), 1 / 8),
        ({"task_types": ["classification"]}, math.log(8), 1 / 8),
        ({"variant": "simple"}, math.log(4), 1 / 4),
    ],
)
def test_a_loss_of_4_weighs_an_eighth_under_kendall_and_a_quarter_under_simple(
    params: dict[str, Any], log_var: float, weight: float
) -> None:
    losses = torch.tensor([4.0], dtype=torch.float64, requires_grad=True)
    log_vars = torch.tensor([log_var], dtype=torch.float64, requires_grad=True)
    value = evaluate({"uncertainty": params}, {"losses": losses, "log_vars": log_vars})
    by_loss, by_log_var = torch.autograd.grad(value, [losses, log_vars])
    assert by_log_var.item() == pytest.approx(0, abs=1e-12), "no optimum"
    assert by_loss.item() == pytest.approx(weight)


def test_a_threshold_from_0_admits_nobody_and_a_sum_is_n_times_the_mean() -> None:
    inputs = {
        "losses": torch.tensor([1.0, 2.0, 3.0, 6.0]),
        "difficulty": torch.tensor([0.1, 0.4, 0.6, 1.0]),
    }

    def taught(epoch: int, epochs: int) -> float:
        admitted = (inputs["difficulty"] <= epoch / epochs).float()
        return (admitted * inputs["losses"]).sum().item()

    def ours(threshold: float) -> float:
        return evaluate({"curriculum": {"threshold": threshold}}, inputs).item()

    assert (taught(0, 10), taught(10, 10)) == (0, 12)
    assert (ours(0.5), ours(1.0)) == (1.5, 3)


def test_clipping_each_gradient_by_itself_turns_the_step_and_clipping_all_does_not() -> None:
    gradients = [torch.tensor([100.0]), torch.ones(1), torch.ones(1), torch.ones(1)]
    before = torch.cat(gradients)
    each = torch.cat([clip_by_global_norm([gradient], 1)[0] for gradient in gradients])
    together = torch.cat(clip_by_global_norm(gradients, 1))
    assert F.cosine_similarity(each, before, 0).item() == pytest.approx(0.5149, abs=1e-4)
    assert F.cosine_similarity(together, before, 0).item() == pytest.approx(1)
    assert together.norm().item() == pytest.approx(1)


@pytest.mark.parametrize(
    ("loss", "inputs", "value"),
    [
        ({"gan": {"form": "wgan"}}, {"real": [2.0], "fake": [-1.0]}, -3),
        ("gaussian_nll", {"pred": [1.0], "target": [1.0], "var": [0.01]}, -math.log(10)),
        ({"uncertainty": {"variant": "simple"}}, {"losses": [0.1], "log_vars": [-2.0]}, -1.261094),
        ("poisson_nll", {"pred": [2.0], "target": [9.0]}, math.exp(2) - 18),
    ],
    ids=["wgan", "gaussian_nll", "uncertainty", "poisson_nll"],
)
def test_a_loss_can_be_negative(loss: Any, inputs: dict[str, list[float]], value: float) -> None:
    tensors = {name: torch.tensor(numbers) for name, numbers in inputs.items()}
    assert evaluate(loss, tensors).item() == pytest.approx(value, rel=1e-5)


def test_losses_of_different_scale_need_weights_by_scale_or_learned_ones() -> None:
    losses = torch.tensor([0.01, 100.0], dtype=torch.float64)
    taught = losses * torch.tensor([100, 1])
    assert taught.tolist() == [1, 100], "still a hundred times apart"
    log_vars = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_vars], max_iter=100, line_search_fn="strong_wolfe")

    def learned() -> float:
        optimizer.zero_grad()
        inputs = {"losses": losses, "log_vars": log_vars}
        loss = evaluate({"uncertainty": {"variant": "simple"}}, inputs)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    optimizer.step(learned)  # type: ignore[no-untyped-call]
    weighed = torch.exp(-log_vars.detach()) * losses
    assert weighed.tolist() == pytest.approx([1, 1], rel=1e-3)


def test_the_lower_loss_can_be_the_worse_model() -> None:
    target = torch.tensor([0, 1])
    good = torch.tensor([[0.7, 0.3], [0.3, 0.7]]).log()
    bad = torch.tensor([[0.4, 0.6], [0.4, 0.6]]).log()
    cross_entropy = evaluate("cross_entropy", {"pred": good, "target": target})
    focal = evaluate("focal", {"pred": bad, "target": target})
    assert focal < cross_entropy
    assert (good.argmax(1) == target).all()
    assert not (bad.argmax(1) == target).all()
    # The same errors in metres and in millimetres.
    metres, zero = torch.tensor([0.5, -0.25]), torch.zeros(2)
    in_metres = evaluate("mse", {"pred": metres, "target": zero})
    in_millimetres = evaluate("mse", {"pred": 1000 * metres, "target": zero})
    assert in_millimetres.item() == pytest.approx(1e6 * in_metres.item())


def test_the_features_before_each_pool_of_vgg16_are_at_3_8_15_22_and_29() -> None:
    with torch.device("meta"):
        features = Vgg16().features
    pools = [index for index, one in enumerate(features) if isinstance(one, torch.nn.MaxPool2d)]
    assert pools == [4, 9, 16, 23, 30]
    before = [index - 1 for index in pools]
    assert all(isinstance(features[index], torch.nn.ReLU) for index in before)
    names = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
    assert [VGG16_LAYERS[name] for name in names] == before == [3, 8, 15, 22, 29]

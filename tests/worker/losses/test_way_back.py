"""Far from its least value a loss has a gradient that leads back, also where something is held."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from talweg.spec import from_dict
from talweg.v1.losses_pb2 import Loss
from talweg.worker.clamping import clamp
from talweg.worker.losses import build, evaluate
from talweg.worker.models.architectures.generative import draw
from talweg.worker.tasks.common.adapters import AfterExp, MeanAndVariance, NormalInverseGamma

Row = tuple[Any, dict[str, Any], tuple[str, ...]]
_TWO = [0, 1]
_NUMBERS = ("pred",)
_FAR_EMBEDDINGS = [[1.0, 0.1], [-1.0, 0.2], [1.0, -0.3], [-1.0, -0.2]]


def _numbers(loss: Any, *preds: float, target: float = 1.0) -> list[Row]:
    return [(loss, {"pred": [p], "target": [target]}, _NUMBERS) for p in preds]


def _classes(loss: Any, *sizes: float) -> list[Row]:
    return [(loss, {"pred": [[s, -s, 0.5]], "target": [1]}, _NUMBERS) for s in sizes]


def _answers(loss: Any, *sizes: float) -> list[Row]:
    rows = [(loss, {"pred": [-s], "target": [1.0]}, _NUMBERS) for s in sizes]
    return rows + [(loss, {"pred": [s], "target": [0.0]}, _NUMBERS) for s in sizes]


def _views(loss: Any, one: str, two: str, learned: tuple[str, ...]) -> list[Row]:
    vectors = torch.tensor([[1.0, 0.1, 0.2], [0.2, -1.0, 0.1], [-0.4, 0.3, 1.0]])
    other = torch.tensor([[-0.9, 0.3, 0.1], [-0.1, 1.0, 0.3], [0.5, -0.2, -1.0]])
    return [
        (loss, {one: (size * vectors).tolist(), two: (size * other).tolist()}, learned)
        for size in (1.0, 1e4, 1e25)
    ]


def _labelled(loss: Any, *sizes: float) -> list[Row]:
    return [
        (
            loss,
            {
                "embeddings": (s * torch.tensor(_FAR_EMBEDDINGS)).tolist(),
                "labels": [0, 0, 1, 1],
            },
            ("embeddings",),
        )
        for s in sizes
    ]


_BOXES = {"pred": [[0.0, 0.0, 1e4, 2e4]], "target": [[9e3, 1e4, 3e4, 3e4]]}
_CODES = [0.0, 31.0, 100.0, 1e4, 1e30, -61.0, -100.0, -1e4]
SWEEP: list[Row] = [
    *(
        row
        for loss in (
            *("mse", "mae", "huber", "smooth_l1", "log_cosh", "quantile", "charbonnier"),
            *("asymmetric_mse", {"expression": "abs(pred - target)"}),
        )
        for row in _numbers(loss, 1e4, -1e4, 1e15, -1e15)
    ),
    ({"multi_quantile": {"quantiles": [0.1, 0.9]}}, {"pred": [[1e4, -1e4]], "target": [0.0]},
     _NUMBERS),
    *_numbers("poisson_nll", 89.0, 1e4, 1e30, -1e4),
    *_numbers({"poisson_nll": {"log_input": False}}, 0.0, 1e-30, 1e30),
    *(
        ("gaussian_nll", {"pred": [0.0], "target": [e], "var": [v]}, ("pred", "var"))
        for e in (1.0, 1e4)
        for v in (0.0, 1e-30, 1e30)
    ),
    *(
        ("evidential", {"pred": [0.0], "target": [9.0], "nu": [v], "alpha": [1.5], "beta": [b]},
         ("pred", "nu", "beta"))
        for v in (0.0, 1e-30)
        for b in (0.0, 1e-30)
    ),
    *_numbers("tweedie", 1e-20, 1e-10, 1e20),
    *_answers("bce_with_logits", 1.0, 1e4, 1e30),
    *_answers("focal_binary", 1.0, 1e4, 1e30),
    *_answers({"asymmetric_multilabel": {"clip": 0.0}}, 1.0, 1e4),
    *(
        ("bce", {"pred": [p], "target": [t]}, _NUMBERS)
        for p, t in ((0.0, 1.0), (1.0, 0.0), (1e-45, 1.0), (1e-30, 1.0), (0.0, 0.5), (1.0, 0.5))
    ),
    *(
        row
        for loss in ("cross_entropy", "focal", "poly1", "symmetric_ce", "multi_margin",
                     {"logit_adjusted": {"class_counts": [9, 1, 1]}})
        for row in _classes(loss, 1.0, 1e4, 1e30)
    ),
    ({"ldam": {"class_counts": [9, 1, 1]}}, {"pred": [[1.0, -1.0, 0.5]], "target": [1]}, _NUMBERS),
    *(
        (loss, {"pred": [[-s, -s]], "target": [2]}, _NUMBERS)
        for loss in ("coral", "corn")
        for s in (1.0, 1e4)
    ),
    *(
        ("distillation", {"pred": [[s, -s]], "teacher_logits": [[-2.0, 2.0]]}, _NUMBERS)
        for s in (1.0, 1e4)
    ),
    *(
        ("ctc", {"pred": [[[s, -s, 0.0]]] * 4, "targets": [[1, 2]], "target_lengths": [2],
                 "input_lengths": [4]}, _NUMBERS)
        for s in (1.0, 1e4)
    ),
    *(
        (loss, {"emb1": [[s, 0.0]], "emb2": [[0.0, s]], name: [1]}, ("emb1", "emb2"))
        for loss, name in (("contrastive", "similar"), ("cosine_embedding", "sign"))
        for s in (1.0, 1e4)
    ),
    ("cosine_embedding", {"emb1": [[1e25, 0.0]], "emb2": [[0.0, 1e30]], "sign": [1]}, ("emb1",)),
    ("margin_ranking", {"x1": [-1e30], "x2": [1e30], "sign": [1]}, ("x1", "x2")),
    *(
        ({"triplet": {"distance": distance}}, {"anchor": [[0.0, 1e4]], "positive": [[1e4, 1.0]],
         "negative": [[1.0, 2e4]]}, ("anchor", "positive", "negative"))
        for distance in ("euclidean", "sqeuclidean", "cosine")
    ),
    *_labelled("online_triplet", 1.0, 1e4),
    *(row for loss in ("supcon", "circle", "multi_similarity")
      for row in _labelled(loss, 1.0, 1e4, 1e25)),
    *_views("nt_xent", "z1", "z2", ("z1", "z2")),
    *_views("info_nce", "query", "positive", ("query", "positive")),
    *_views("clip", "image", "text", ("image", "text")),
    *_views("negative_cosine", "emb1", "emb2", ("emb1",)),
    *_views("vicreg", "z1", "z2", ("z1", "z2"))[:2],
    *_views("barlow_twins", "z1", "z2", ("z1", "z2"))[:2],
    *(
        (loss, {"embeddings": [[s, 0.1]], "class_weight": [[0.1, 1.0], [1.0, 0.2]],
                "labels": [0]}, ("embeddings", "class_weight"))
        for loss in ("arcface", "cosface")
        for s in (1.0, 1e4, 1e25)
    ),
    *((loss, _BOXES, _NUMBERS) for loss in ("iou", "giou", "diou", "ciou")),
    ("lovasz_hinge", {"pred": [[1e4, -1e4]], "target": [[0, 1]]}, _NUMBERS),
    ("ce_dice", {"pred": [[[1e4], [-1e4]]], "target": [[1]]}, _NUMBERS),
    ({"ce_dice": {"from_logits": False, "dice_weight": 0}},
     {"pred": [[[1.0], [0.0]]], "target": [[1]]}, _NUMBERS),
    ("detection", {"class_logits": [[1e4, -1e4]], "target_classes": [1], "boxes": _BOXES["pred"],
                   "target_boxes": _BOXES["target"]}, ("class_logits", "boxes")),
    *(
        ({"gan": {"form": form}}, {"real": [-1e4], "fake": [1e4]}, ("real", "fake"))
        for form in ("bce", "hinge", "lsgan", "wgan")
    ),
    *(("gaussian_kl", {"mu": [1.0], "logvar": [v]}, ("mu",) if v == 0 else ("mu", "logvar"))
      for v in _CODES),
    *(({"vae": {"recon": form}}, {"recon": [0.9], "target": [0.1], "mu": [1.0], "logvar": [v]},
       ("recon", "mu") if v == 0 else ("recon", "mu", "logvar"))
      for v in _CODES for form in ("bce_logits", "bce", "mse", "gaussian")),
    ("total_variation", {"pred": [[[[1e30, -1e30], [0.0, 1.0]]]]}, _NUMBERS),
    ({"ssim": {"window_size": 1}}, {"pred": [[[[3.0]]]], "target": [[[[1.0]]]]}, _NUMBERS),
    *(
        ({"uncertainty": {"variant": "simple"}}, {"losses": [loss], "log_vars": [s]},
         ("losses", "log_vars"))
        for loss, s in ((1e12, -25.0), (1e-3, -1e3), (5.0, 25.0), (5.0, 1e30))
    ),
    ("gradnorm", {"weights": [1.0, 1e4], "grad_norms": [1e4, 1.0], "losses": [1.0, 1.0],
                  "initial_losses": [1e4, 1.0]}, ("weights",)),
    ({"curriculum": {"threshold": 1}}, {"losses": [1e30], "difficulty": [0.0]}, ("losses",)),
    ({"sum": {"terms": [{"loss": "mse"}]}}, {"pred": [1e4], "target": [0.0]}, _NUMBERS),
]  # fmt: skip
BOUNDED = {
    # At its worst 1/q: (1 - p^q)/q does not tell very wrong from wrong, which makes it robust.
    "generalized_ce": "bounded by 1/q",
    # Shares of masks, which a softmax that has saturated does not move.
    "dice": "at most 1",
    "jaccard": "at most 1",
    "tversky": "at most 1",
    "focal_tversky": "at most 1",
    "lovasz_softmax": "at most 1",
    "perceptual": "the features' own",
    "plugin": "its author's",
}
"""Losses whose value is at its upper bound where they are very wrong, and there are flat."""


def _inputs(given: Mapping[str, Any], learned: tuple[str, ...]) -> dict[str, Tensor]:
    tensors = {name: torch.tensor(value) for name, value in given.items()}
    for name in learned:
        tensors[name].requires_grad_()
    return tensors


def test_every_loss_is_swept() -> None:
    swept = {loss if isinstance(loss, str) else next(iter(loss)) for loss, *_ in SWEEP}
    assert swept | BOUNDED.keys() == set(Loss.DESCRIPTOR.fields_by_name)


@pytest.mark.parametrize(("loss", "given", "learned"), SWEEP, ids=str)
def test_a_loss_that_is_far_off_has_a_finite_gradient_that_leads_back(
    loss: Any, given: dict[str, Any], learned: tuple[str, ...]
) -> None:
    inputs = _inputs(given, learned)
    value = evaluate(loss, inputs)
    if not torch.isfinite(value):
        # The guard sees it.
        return
    gradients = torch.autograd.grad(value, [inputs[name] for name in learned])
    for name, gradient in zip(learned, gradients, strict=True):
        assert torch.isfinite(gradient).all(), name
        assert gradient.any(), f"{name} has no gradient at a loss of {value.item():g}"


@pytest.mark.parametrize("logvar", [31.0, 100.0, 1e4, torch.inf])
def test_a_wild_log_variance_comes_back(logvar: float) -> None:
    code = torch.tensor([logvar], requires_grad=True)
    value = evaluate("gaussian_kl", {"mu": torch.zeros(1), "logvar": code})
    (slope,) = torch.autograd.grad(value, code)
    assert value.item() == pytest.approx(5.343e12, rel=1e-3)
    assert slope.item() == pytest.approx(5.343e12, rel=1e-3)

    # Without a divergence, as under beta 0, the samples' own errors lead it back.
    drawn = draw(torch.zeros(1), code, torch.ones(1))
    (slope,) = torch.autograd.grad(drawn.square().sum(), code)
    assert slope.item() > 0


def test_a_clamp_lets_nothing_run_further_away() -> None:
    x = torch.tensor([-3.0, -3.0, 0.5, 0.5, 3.0, 3.0], requires_grad=True)
    held = clamp(x, -1, 1)
    assert held.tolist() == [-1, -1, 0.5, 0.5, 1, 1]
    (slope,) = torch.autograd.grad(held @ torch.tensor([1.0, -2, 3, -4, 5, -6]), x)
    assert slope.tolist() == [0, -2, 3, -4, 5, 0]
    assert clamp(torch.tensor(torch.nan), -1, 1).isnan()


@pytest.mark.parametrize("raw", [-21.0, -104.0, -1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_collapsed_variance_recovers(raw: float, dtype: torch.dtype) -> None:
    pred = torch.tensor([[0.0, raw]], dtype=dtype, requires_grad=True)
    criterion = MeanAndVariance(build(from_dict("gaussian_nll", Loss)))
    loss = criterion({"pred": pred, "target": torch.tensor([[1.0]], dtype=dtype)})
    (slope,) = torch.autograd.grad(loss, pred)
    assert slope[0, 1] < -1


@pytest.mark.parametrize("raw", [-104.0, -1e4])
def test_collapsed_evidence_recovers(raw: float) -> None:
    pred = torch.tensor([[0.0, raw, 1.0, raw]], requires_grad=True)
    criterion = NormalInverseGamma(build(from_dict("evidential", Loss)))
    loss = criterion({"pred": pred, "target": torch.tensor([[1.0]])})
    (slope,) = torch.autograd.grad(loss, pred)
    assert torch.isfinite(slope).all()
    assert slope[0, 1] != 0
    assert slope[0, 3] != 0


@pytest.mark.parametrize("power", [1.01, 1.5, 1.99])
@pytest.mark.parametrize("target", [0.0, 1e-3, 1e3])
@pytest.mark.parametrize("output", [-1e4, -60.0, -41.0, 61.0, 1e4])
def test_wild_logarithms_of_a_mean_come_back(output: float, target: float, power: float) -> None:
    pred = torch.tensor([[output]], requires_grad=True)
    criterion = AfterExp(build(from_dict({"tweedie": {"power": power}}, Loss)))
    loss = criterion({"pred": pred, "target": torch.tensor([[target]])})
    (slope,) = torch.autograd.grad(loss, pred)
    assert torch.isfinite(slope).all()
    assert slope.item() > 0 if output > 0 or target == 0 else slope.item() < 0

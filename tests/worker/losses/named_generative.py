"""Rows of the losses of generative models and of images."""

import itertools
from typing import Any

import numpy as np
import torch
from tests.worker.losses import formulas
from tests.worker.losses.formulas import Number, mp
from tests.worker.losses.named import Arrays, Named
from torch import Tensor

# ---------------------------------------------------------------- formulas


def softplus(x: Number) -> Number:
    return mp.log(1 + mp.exp(x))


def gan(
    given: Arrays,
    form: str = "bce",
    side: str = "discriminator",
    generator: str = "non_saturating",
) -> tuple[list[Number], Number]:
    def mean(name: str, value: Any) -> Number:
        outputs = list(given[name].flatten())
        return sum(value(x) for x in outputs) / len(outputs)

    if side == "generator":
        terms = {
            "bce": lambda f: -softplus(f) if generator == "minimax" else softplus(-f),
            "hinge": lambda f: -f,
            "lsgan": lambda f: (f - 1) ** 2 / 2,
            "wgan": lambda f: -f,
        }
        return [mean("fake", terms[form])], 1
    pairs: dict[str, tuple[Any, Any]] = {
        "bce": (lambda r: softplus(-r), softplus),
        "hinge": (lambda r: max(0, 1 - r), lambda f: max(0, 1 + f)),
        "lsgan": (lambda r: (r - 1) ** 2 / 2, lambda f: f**2 / 2),
        "wgan": (lambda r: -r, lambda f: f),
    }
    of_real, of_fake = pairs[form]
    return [mean("real", of_real) + mean("fake", of_fake)], 1


def kl_of(mu: Number, logvar: Number) -> Number:
    held = min(max(logvar, mp.mpf(-60)), mp.mpf(30))
    return (mu**2 + mp.exp(held) - 1 - held) / 2


def gaussian_kl(given: Arrays) -> tuple[list[Number], Number]:
    pairs = zip(given["mu"].flatten(), given["logvar"].flatten(), strict=True)
    return [kl_of(mu, logvar) for mu, logvar in pairs], len(given["mu"])


def vae(given: Arrays, recon: str = "bce_logits", beta: float = 1) -> tuple[list[Number], Number]:
    terms: dict[str, Any] = {
        "bce_logits": formulas.bce_with_logits,
        "bce": formulas.bce,
        "mse": formulas.mse,
        "gaussian": lambda p, y: ((p - y) ** 2 + mp.log(2 * mp.pi)) / 2,
    }
    values = []
    for p, y, mu, logvar in zip(
        *(given[name] for name in ("recon", "target", "mu", "logvar")), strict=True
    ):
        likelihood = sum(terms[recon](a, b) for a, b in zip(p.flat, y.flat, strict=True))
        divergence = sum(kl_of(a, b) for a, b in zip(mu.flat, logvar.flat, strict=True))
        values.append(likelihood + mp.mpf(beta) * divergence)
    return values, len(values)


def ssim(
    given: Arrays,
    window_size: int = 11,
    sigma: float = 1.5,
    data_range: float = 1,
    k1: float = 0.01,
    k2: float = 0.03,
) -> tuple[list[Number], Number]:
    """Window by window, with weights of two dimensions."""
    steps = [mp.mpf(i) - mp.mpf(window_size - 1) / 2 for i in range(window_size)]
    side = [mp.exp(-(s**2) / (2 * mp.mpf(sigma) ** 2)) for s in steps]
    weights = np.outer(side, side) / sum(side) ** 2
    c1, c2 = (mp.mpf(k) * data_range for k in (k1, k2))
    c1, c2 = c1**2, c2**2
    values = []
    for x, y in zip(given["pred"], given["target"], strict=True):
        found = []
        spans = [range(size - window_size + 1) for size in x.shape[1:]]
        for c, i, j in itertools.product(range(len(x)), *spans):
            a, b = (z[c, i : i + window_size, j : j + window_size] for z in (x, y))
            mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
            off_a, off_b = a - mean_a, b - mean_b
            weighed = weights * off_a
            var_a, both = (weighed * off_a).sum(), (weighed * off_b).sum()
            var_b = (weights * off_b * off_b).sum()
            likeness = (2 * mean_a * mean_b + c1) * (2 * both + c2)
            found.append(likeness / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)))
        values.append(1 - sum(found) / len(found))
    return values, len(values)


def total_variation(given: Arrays) -> tuple[list[Number], Number]:
    means = []
    for axis in (2, 3):
        steps = np.diff(given["pred"], axis=axis).flatten()
        means.append(sum(abs(x) for x in steps) / max(len(steps), 1))
    return [sum(means)], 1


# ---------------------------------------------------------------- rows

_REAL = [0.3, -1.2, 2.5, 1.7]
_FAKE = [[-0.4, 0.6, -3.0], [1.9, -0.7, 0.2]]
_MU = [[0.3, -1.2], [2.5, 0.0], [-0.4, 1.1]]
_LOGVAR = [[0.0, -2.2], [1.5, 0.6], [-9.0, 3.1]]
_RECON = [[[0.3, -1.2]], [[2.5, 0.1]], [[-0.4, 4.0]]]
_SHARES = [[[0.3, 0.02]], [[0.9, 0.5]], [[0.77, 0.99]]]
_SEEN = [[[1.0, 0.0]], [[0.25, 0.5]], [[0.0, 0.9]]]
_CODE = {"mu": _MU, "logvar": _LOGVAR}
_LEARNED = ("recon", "mu", "logvar")
_GENERATOR = torch.Generator().manual_seed(6)


def _images(*shape: int) -> Any:
    return (torch.rand(*shape, generator=_GENERATOR) * 64).round().div(64).tolist()


_PAIR = {"pred": _images(2, 2, 4, 5), "target": _images(2, 2, 4, 5)}
_LARGE = {"pred": _images(1, 1, 11, 12), "target": _images(1, 1, 11, 12)}

NAMED: list[Named] = [
    *(
        Named("gan", {"real": _REAL, "fake": _FAKE}, gan, {"form": form}, ("real", "fake"))
        for form in ("bce", "hinge", "lsgan", "wgan")
    ),
    Named("gan", {"real": _REAL, "fake": _FAKE}, gan, {}, ("real", "fake")),
    *(
        Named("gan", {"fake": _FAKE}, gan, {"side": "generator", **params}, ("fake",))
        for params in (
            {},
            {"generator": "minimax"},
            {"form": "hinge"},
            {"form": "lsgan"},
            {"form": "wgan"},
        )
    ),
    Named("gaussian_kl", _CODE, gaussian_kl, {}, ("mu", "logvar")),
    Named("gaussian_kl", {"mu": _REAL, "logvar": _REAL}, gaussian_kl, {}, ("mu", "logvar")),
    *(
        Named("vae", {"recon": recon, "target": _SEEN, **_CODE}, vae, params, _LEARNED)
        for recon, params in (
            (_RECON, {}),
            (_RECON, {"beta": 0.3}),
            (_SHARES, {"recon": "bce"}),
            (_RECON, {"recon": "mse", "beta": 4.0}),
            (_RECON, {"recon": "gaussian"}),
        )
    ),
    *(
        Named("ssim", _PAIR, ssim, {"window_size": 3, **params}, ("pred", "target"))
        for params in (
            {},
            {"sigma": 0.4, "data_range": 2.0},
            {"k1": 0.3, "k2": 0.1},
        )
    ),
    Named("ssim", _PAIR, ssim, {"window_size": 4}),
    Named("ssim", _LARGE, ssim),
    Named("total_variation", {"pred": _PAIR["pred"]}, total_variation, kinked=True),
    Named("total_variation", {"pred": _images(1, 1, 1, 3)}, total_variation),
]

# ---------------------------------------------------------------- extremes and nothing

_FAR = torch.tensor([1e4, -1e4, 0.0, 60.0])
_WIDE = torch.tensor([[1e4, -1e4], [0.0, 1e4], [-1e4, 0.0]])
_ANSWERS = torch.tensor([[1.0, 1.0], [0.0, 0.5], [0.0, 1.0]])
_NARROW = torch.tensor([[-1e4, 29.0], [30.0, -60.0], [0.0, -1e4]])
_SURE = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
_PLAIN = torch.zeros(1, 1, 12, 12)
_BOARD = (torch.arange(144).reshape(1, 1, 12, 12) % 2).float()

EXTREME: list[tuple[str, dict[str, Any], dict[str, Tensor]]] = [
    *(
        ("gan", {"form": form}, {"real": sign * _FAR, "fake": -sign * _FAR})
        for form in ("bce", "hinge", "lsgan", "wgan")
        for sign in (1, -1)
    ),
    *(
        ("gan", {"form": form, "side": "generator", "generator": kind}, {"fake": _FAR})
        for form in ("bce", "hinge", "lsgan", "wgan")
        for kind in ("non_saturating", "minimax")
    ),
    ("gaussian_kl", {}, {"mu": _WIDE, "logvar": _NARROW}),
    ("gaussian_kl", {}, {"mu": _WIDE, "logvar": -_NARROW}),
    *(
        ("vae", params, {"recon": recon, "target": _ANSWERS, "mu": _WIDE, "logvar": logvar})
        for recon, params in (
            (_WIDE, {}),
            (_SURE, {"recon": "bce"}),
            (_WIDE, {"recon": "mse"}),
            (_WIDE, {"recon": "gaussian"}),
        )
        for logvar in (_NARROW, -_NARROW)
    ),
    *(
        ("ssim", {}, {"pred": pred, "target": target})
        for pred, target in itertools.product((_PLAIN, _BOARD, _PLAIN + 1), repeat=2)
    ),
    ("ssim", {"data_range": 1e4}, {"pred": 1e4 * _BOARD, "target": 1e4 * (1 - _BOARD)}),
    *(("total_variation", {}, {"pred": 1e4 * image}) for image in (_PLAIN, _BOARD, -_BOARD)),
]

_NONE, _NO_IMAGES = torch.empty(0, 2), torch.empty(0, 1, 12, 12)

EMPTY: dict[str, tuple[Any, dict[str, Tensor]]] = {
    **{
        f"gan {form}": (
            {"gan": {"form": form}},
            {"real": torch.empty(0), "fake": torch.empty(0, 1)},
        )
        for form in ("bce", "hinge", "lsgan", "wgan")
    },
    "gan": ({"gan": {"side": "generator"}}, {"fake": torch.empty(0, 1)}),
    "gaussian_kl": ("gaussian_kl", {"mu": _NONE, "logvar": _NONE}),
    "gaussian_kl of the standard": (
        "gaussian_kl",
        {"mu": torch.zeros(2, 3), "logvar": torch.zeros(2, 3)},
    ),
    "vae": ("vae", {"recon": _NONE, "target": _NONE, "mu": _NONE, "logvar": _NONE}),
    "ssim": ("ssim", {"pred": _NO_IMAGES, "target": _NO_IMAGES}),
    "total_variation": ("total_variation", {"pred": _NO_IMAGES}),
    "total_variation of a pixel": ("total_variation", {"pred": torch.ones(2, 1, 1, 1)}),
    "total_variation of one colour": ("total_variation", {"pred": torch.ones(2, 1, 3, 3)}),
}

# ---------------------------------------------------------------- refusals

_M, _V = torch.rand(3, 2), torch.rand(3)
_IMAGE = torch.rand(1, 1, 12, 12)


def _vae(**changed: Tensor) -> dict[str, Tensor]:
    return {"recon": _M, "target": _M, "mu": _M, "logvar": _M, **changed}


SHAPES: list[tuple[Any, dict[str, Tensor], str]] = [
    (
        "gaussian_kl",
        {"mu": _M, "logvar": _V},
        r"logvar must have the shape of mu, \(3, 2\), but got \(3,\)",
    ),
    (
        "gaussian_kl",
        {"mu": torch.tensor(1.0), "logvar": torch.tensor(1.0)},
        r"mu must have at least 1 dimension \(N, …\), but got shape \(\)",
    ),
    ("vae", _vae(target=_M[:, :1]), r"target must have the shape of recon, \(3, 2\), but got"),
    ("vae", _vae(logvar=_M[:1]), r"logvar must have the shape of mu, \(3, 2\), but got \(1, 2\)"),
    (
        "vae",
        _vae(mu=torch.rand(4, 2), logvar=torch.rand(4, 2)),
        "mu must have as many samples as recon, 3, but got 4",
    ),
    (
        "ssim",
        {"pred": _IMAGE, "target": _IMAGE[0]},
        r"target must have the shape of pred, \(1, 1, 12, 12\), but got \(1, 12, 12\)",
    ),
    (
        "ssim",
        {"pred": _IMAGE[0], "target": _IMAGE[0]},
        r"pred must have 4 dimensions \(N, C, H, W\), but got shape \(1, 12, 12\)",
    ),
    (
        {"ssim": {"window_size": 13}},
        {"pred": _IMAGE, "target": _IMAGE},
        r"window_size must be at most the images' \(12, 12\), but got 13",
    ),
    (
        "total_variation",
        {"pred": _IMAGE[0]},
        r"pred must have 4 dimensions \(N, C, H, W\), but got shape \(1, 12, 12\)",
    ),
]

DTYPES: list[tuple[Any, dict[str, Tensor], str]] = [
    ("gan", {"real": _V.long(), "fake": _V}, "real must be floating point, but got torch.int64"),
    ("gan", {"real": _V, "fake": _V.bool()}, "fake must be floating point, but got torch.bool"),
    ("gaussian_kl", {"mu": _M, "logvar": _M.int()}, "logvar must be floating point, but got"),
    ("vae", _vae(target=_M.long()), "target must be floating point, but got torch.int64"),
    ("ssim", {"pred": _IMAGE, "target": _IMAGE.byte()}, "target must be floating point, but got"),
    ("total_variation", {"pred": _IMAGE.byte()}, "pred must be floating point, but got"),
]

NAMES: list[tuple[Any, dict[str, Tensor], str]] = [
    ("gan", {"fake": _V}, "inputs must be real, fake, but found missing real"),
    (
        {"gan": {"side": "generator"}},
        {"real": _V, "fake": _V},
        "inputs must be fake, but found unknown real",
    ),
    ("vae", {"pred": _M, "target": _M, "mu": _M, "logvar": _M}, "missing recon; unknown pred"),
    ("total_variation", {"pred": _IMAGE, "target": _IMAGE}, "unknown target"),
]

VALUES: list[tuple[Any, dict[str, Tensor], str]] = [
    *(
        ({"vae": {"recon": form}}, _vae(target=_M + 1.5), "target must be between 0 and 1, but")
        for form in ("bce_logits", "bce")
    ),
    ({"vae": {"recon": "bce"}}, _vae(recon=-_M - 0.5), "recon must be between 0 and 1, but got -"),
]

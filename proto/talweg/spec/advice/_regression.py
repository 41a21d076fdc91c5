"""Advice on regression."""

from __future__ import annotations

from talweg.spec.advice._conditions import above, at_least, given, is_, num, other_than
from talweg.spec.advice._table import ASKED, NEVER, Note, Row, Table
from talweg.v1 import options_pb2

_MANY_OUTLIERS = 0.1
_MEASURED = (
    "test error on diabetes data with a tenth of the training targets shifted up by 5 to 10 "
    "standard deviations: mse 84, huber and log_cosh 64, mae 48"
)
_OUTLIERS = above("outliers", 0)
_UNEQUAL = other_than("over_cost", 1)
# Losses that learn a middle of the targets and nothing else.
_MIDDLES = ("mse", "huber", "mae", "log_cosh", "charbonnier")
_NUMBERS = ~is_("targets", "counts", "amounts")

REGRESSION = Table(
    task=options_pb2.REGRESSION,
    losses={
        "mse": "mse",
        "huber": "huber",
        "mae": "mae",
        "log_cosh": "log_cosh",
        "charbonnier": "charbonnier",
        "quantile": lambda f: {"quantile": {"q": f["quantiles"][0]}},
        "multi_quantile": lambda f: {
            "multi_quantile": {"quantiles": f.get("quantiles", [0.05, 0.5, 0.95])}
        },
        "cost_quantile": lambda f: {"quantile": {"q": f["cost_quantile"]}},
        "asymmetric_mse": lambda f: {
            "asymmetric_mse": {"over_penalty": f["over_cost"], "under_penalty": 1}
        },
        "gaussian_nll": "gaussian_nll",
        "poisson_nll": "poisson_nll",
        "tweedie": "tweedie",
    },
    rows=(
        Row("mse", 35, "it learns the mean, and is best for Gaussian noise"),
        Row("huber", 30, "it is hardly worse than mse on Gaussian noise, and robust to some "
                         "large errors"),
        Row("mae", 15, "it learns the median"),
        Row("log_cosh", 10, "it is much like huber with delta 1"),
        # Targets that lie far off.
        Row("huber", 40, "{outliers_percent} % of the targets are outliers, and the gradient of "
                         "errors beyond delta is bounded", _OUTLIERS),
        Row("mae", 30, "all errors have the same gradient, so outliers hardly affect "
                       "it", _OUTLIERS),
        Row("mae", 30, "with {outliers_percent} % outliers, their number alone affects huber "
            f"and mse; the median tolerates up to a half ({_MEASURED})",
            at_least("outliers", _MANY_OUTLIERS)),
        Row("log_cosh", 25, "its gradient is bounded far from the target", _OUTLIERS),
        Row("charbonnier", 20, "it is mae, smooth at zero", _OUTLIERS),
        Row("mse", -70, "errors are squared, so a few outliers dominate it",
            _OUTLIERS),
        Row("asymmetric_mse", -50, "errors are squared, so outliers dominate it",
            _OUTLIERS),
        Row("gaussian_nll", -40, "outliers are treated as noise, and widen the error bars near "
                                 "them", _OUTLIERS | given("heavy_tailed")),
        Row("mse", 10, "there are no outliers", given("outliers") & ~_OUTLIERS),
        # Tails.
        Row("huber", 25, "large errors are real: it down-weights them "
                         "without ignoring them", given("heavy_tailed")),
        Row("log_cosh", 20, "it down-weights large errors without "
                            "ignoring them", given("heavy_tailed")),
        Row("mae", 15, "it is the likelihood of heavy-tailed noise (Laplace)",
            given("heavy_tailed")),
        Row("mse", -20, "with heavy tails, the few largest errors dominate each step",
            given("heavy_tailed")),
        # A gradient without jumps.
        Row("log_cosh", 35, "all its derivatives are smooth, and its implementation stays finite "
                            "where the textbook's log(cosh(e)) overflows, from 89.5 in float32 "
                            "and 12 in float16", given("smooth")),
        Row("charbonnier", 25, "its gradient is continuous at 0", given("smooth")),
        Row("mse", 15, "it is smooth everywhere", given("smooth")),
        Row("huber", -10, "its second derivative is discontinuous at delta", given("smooth")),
        Row("mae", -20, "its gradient is discontinuous at 0", given("smooth")),
        # Counts and amounts.
        Row("poisson_nll", 100, "the targets are counts: their "
                                "variance grows with their mean, and "
                                "the model outputs a log rate, so no "
                                "rate is negative", is_("targets", "counts")),
        Row("poisson_nll", 30, "its mean is correct for any targets >= 0, but not its variance",
            is_("targets", "amounts")),
        Row("tweedie", 100, "the targets are zero-inflated and skewed amounts, which is what its "
                            "distribution describes", is_("targets", "amounts")),
        Row("tweedie", 30, "it also suits overdispersed counts",
            is_("targets", "counts")),
        Row("mse", -15, "the largest targets dominate it, and it may predict "
                        "negative values", ~_NUMBERS),
        Row("huber", -25, "on skewed targets it learns neither mean nor median, and may predict "
                          "negative values", ~_NUMBERS),
        Row("poisson_nll", 0, "the rate is as sensitive to outliers as mse", _OUTLIERS),
        Row("tweedie", 0, "the mean is as sensitive to outliers as mse", _OUTLIERS),
        Row("gaussian_nll", -40, "these targets are not Gaussian around their mean", ~_NUMBERS),
        # Noise and intervals.
        Row("gaussian_nll", 80, "it learns each sample's noise, and "
                                "down-weights noisy samples", given("noise_varies")),
        Row("gaussian_nll", 70, "one model predicts mean and error bar", given("error_bars")),
        Row("gaussian_nll", 0, "its value may be negative, which is not an error",
            given("noise_varies") | given("error_bars")),
        Row("multi_quantile", 40, "the quantiles widen where the noise is large",
            given("noise_varies")),
        Row("multi_quantile", 75, "its quantiles form a prediction interval for any noise "
                                  "distribution",
            given("error_bars")),
        *(Row(name, -15, "it has no error bar", given("error_bars")) for name in _MIDDLES),
        # Quantiles and costs.
        Row("quantile", ASKED, "it learns the required quantile", num("quantiles", 1, 1)),
        Row("multi_quantile", ASKED, "it learns all required quantiles in one model",
            num("quantiles", 2)),
        Row("cost_quantile", 90, "if costs are proportional to the error and "
                                 "overprediction costs {over_cost} times as much as "
                                 "underprediction, the cheapest prediction is the "
                                 "quantile 1/(1 + {over_cost})", _UNEQUAL),
        Row("asymmetric_mse", 75, "the same for costs proportional to the squared "
                                  "error", _UNEQUAL),
        Row("mse", -25, "it treats over- and underprediction alike", _UNEQUAL),
        Row("huber", -25, "it treats over- and underprediction alike", _UNEQUAL),
        Row("mae", -10, "it treats over- and underprediction alike", _UNEQUAL),
        # The metric.
        Row("mae", 50, "the mean absolute error is minimal at the median, which it learns",
            is_("metric", "mae")),
        Row("huber", 10, "it is close to mae where errors are large", is_("metric", "mae")),
        Row("mse", 40, "the root mean squared error is minimal at the mean, which it learns",
            is_("metric", "rmse")),
        Row("quantile", NEVER, "", ~num("quantiles", 1, 1)),
        *(Row(name, NEVER, "", num("quantiles", 1)) for name in _MIDDLES),
    ),
    notes=(
        Note("Compare losses by a metric of the task, not by their own values: these have "
             "different units."),
        Note("If errors in the targets can be found, fix them first: a robust loss limits the "
             "damage, but does not undo it.", _OUTLIERS),
        Note("With poisson_nll and tweedie the targets must stay in their original units; this "
             "is a job's default.", ~_NUMBERS),
        Note("huber's delta and smooth_l1's beta are the same only at 1: smooth_l1(beta) is "
             "huber(beta)/beta. Both are in units of the standardised target, where 1 is one "
             "standard deviation.", _OUTLIERS | given("heavy_tailed")),
    ),
)  # fmt: skip
"""Numbers as targets."""

"""Advice on regression."""

from talweg.spec.advice._conditions import above, at_least, given, is_, num, other_than
from talweg.spec.advice._table import ASKED, NEVER, Note, Row, Table
from talweg.v1 import options_pb2

_MANY_OUTLIERS = 0.1
_MEASURED = (
    "test error on diabetes data with a tenth of the training targets moved up by 5 to 10 "
    "standard deviations: mse 84, huber and log_cosh 64, mae 48"
)
_OUTLIERS = above("outliers", 0)
_UNEQUAL = other_than("over_cost", 1)
# Losses that predict only the centre of the targets.
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
        Row("mse", 35, "it predicts the mean, and is the best choice for normal noise"),
        Row("huber", 30, "it is hardly worse than mse on normal noise, and robust to some "
            "large errors"),
        Row("mae", 15, "it predicts the median"),
        Row("log_cosh", 10, "it is similar to huber with delta 1"),
        # Outliers.
        Row("huber", 40, "{outliers_percent} % of the targets are outliers, and beyond delta "
            "the gradient does not grow with the error", _OUTLIERS),
        Row("mae", 30, "all errors have the same gradient, so outliers hardly move it", _OUTLIERS),
        Row("mae", 30, "with {outliers_percent} % outliers even their number biases huber and "
            f"mse; the median tolerates up to a half ({_MEASURED})",
            at_least("outliers", _MANY_OUTLIERS)),
        Row("log_cosh", 25, "its gradient is bounded far from the target", _OUTLIERS),
        Row("charbonnier", 20, "it is mae smoothed around 0", _OUTLIERS),
        Row("mse", -70, "it squares the errors, so a few outliers dominate it",
            _OUTLIERS),
        Row("asymmetric_mse", -50, "it squares the errors, so outliers dominate it",
            _OUTLIERS),
        Row("gaussian_nll", -40, "it treats outliers as noise, which widens the error bars near "
            "them", _OUTLIERS | given("heavy_tailed")),
        Row("mse", 10, "there are no outliers", given("outliers") & ~_OUTLIERS),
        # Heavy tails.
        Row("huber", 25, "large errors belong to the data: it reduces their weight but still "
            "counts them", given("heavy_tailed")),
        Row("log_cosh", 20, "it reduces the weight of large errors but still counts them",
            given("heavy_tailed")),
        Row("mae", 15, "it is the likelihood of heavy-tailed (Laplace) noise",
            given("heavy_tailed")),
        Row("mse", -20, "with heavy tails the few largest errors dominate each gradient",
            given("heavy_tailed")),
        # A smooth gradient.
        Row("log_cosh", 35, "all its derivatives are smooth, and it stays finite where the "
            "textbook log(cosh(e)) overflows, from 89.5 in float32 and 12 in float16",
            given("smooth")),
        Row("charbonnier", 25, "its gradient does not jump at 0", given("smooth")),
        Row("mse", 15, "it is smooth everywhere", given("smooth")),
        Row("huber", -10, "its second derivative jumps at delta", given("smooth")),
        Row("mae", -20, "its gradient jumps at 0", given("smooth")),
        # Counts and amounts.
        Row("poisson_nll", 100, "the targets are counts: their noise grows with their mean, and "
            "the model predicts a logarithm, so no rate is below 0", is_("targets", "counts")),
        Row("poisson_nll", 30, "its mean is correct for any targets >= 0, its noise model is not",
            is_("targets", "amounts")),
        Row("tweedie", 100, "the targets are amounts, often exactly 0 and otherwise skewed, which "
            "its distribution describes", is_("targets", "amounts")),
        Row("tweedie", 30, "it also fits counts that vary more than a Poisson distribution",
            is_("targets", "counts")),
        Row("mse", -15, "the largest targets dominate it, and it may predict less than 0",
            ~_NUMBERS),
        Row("huber", -25, "on skewed targets it predicts neither mean nor median, and it may "
            "predict less than 0", ~_NUMBERS),
        Row("poisson_nll", 0, "like mse, it follows outliers", _OUTLIERS),
        Row("tweedie", 0, "like mse, it follows outliers", _OUTLIERS),
        Row("gaussian_nll", -40, "these targets are not normal around their mean", ~_NUMBERS),
        # Noise and intervals.
        Row("gaussian_nll", 80, "it learns how noisy each sample is, and gives noisy samples less "
            "weight", given("noise_varies")),
        Row("gaussian_nll", 70, "one model predicts mean and error bar", given("error_bars")),
        Row("gaussian_nll", 0, "its value can be negative, which is not a bug",
            given("noise_varies") | given("error_bars")),
        Row("multi_quantile", 40, "its quantiles spread where the noise is large",
            given("noise_varies")),
        Row("multi_quantile", 75, "its quantiles form an interval for any noise distribution",
            given("error_bars")),
        *(Row(name, -15, "it has no error bars", given("error_bars")) for name in _MIDDLES),
        # Quantiles and costs.
        Row("quantile", ASKED, "it predicts the wanted quantile", num("quantiles", 1, 1)),
        Row("multi_quantile", ASKED, "one model predicts all wanted quantiles",
            num("quantiles", 2)),
        Row("cost_quantile", 90, "if costs are linear in the error and overprediction costs "
            "{over_cost} times as much as underprediction, the cheapest prediction is the "
            "quantile 1/(1 + {over_cost})", _UNEQUAL),
        Row("asymmetric_mse", 75, "the same for costs that are quadratic in the error", _UNEQUAL),
        Row("mse", -25, "it treats overprediction and underprediction alike", _UNEQUAL),
        Row("huber", -25, "it treats overprediction and underprediction alike", _UNEQUAL),
        Row("mae", -10, "it treats overprediction and underprediction alike", _UNEQUAL),
        # The metric.
        Row("mae", 50, "the mean absolute error is minimal at the median, which it predicts",
            is_("metric", "mae")),
        Row("huber", 10, "it is close to mae for large errors", is_("metric", "mae")),
        Row("mse", 40, "the root mean squared error is minimal at the mean, which it predicts",
            is_("metric", "rmse")),
        Row("quantile", NEVER, "", ~num("quantiles", 1, 1)),
        *(Row(name, NEVER, "", num("quantiles", 1)) for name in _MIDDLES),
    ),
    notes=(
        Note("Compare losses by a metric of the task, never by their own values, which have "
             "different units."),
        Note("Correct wrong targets first if they can be found: a robust loss only limits the "
             "damage.", _OUTLIERS),
        Note("poisson_nll and tweedie need targets in their own units, without standardisation; "
             "this is the default in jobs.", ~_NUMBERS),
        Note("The delta of huber and the beta of smooth_l1 agree only at 1: smooth_l1(beta) is "
             "huber(beta)/beta. Both are in units of the standardised target, where 1 is one "
             "standard deviation.", _OUTLIERS | given("heavy_tailed")),
    ),
)  # fmt: skip
"""Regression."""

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
        Row("mse", 35, "it learns the mean, and does best where the noise is normal"),
        Row("huber", 30, "it is hardly worse than mse on normal noise, and safe where some "
            "errors are large"),
        Row("mae", 15, "it learns the median"),
        Row("log_cosh", 10, "it is much like huber with delta 1"),
        # Targets that lie far off.
        Row("huber", 40, "{outliers_percent} % of the targets lie far off, and beyond delta an "
            "error pulls no harder however large it is", _OUTLIERS),
        Row("mae", 30, "no error pulls harder than another, so that targets far off hardly move "
            "it", _OUTLIERS),
        Row("mae", 30, "with {outliers_percent} % far off even their number pulls at huber and "
            f"mse; the median stands it up to a half ({_MEASURED})",
            at_least("outliers", _MANY_OUTLIERS)),
        Row("log_cosh", 25, "far from the target its pull is bounded", _OUTLIERS),
        Row("charbonnier", 20, "it is mae with a rounded tip", _OUTLIERS),
        Row("mse", -70, "each error counts by its square, so that few targets far off rule it",
            _OUTLIERS),
        Row("asymmetric_mse", -50, "it squares errors, so that targets far off rule it",
            _OUTLIERS),
        Row("gaussian_nll", -40, "targets far off are taken for noise, and widen every error bar "
            "near them", _OUTLIERS | given("heavy_tailed")),
        Row("mse", 10, "no targets lie far off", given("outliers") & ~_OUTLIERS),
        # Tails.
        Row("huber", 25, "large errors are part of the matter: it damps them and still counts "
            "them", given("heavy_tailed")),
        Row("log_cosh", 20, "it damps large errors and still counts them", given("heavy_tailed")),
        Row("mae", 15, "it is the likelihood of noise with heavy tails (Laplace)",
            given("heavy_tailed")),
        Row("mse", -20, "under heavy tails the few largest errors decide each step",
            given("heavy_tailed")),
        # A gradient without jumps.
        Row("log_cosh", 35, "all its derivatives are smooth, and it is computed so that it stays "
            "finite where the textbook's log(cosh(e)) overflows, from 89.5 in float32 and 12 in "
            "float16", given("smooth")),
        Row("charbonnier", 25, "its gradient does not jump at 0", given("smooth")),
        Row("mse", 15, "it is smooth everywhere", given("smooth")),
        Row("huber", -10, "its second derivative jumps at delta", given("smooth")),
        Row("mae", -20, "its gradient jumps at 0", given("smooth")),
        # Counts and amounts.
        Row("poisson_nll", 100, "the targets are counts: their noise grows with their mean, and "
            "the model gives a logarithm, so that no rate is below 0", is_("targets", "counts")),
        Row("poisson_nll", 30, "its mean is right for any targets >= 0, though not its noise",
            is_("targets", "amounts")),
        Row("tweedie", 100, "the targets are amounts, often exactly 0 and else skewed, which is "
            "what its distribution describes", is_("targets", "amounts")),
        Row("tweedie", 30, "counts that vary more than Poisson's fit it too",
            is_("targets", "counts")),
        Row("mse", -15, "the largest targets rule it, and it may predict less than 0", ~_NUMBERS),
        Row("huber", -25, "on skewed targets it learns neither mean nor median, and may predict "
            "less than 0", ~_NUMBERS),
        Row("poisson_nll", 0, "a rate follows targets far off as mse does", _OUTLIERS),
        Row("tweedie", 0, "a mean follows targets far off as mse does", _OUTLIERS),
        Row("gaussian_nll", -40, "these targets are not normal around their mean", ~_NUMBERS),
        # Noise and intervals.
        Row("gaussian_nll", 80, "it learns how noisy each sample is, and lets noisy ones count "
            "for less", given("noise_varies")),
        Row("gaussian_nll", 70, "one model gives mean and error bar", given("error_bars")),
        Row("gaussian_nll", 0, "its value may well be below 0, which is no mistake",
            given("noise_varies") | given("error_bars")),
        Row("multi_quantile", 40, "quantiles spread where the noise is large",
            given("noise_varies")),
        Row("multi_quantile", 75, "its quantiles are an interval, whatever the noise is like",
            given("error_bars")),
        *(Row(name, -15, "it gives no error bar", given("error_bars")) for name in _MIDDLES),
        # Quantiles and costs.
        Row("quantile", ASKED, "it learns the quantile that is wanted", num("quantiles", 1, 1)),
        Row("multi_quantile", ASKED, "it learns all the quantiles that are wanted in one model",
            num("quantiles", 2)),
        Row("cost_quantile", 90, "where costs grow with the error and too much costs {over_cost} "
            "times as much as too little, the cheapest prediction is the quantile 1/(1 + "
            "{over_cost})", _UNEQUAL),
        Row("asymmetric_mse", 75, "the same where costs grow with the error's square", _UNEQUAL),
        Row("mse", -25, "too much and too little cost it alike", _UNEQUAL),
        Row("huber", -25, "too much and too little cost it alike", _UNEQUAL),
        Row("mae", -10, "too much and too little cost it alike", _UNEQUAL),
        # The metric.
        Row("mae", 50, "the mean absolute error is least at the median, which it learns",
            is_("metric", "mae")),
        Row("huber", 10, "it is close to mae where errors are large", is_("metric", "mae")),
        Row("mse", 40, "the root of the mean squared error is least at the mean, which it learns",
            is_("metric", "rmse")),
        Row("quantile", NEVER, "", ~num("quantiles", 1, 1)),
        *(Row(name, NEVER, "", num("quantiles", 1)) for name in _MIDDLES),
    ),
    notes=(
        Note("Compare losses by a metric of the task, never by their own values: these have "
             "different units."),
        Note("Where mistakes in the targets can be found, mend them first: a robust loss bounds "
             "the damage, and does not undo it.", _OUTLIERS),
        Note("The targets must stay in their own units under poisson_nll and tweedie; a job's "
             "default sees to it.", ~_NUMBERS),
        Note("huber's delta and smooth_l1's beta are the same only at 1: smooth_l1(beta) is "
             "huber(beta)/beta. Both are in units of the standardised target, where 1 is one "
             "standard deviation.", _OUTLIERS | given("heavy_tailed")),
    ),
)  # fmt: skip
"""Numbers as targets."""

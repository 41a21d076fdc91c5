"""The classes of torchmetrics that jobs may name, with their parameters: no torch here.

All take (pred, target) and give one number. What is typed here is what the worker passes on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from talweg.v1.options_pb2 import (
    BINARY,
    MAXIMIZE,
    MINIMIZE,
    MULTICLASS,
    REGRESSION,
    Goal,
    NumberRule,
)
from talweg.v1.plugins_pb2 import PluginDeclaration, PluginParameter

_P = PluginParameter

THRESHOLD = "threshold"
"""The parameter whose default, under task binary, is the task's own threshold."""


@dataclass(frozen=True)
class TorchMetricClass:
    """A class of torchmetrics for one task."""

    goal: Goal.ValueType
    """Whether low or high values are better."""
    declaration: PluginDeclaration
    """Its parameters."""
    needs_spread: bool = False
    """Whether it means nothing where all targets, or all predictions, are equal."""


def _number(name: str, default: str = "", **bounds: float) -> PluginParameter:
    return _declared(_P(name=name, type=_P.NUMBER, bounds=NumberRule(**bounds)), default)


def _integer(name: str, default: str = "", **bounds: float) -> PluginParameter:
    return _declared(_P(name=name, type=_P.INTEGER, bounds=NumberRule(**bounds)), default)


def _flag(name: str, default: str) -> PluginParameter:
    return _declared(_P(name=name, type=_P.BOOLEAN), default)


def _choice(name: str, *choices: str) -> PluginParameter:
    """Declare a parameter whose first choice is the default."""
    return _declared(_P(name=name, type=_P.TEXT, choices=choices), f'"{choices[0]}"')


def _declared(parameter: PluginParameter, default: str) -> PluginParameter:
    if default:
        parameter.default = default
    return parameter


def _class(
    name: str, goal: Goal.ValueType, *parameters: PluginParameter, needs_spread: bool = False
) -> tuple[str, TorchMetricClass]:
    declaration = PluginDeclaration(name=name, parameters=parameters)
    return name, TorchMetricClass(goal, declaration, needs_spread)


_AVERAGE = _choice("average", "macro", "micro", "weighted")
_RANKED_AVERAGE = _choice("average", "macro", "weighted")
_TOP_K = _integer("top_k", "1", ge=1, le=1000)
_CUT = _number(THRESHOLD, ge=0, le=1)
_CUT.default = "null"
_MAX_FPR = _number("max_fpr", "null", gt=0, le=1)
_BETA = _number("beta", gt=0, le=1000)
_BINS = _integer("n_bins", "15", ge=1, le=10000)
_NORM = _choice("norm", "l1", "l2", "max")
_WEIGHTS = _declared(_P(name="weights", type=_P.TEXT, choices=["linear", "quadratic"]), "null")

CLASSES: Final[Mapping[int, Mapping[str, TorchMetricClass]]] = {
    REGRESSION: dict([
        _class("ConcordanceCorrCoef", MAXIMIZE),
        _class("CriticalSuccessIndex", MAXIMIZE, _number(THRESHOLD, ge=-1e30, le=1e30)),
        _class("ExplainedVariance", MAXIMIZE),
        _class("LogCoshError", MINIMIZE),
        _class("MeanAbsolutePercentageError", MINIMIZE),
        _class("MeanSquaredLogError", MINIMIZE),
        _class("MinkowskiDistance", MINIMIZE, _number("p", ge=1, le=20)),
        _class(
            "NormalizedRootMeanSquaredError",
            MINIMIZE,
            _choice("normalization", "mean", "range", "std", "l2"),
        ),
        _class("PearsonCorrCoef", MAXIMIZE, needs_spread=True),
        _class("RelativeSquaredError", MINIMIZE, _flag("squared", "true")),
        _class("SpearmanCorrCoef", MAXIMIZE, needs_spread=True),
        _class("SymmetricMeanAbsolutePercentageError", MINIMIZE),
        _class("TweedieDevianceScore", MINIMIZE, _number("power", "0.0", ge=-10, le=10)),
        _class("WeightedMeanAbsolutePercentageError", MINIMIZE),
    ]),
    BINARY: dict([
        _class("AUROC", MAXIMIZE, _MAX_FPR),
        _class("Accuracy", MAXIMIZE, _CUT),
        _class("CalibrationError", MINIMIZE, _BINS, _NORM),
        _class("CohenKappa", MAXIMIZE, _CUT, _WEIGHTS),
        _class("FBetaScore", MAXIMIZE, _BETA, _CUT),
        _class("HammingDistance", MINIMIZE, _CUT),
        _class("JaccardIndex", MAXIMIZE, _CUT),
        _class("MatthewsCorrCoef", MAXIMIZE, _CUT),
        _class("Precision", MAXIMIZE, _CUT),
        _class("Recall", MAXIMIZE, _CUT),
        _class("Specificity", MAXIMIZE, _CUT),
    ]),
    MULTICLASS: dict([
        _class("AUROC", MAXIMIZE, _RANKED_AVERAGE),
        _class("Accuracy", MAXIMIZE, _AVERAGE, _TOP_K),
        _class("AveragePrecision", MAXIMIZE, _RANKED_AVERAGE),
        _class("CalibrationError", MINIMIZE, _BINS, _NORM),
        _class("CohenKappa", MAXIMIZE, _WEIGHTS),
        _class("FBetaScore", MAXIMIZE, _BETA, _AVERAGE, _TOP_K),
        _class("HammingDistance", MINIMIZE, _AVERAGE, _TOP_K),
        _class("JaccardIndex", MAXIMIZE, _AVERAGE),
        _class("MatthewsCorrCoef", MAXIMIZE),
        _class("Precision", MAXIMIZE, _AVERAGE, _TOP_K),
        _class("Recall", MAXIMIZE, _AVERAGE, _TOP_K),
        _class("Specificity", MAXIMIZE, _AVERAGE, _TOP_K),
    ]),
}  # fmt: skip
"""By task, then by the class's name without the task before it."""

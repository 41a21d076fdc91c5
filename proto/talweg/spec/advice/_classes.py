"""Advice on classes: binary, multiclass, multilabel, ordinal."""

from __future__ import annotations

from talweg.spec.advice._conditions import above, at_least, below, given, is_, other_than
from talweg.spec.advice._table import ASKED, NEVER, Note, Row, Table, Template
from talweg.v1 import options_pb2

# Above this the service warns of a loss without weights.
_TAIL_FROM = 10
_MILD_FROM = 3
_FAR_TAIL_FROM = 100
_MANY_CLASSES = 1000
_NOISY_FROM = 0.05

_TAIL = at_least("imbalance", _TAIL_FROM)
_MILD = at_least("imbalance", _MILD_FROM) & below("imbalance", _TAIL_FROM)
_NOISY = at_least("noisy_labels", _NOISY_FROM)
_SOME_NOISE = above("noisy_labels", 0)
_COSTS = other_than("miss_cost", 1)

# By docs/corrections.md, which says how to measure it anew.
_MEASURED = (
    "macro F1 on long-tailed digits: cross-entropy .792, focal .808, balanced weights .835, logit "
    "adjustment .879"
)
# By tests/benchmarks/advice.py.
_MEASURED_NOISE = (
    "accuracy on digits with 20 and 40 % wrong labels: cross-entropy .946 and .890, smoothing "
    ".952 and .891, focal .941 and .867, generalized_ce .951 and .924, symmetric_ce .956 and .938"
)
_MEASURED_LABELS = (
    "macro F1 on generated data with about 1 of 20 labels per sample, from 600 and 3000 samples: "
    "bce .24 and .48, balanced weights .39 and .34, focal .40 and .49, asymmetric .43 and .45"
)
_TAUGHT_FOCAL = (
    "often recommended for class imbalance, it gained .016 macro F1 over cross-entropy on "
    "long-tailed digits, where balanced weights gained .043"
)
_PROPER = "a proper scoring rule: minimal where the predicted probabilities are the true ones"
_WEIGHTS_SHIFT = "weights shift the probabilities: those of rare classes become too high"
_FOCAL_SHIFTS = "its probabilities are not calibrated: it pulls them towards the middle"
_FOCAL_NOISE = "it focuses on what the model gets wrong, which includes wrong labels"
_EASY = "it is designed for very many easy samples, as in dense detection, and down-weights them"
# Generalised cross-entropy of yes or no, which the catalogue has for classes alone.
_ROBUST: Template = {
    "expression": {
        "formula": "(1 - exp(q * log_sigmoid((2 * target - 1) * pred))) / q",
        "params": {"q": 0.7},
    }
}
_ROBUST_WHY = (
    "generalised cross-entropy as a formula, (1 - p^q)/q of the label's probability p: labels "
    "that the model confidently contradicts have little influence"
)
_BY_VALUE = Note("Compare losses by a metric of the task, not by their own values.")
_THRESHOLD = (
    "Costs change the decision threshold rather than the probabilities: if a false negative "
    "costs {miss_cost} times a false positive and the probabilities are calibrated, predicting "
    "positive is cheaper from 1/(1 + {miss_cost}) on. In a job file: "
)
_BALANCED = Note(
    "{imbalance} to 1 is close to balanced: no weights are needed.",
    below("imbalance", _MILD_FROM),
)
_ACCURACY_BLIND = Note(
    "Evaluate with a metric that weights classes equally, such as F1: at {imbalance} to 1, "
    "always predicting the frequent class is correct {majority_percent} % of the time with two "
    "classes.",
    _TAIL & ~is_("metric", "accuracy"),
)

BINARY = Table(
    task=options_pb2.BINARY,
    losses={
        "bce": "bce_with_logits",
        "balanced": {"bce_with_logits": {"pos_weight": {"balanced": {}}}},
        "costs": lambda f: {"bce_with_logits": {"pos_weight": [f.get("miss_cost", 1)]}},
        "robust": _ROBUST,
        "focal": "focal_binary",
    },
    rows=(
        Row("bce", 50, _PROPER),
        Row("focal", 5, "it down-weights easy samples"),
        Row("balanced", 70, "at {imbalance} to 1 both classes then have the same total "
            f"weight; class weights rather than focal loss ({_MEASURED})", _TAIL),
        Row("balanced", 30, "at {imbalance} to 1 weights help the rarer class a little", _MILD),
        Row("bce", 0, "the rare class may never reach a probability of 0.5: lower the threshold",
            _TAIL),
        Row("focal", 10, _TAUGHT_FOCAL, _TAIL),
        Row("bce", 60, "calibrated probabilities are required", given("calibrated")),
        Row("balanced", -25, _WEIGHTS_SHIFT, given("calibrated")),
        Row("costs", -25, _WEIGHTS_SHIFT, given("calibrated")),
        Row("focal", -40, _FOCAL_SHIFTS, given("calibrated")),
        Row("focal", 70, _EASY, given("easy_samples")),
        Row("robust", 65, _ROBUST_WHY, _NOISY),
        Row("robust", 5, "accuracy on breast cancer data with 20 % flipped labels: bce .929, "
                         "this .947, focal .923", _NOISY),
        Row("robust", 30, _ROBUST_WHY, _SOME_NOISE & ~_NOISY),
        Row("bce", 0, "a wrong label has the larger gradient the more confident the model is of "
                      "the right one",
            _SOME_NOISE),
        Row("focal", -30, _FOCAL_NOISE, _SOME_NOISE),
        Row("costs", 60, "positives are weighted {miss_cost} times as much as negatives, like "
                         "their costs", _COSTS),
        Row("bce", 25, "accuracy is highest with calibrated probabilities",
            is_("metric", "accuracy")),
        Row("balanced", -25, "weights cost accuracy on the majority class",
            is_("metric", "accuracy")),
        Row("balanced", 35, "F1 depends on the rare class", is_("metric", "f1")),
        Row("bce", 25, "AUROC depends only on the ranking of the predictions, which weights "
                       "hardly change", is_("metric", "auroc")),
    ),
    notes=(
        _BY_VALUE,
        _BALANCED,
        _ACCURACY_BLIND,
        Note(_THRESHOLD + "task: {{binary: {{threshold: {miss_threshold}}}}}.", _COSTS),
        Note("Do not use bce on a sigmoid's output: it saturates, and its gradient is 0 exactly "
             "where the model is confident and wrong."),
    ),
)  # fmt: skip
"""Yes or no."""

MULTICLASS = Table(
    task=options_pb2.MULTICLASS,
    losses={
        "ce": "cross_entropy",
        "logit_adjusted": "logit_adjusted",
        "balanced": {"cross_entropy": {"weight": {"balanced": {}}}},
        "effective": {"cross_entropy": {"weight": {"effective_number": {}}}},
        "robust": "generalized_ce",
        "symmetric": "symmetric_ce",
        "ldam": "ldam",
        "focal": "focal",
        "smoothing": {"cross_entropy": {"label_smoothing": 0.1}},
        "poly1": "poly1",
        "arcface": "arcface",
        "cosface": "cosface",
        "distillation": {"distillation": {"temperature": 4}},
        "ctc": "ctc",
    },
    rows=(
        Row("ce", 50, _PROPER),
        Row("smoothing", 12, "it raises accuracy a little"),
        Row("smoothing", 0, "it does not calibrate: on digits it raised accuracy, but the "
                            "calibration error went from .018 to .127"),
        Row("poly1", 8, "one more parameter, which may bring a small gain once it is tuned"),
        # Rare classes.
        Row("logit_adjusted", 80, "at {imbalance} to 1 it minimises the balanced error (the "
            f"mean over classes), and it was the best of four ({_MEASURED})", _TAIL),
        Row("logit_adjusted", 40, "at {imbalance} to 1 it helps the rarer classes a little",
            _MILD),
        Row("balanced", 65, f"all classes have the same total weight ({_MEASURED})", _TAIL),
        Row("balanced", 30, "all classes have the same total weight", _MILD),
        Row("effective", 55, "beyond 100 to 1, weights of 1/n let a few samples dominate; these "
                             "grow more slowly", at_least("imbalance", _FAR_TAIL_FROM)),
        Row("balanced", -20, "at {imbalance} to 1 single "
                             "samples of the rarest "
                             "class have very large "
                             "weights, and steps become "
                             "noisy", at_least("imbalance", _FAR_TAIL_FROM)),
        Row("ldam", 20, "it gives rarer classes a larger margin, against overfitting", _TAIL),
        Row("focal", 15, _TAUGHT_FOCAL, _TAIL),
        Row("ce", 0, "it was the worst of four on long-tailed data, since rare classes hardly "
                     "matter",
            _TAIL),
        Row("ce", 40, "accuracy over all samples is the metric, and there the advantage of "
                      "frequent classes is correct", is_("metric", "accuracy")),
        Row("smoothing", 15, "it optimises accuracy", is_("metric", "accuracy")),
        Row("logit_adjusted", 35, "macro F1 weights rare and frequent classes equally, and so "
                                  "does it", is_("metric", "f1_macro")),
        Row("balanced", 25, "macro F1 weights rare and frequent "
                            "classes equally, and so does it", is_("metric", "f1_macro")),
        # Probabilities.
        Row("ce", 60, "calibrated probabilities are required", given("calibrated")),
        Row("smoothing", -60, "calibrated probabilities are required", given("calibrated")),
        Row("logit_adjusted", -20, "its probabilities assume equally frequent classes",
            given("calibrated")),
        Row("balanced", -25, _WEIGHTS_SHIFT, given("calibrated")),
        Row("effective", -25, _WEIGHTS_SHIFT, given("calibrated")),
        Row("focal", -40, _FOCAL_SHIFTS, given("calibrated")),
        Row("ldam", -40, "its scale makes the probabilities far too "
                         "confident", given("calibrated")),
        Row("arcface", -40, "its scale makes the probabilities far too "
                            "confident", given("calibrated")),
        Row("cosface", -40, "its scale makes the probabilities far too "
                            "confident", given("calibrated")),
        # Wrong labels.
        Row("robust", 65, "about {noise_percent} % of the labels are wrong: those that the model "
                          "confidently contradicts have little influence", _NOISY),
        Row("robust", 35, "some labels are wrong: those that the model confidently contradicts "
                          "have little influence", _SOME_NOISE & ~_NOISY),
        Row("robust", -25, "it is bounded, and not minimal at the true probabilities",
            given("calibrated")),
        Row("symmetric", 25, f"it did best with noisy labels ({_MEASURED_NOISE})", _NOISY),
        Row("symmetric", 45, "its reverse term bounds the influence of wrong labels, and its "
                             "cross-entropy keeps it learning", _SOME_NOISE),
        Row("smoothing", 15, "it keeps the model from becoming confident in wrong "
                             "labels", _SOME_NOISE),
        Row("symmetric", -25, "it is bounded, and not minimal at the true probabilities",
            given("calibrated")),
        Row("focal", -40, _FOCAL_NOISE, _SOME_NOISE),
        Row("ce", 0, "a wrong label has the larger gradient the more confident the model is of "
                     "the right one",
            _SOME_NOISE),
        Row("logit_adjusted", 0, "it trusts every label, most of all wrong ones in rare classes",
            _SOME_NOISE),
        Row("balanced", -10, "wrong labels in rare classes have the largest weights", _SOME_NOISE),
        # What else is wanted or at hand.
        Row("focal", 60, _EASY, given("easy_samples")),
        Row("arcface", 90, "it learns embeddings whose angles separate classes, also for "
                           "comparing samples of new classes", given("embeddings")),
        Row("cosface", 80, "as arcface, with smoother gradients",
            given("embeddings")),
        Row("cosface", 30, "with {num_classes} classes a margin between them keeps neighbours "
            "apart", at_least("num_classes", _MANY_CLASSES)),
        Row("arcface", 25, "as cosface, by angles", at_least("num_classes", _MANY_CLASSES)),
        Row("distillation", ASKED, "a teacher's predictions carry more information than labels: "
                                   "how similar classes are", given("teacher")),
        Row("distillation", 0, "add cross-entropy where there are labels too; tune the "
                               "temperature", given("teacher")),
        Row("ctc", ASKED + 50, "it sums over all alignments of the symbols with the time steps",
            given("unaligned")),
        Row("ce", NEVER, "", given("unaligned")),
    ),
    notes=(
        _BY_VALUE,
        _BALANCED,
        _ACCURACY_BLIND,
        Note("With logit_adjusted, evaluation uses the model's own logits: the class counts of "
             "the training split affect training only.", _TAIL),
        Note("A single alpha in focal scales the whole loss and balances nothing: balancing "
             "needs one per class.", _TAIL | given("easy_samples")),
        Note("Measure calibration (ece) on held-out data; temperature scaling fitted there "
             "improves it and changes no prediction.", given("calibrated")),
    ),
)  # fmt: skip
"""One class of several."""

MULTILABEL = Table(
    task=options_pb2.MULTILABEL,
    losses={
        "bce": "bce_with_logits",
        "balanced": {"bce_with_logits": {"pos_weight": {"balanced": {}}}},
        "asymmetric": "asymmetric_multilabel",
        "robust": _ROBUST,
        "focal": "focal_binary",
    },
    rows=(
        Row("bce", 50, f"each label is an independent binary decision; {_PROPER}"),
        Row("asymmetric", 15, "it down-weights easy negatives, which are frequent with many "
                              "labels"),
        Row("focal", 5, "it down-weights easy samples"),
        Row("asymmetric", 60, "few of many labels are positive: it down-weights negatives more "
                              "than positives, and drops those below 0.05, which helps most with "
                              f"few samples ({_MEASURED_LABELS})", _TAIL),
        Row("focal", 50, "most elements are easy negatives, and it down-weights them", _TAIL),
        Row("balanced", 40, "positives and negatives of each label have the same total "
                            "weight", _TAIL),
        Row("balanced", 0, "at a threshold of 0.5 it predicts positive too often, and was the "
                           "worst with many samples", _TAIL),
        Row("balanced", 30, "positives and negatives of each label have the same total "
                            "weight", _MILD),
        Row("bce", 0, "rare labels may never reach a probability of 0.5: lower the threshold",
            _TAIL),
        Row("bce", 60, "calibrated probabilities are required", given("calibrated")),
        Row("balanced", -25, _WEIGHTS_SHIFT, given("calibrated")),
        Row("asymmetric", -40, "down-weighted negatives make all probabilities too high",
            given("calibrated")),
        Row("focal", -40, _FOCAL_SHIFTS, given("calibrated")),
        Row("asymmetric", 60, "very many negatives are easy, and it discards them",
            given("easy_samples")),
        Row("focal", 40, _EASY, given("easy_samples")),
        Row("robust", 65, _ROBUST_WHY, _NOISY),
        Row("robust", 30, _ROBUST_WHY, _SOME_NOISE & ~_NOISY),
        Row("robust", 5, "macro F1 on generated data with 20 % flipped labels: bce .68, this "
                         ".71, focal .66, asymmetric .59", _NOISY),
        Row("asymmetric", -10, "it trusts every positive label, and did worse than bce on "
                               "randomly flipped labels", _SOME_NOISE),
        Row("focal", -30, _FOCAL_NOISE, _SOME_NOISE),
        Row("bce", 25, "with calibrated probabilities, costs only change the threshold", _COSTS),
    ),
    notes=(
        _BY_VALUE,
        _BALANCED,
        Note(_THRESHOLD + "task: {{multilabel: {{threshold: {miss_threshold}}}}}.", _COSTS),
        Note("Evaluate with f1_macro or map: if few of many labels are positive, predicting none "
             "is mostly correct.", _TAIL),
    ),
)  # fmt: skip
"""Any number of labels."""

ORDINAL = Table(
    task=options_pb2.ORDINAL,
    losses={"coral": "coral", "corn": "corn"},
    rows=(
        Row("coral", 40, "an error of two ranks costs more than an error of one, which "
                         "cross-entropy ignores; every threshold is trained on all samples"),
        Row("corn", 35, "it also uses the order, and its rank probabilities are consistent "
                        "without shared weights"),
        Row("coral", 20, "for rare ranks corn has few samples per threshold, and coral uses all "
                         "for each", _TAIL),
        Row("corn", -5, "the threshold of a rare high rank is trained only on the few samples "
                        "that reach it", _TAIL),
        Row("corn", 25, "it multiplies conditional probabilities, which gives a distribution "
            "over the ranks", given("calibrated")),
        Row("coral", 0, "its probabilities are rank-consistent only if the last layer shares its "
                        "weights", given("calibrated")),
    ),
    notes=(
        Note("Evaluate with the mean absolute error of the rank: accuracy treats near and far "
             "misses alike."),
    ),
)  # fmt: skip
"""Classes with an order."""

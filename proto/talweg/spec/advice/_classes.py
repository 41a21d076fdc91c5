"""Advice on classification: binary, multiclass, multilabel, ordinal."""

from talweg.spec.advice._conditions import above, at_least, below, given, is_, other_than
from talweg.spec.advice._table import ASKED, NEVER, Note, Row, Table, Template
from talweg.v1 import options_pb2

# From this imbalance on, the service warns about a loss without weights.
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

# From docs/corrections.md, which says how to reproduce it.
_MEASURED = (
    "macro F1 on long-tailed digits: cross-entropy .792, focal .808, balanced weights .835, logit "
    "adjustment .879"
)
# From tests/benchmarks/advice.py.
_MEASURED_NOISE = (
    "accuracy on digits with 20 and 40 % wrong labels: cross-entropy .946 and .890, "
    "smoothing .952 and .891, focal .941 and .867, generalized_ce .951 and .924, symmetric_ce "
    ".956 and .938"
)
_MEASURED_LABELS = (
    "macro F1 on generated data with about 1 of 20 labels per sample, from 600 and 3000 samples: "
    "bce .24 and .48, balanced weights .39 and .34, focal .40 and .49, asymmetric .43 and .45"
)
_TAUGHT_FOCAL = (
    "often taught as the remedy for class imbalance, it gained .016 of macro F1 over "
    "cross-entropy on long-tailed digits, where balanced weights gained .043"
)
_PROPER = (
    "a proper scoring rule: it is minimal where the predicted probabilities are the true ones"
)
_WEIGHTS_SHIFT = "weights shift the probabilities: those of rare classes become too high"
_FOCAL_SHIFTS = "its probabilities are not calibrated: it pulls them towards the middle"
_FOCAL_NOISE = "it gives the largest weight to wrong predictions, and so to wrong labels"
_EASY = "it is made for very many easy samples, as in dense object detection: it down-weights them"
# Generalised cross-entropy for binary labels, which the catalogue has for classes only.
_ROBUST: Template = {
    "expression": {
        "formula": "(1 - exp(q * log_sigmoid((2 * target - 1) * pred))) / q",
        "params": {"q": 0.7},
    }
}
_ROBUST_WHY = (
    "generalised cross-entropy as a formula, (1 - p^q)/q of the probability p of the label: a "
    "label that the model firmly contradicts has almost no gradient"
)
_BY_VALUE = Note("Compare losses by a metric of the task, never by their own values.")
_THRESHOLD = (
    "Costs change the threshold, not the probabilities: if a miss costs {miss_cost} times a false "
    "alarm and the probabilities are calibrated, predict positive from 1/(1 + {miss_cost}) on. In "
    "a job file: "
)
_BALANCED = Note(
    "{imbalance} to 1 is near enough to balanced: no weights are needed.",
    below("imbalance", _MILD_FROM),
)
_ACCURACY_BLIND = Note(
    "Use a metric that counts all classes equally, such as F1: at {imbalance} to 1 between two "
    "classes, always predicting the frequent one has an accuracy of {majority_percent} %.",
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
        Row("balanced", 70, "at {imbalance} to 1 it gives both classes the same total weight; "
            f"weights before focal loss ({_MEASURED})", _TAIL),
        Row("balanced", 30, "at {imbalance} to 1 weights help the rarer class a little", _MILD),
        Row("bce", 0, "the rare class may never reach a probability of 0.5: lower the threshold",
            _TAIL),
        Row("focal", 10, _TAUGHT_FOCAL, _TAIL),
        Row("bce", 60, "calibrated probabilities are wanted", given("calibrated")),
        Row("balanced", -25, _WEIGHTS_SHIFT, given("calibrated")),
        Row("costs", -25, _WEIGHTS_SHIFT, given("calibrated")),
        Row("focal", -40, _FOCAL_SHIFTS, given("calibrated")),
        Row("focal", 70, _EASY, given("easy_samples")),
        Row("robust", 65, _ROBUST_WHY, _NOISY),
        Row("robust", 5, "accuracy on breast cancer data with 20 % of the labels flipped: "
            "bce .929, this .947, focal .923", _NOISY),
        Row("robust", 30, _ROBUST_WHY, _SOME_NOISE & ~_NOISY),
        Row("bce", 0, "the gradient of a wrong label grows with the confidence in the true class",
            _SOME_NOISE),
        Row("focal", -30, _FOCAL_NOISE, _SOME_NOISE),
        Row("costs", 60, "each positive has {miss_cost} times the weight of a negative, in line "
            "with their costs", _COSTS),
        Row("bce", 25, "accuracy is highest where the probabilities are calibrated",
            is_("metric", "accuracy")),
        Row("balanced", -25, "weights cost accuracy on the frequent class",
            is_("metric", "accuracy")),
        Row("balanced", 35, "F1 measures the rare class", is_("metric", "f1")),
        Row("bce", 25, "AUROC depends only on the order of the predictions, which weights "
            "hardly change", is_("metric", "auroc")),
    ),
    notes=(
        _BY_VALUE,
        _BALANCED,
        _ACCURACY_BLIND,
        Note(_THRESHOLD + "task: {{binary: {{threshold: {miss_threshold}}}}}.", _COSTS),
        Note("Do not use bce on the output of a sigmoid: it saturates, and its gradient is 0 "
             "exactly where the model is confident and wrong."),
    ),
)  # fmt: skip
"""Binary classification."""

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
        Row("smoothing", 0, "it does not calibrate: on digits it raised accuracy and worsened "
            "the calibration error from .018 to .127"),
        Row("poly1", 8, "one more hyperparameter, which may bring a small gain once it is tuned"),
        # Rare classes.
        Row("logit_adjusted", 80, "at {imbalance} to 1 it minimises the error averaged over "
            "classes, "
            f"and it was the best of four ({_MEASURED})", _TAIL),
        Row("logit_adjusted", 40, "at {imbalance} to 1 it helps the rarer classes a little",
            _MILD),
        Row("balanced", 65, f"every class has the same total weight ({_MEASURED})", _TAIL),
        Row("balanced", 30, "every class has the same total weight", _MILD),
        Row("effective", 55, "beyond 100 to 1 weights of 1/n let a few samples dominate; these "
            "weights grow more slowly", at_least("imbalance", _FAR_TAIL_FROM)),
        Row("balanced", -20, "at {imbalance} to 1 single samples of the rarest class have very "
            "large weights, and gradients become noisy", at_least("imbalance", _FAR_TAIL_FROM)),
        Row("ldam", 20, "it gives rarer classes a wider margin, which reduces overfitting", _TAIL),
        Row("focal", 15, _TAUGHT_FOCAL, _TAIL),
        Row("ce", 0, "it was the worst of four on a long tail, since rare classes hardly count",
            _TAIL),
        Row("ce", 40, "accuracy over all samples is the metric, and there the preference "
            "for frequent classes is correct", is_("metric", "accuracy")),
        Row("smoothing", 15, "it raises accuracy", is_("metric", "accuracy")),
        Row("logit_adjusted", 35, "macro F1 counts rare classes as much as frequent ones, and so "
            "does it", is_("metric", "f1_macro")),
        Row("balanced", 25, "macro F1 counts rare classes as much as frequent ones, and so does "
            "it", is_("metric", "f1_macro")),
        # Probabilities.
        Row("ce", 60, "calibrated probabilities are wanted", given("calibrated")),
        Row("smoothing", -60, "calibrated probabilities are wanted", given("calibrated")),
        Row("logit_adjusted", -20, "its probabilities are those for equally frequent classes",
            given("calibrated")),
        Row("balanced", -25, _WEIGHTS_SHIFT, given("calibrated")),
        Row("effective", -25, _WEIGHTS_SHIFT, given("calibrated")),
        Row("focal", -40, _FOCAL_SHIFTS, given("calibrated")),
        Row("ldam", -40, "its scale makes the probabilities far too confident",
            given("calibrated")),
        Row("arcface", -40, "its scale makes the probabilities far too confident",
            given("calibrated")),
        Row("cosface", -40, "its scale makes the probabilities far too confident",
            given("calibrated")),
        # Wrong labels.
        Row("robust", 65, "about {noise_percent} % of the labels are wrong: one that the model "
            "firmly contradicts has almost no gradient", _NOISY),
        Row("robust", 35, "some labels are wrong: one that the model firmly contradicts has "
            "almost no gradient", _SOME_NOISE & ~_NOISY),
        Row("robust", -25, "it is bounded, so its minimum is not at the true probabilities",
            given("calibrated")),
        Row("symmetric", 25, f"it was the best on wrong labels ({_MEASURED_NOISE})", _NOISY),
        Row("symmetric", 45, "its reverse term bounds the gradient of wrong labels, and its "
            "cross-entropy keeps it learning", _SOME_NOISE),
        Row("smoothing", 15, "it keeps the model from becoming confident in wrong labels",
            _SOME_NOISE),
        Row("symmetric", -25, "it is bounded, so its minimum is not at the true probabilities",
            given("calibrated")),
        Row("focal", -40, _FOCAL_NOISE, _SOME_NOISE),
        Row("ce", 0, "the gradient of a wrong label grows with the confidence in the true class",
            _SOME_NOISE),
        Row("logit_adjusted", 0, "it trusts every label, wrong ones in rare classes most",
            _SOME_NOISE),
        Row("balanced", -10, "wrong labels in rare classes have the largest weight", _SOME_NOISE),
        # Other wishes and data.
        Row("focal", 60, _EASY, given("easy_samples")),
        Row("arcface", 90, "it learns embeddings whose angles separate the classes, which also "
            "compare samples of new classes", given("embeddings")),
        Row("cosface", 80, "like arcface, with gradients that are easier to optimise",
            given("embeddings")),
        Row("cosface", 30, "with {num_classes} classes a margin separates neighbouring ones",
            at_least("num_classes", _MANY_CLASSES)),
        Row("arcface", 25, "like cosface, with the margin on the angle",
            at_least("num_classes", _MANY_CLASSES)),
        Row("distillation", ASKED, "the predictions of a teacher contain more than labels: how "
            "similar classes are", given("teacher")),
        Row("distillation", 0, "add cross-entropy if there are labels too; the temperature needs "
            "tuning", given("teacher")),
        Row("ctc", ASKED + 50, "it sums over all alignments of the symbols to the input",
            given("unaligned")),
        Row("ce", NEVER, "", given("unaligned")),
    ),
    notes=(
        _BY_VALUE,
        _BALANCED,
        _ACCURACY_BLIND,
        Note("logit_adjusted uses the class counts of the training split only in training; "
             "evaluation uses the unadjusted logits.", _TAIL),
        Note("A single alpha in focal only scales the whole loss; balancing needs one per "
             "class.", _TAIL | given("easy_samples")),
        Note("Measure calibration (ece) on held-out data; temperature scaling fitted there "
             "corrects much of it and changes no prediction.", given("calibrated")),
    ),
)  # fmt: skip
"""Multiclass classification."""

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
        Row("bce", 50, f"each label is a binary classification of its own; {_PROPER}"),
        Row("asymmetric", 15, "it down-weights easy negatives, which are frequent with many "
            "labels"),
        Row("focal", 5, "it down-weights easy samples"),
        Row("asymmetric", 60, "few of many labels are positive: it down-weights negatives more "
            "than positives and drops those below 0.05, which helps most with few samples "
            f"({_MEASURED_LABELS})", _TAIL),
        Row("focal", 50, "most labels are easy negatives, and it down-weights them", _TAIL),
        Row("balanced", 40, "positives and negatives of each label have the same total weight",
            _TAIL),
        Row("balanced", 0, "at a threshold of 0.5 it predicts positive too often, and it was the "
            "worst with many samples", _TAIL),
        Row("balanced", 30, "positives and negatives of each label have the same total weight",
            _MILD),
        Row("bce", 0, "rare labels may never reach a probability of 0.5: lower the threshold",
            _TAIL),
        Row("bce", 60, "calibrated probabilities are wanted", given("calibrated")),
        Row("balanced", -25, _WEIGHTS_SHIFT, given("calibrated")),
        Row("asymmetric", -40, "down-weighted negatives make all probabilities too high",
            given("calibrated")),
        Row("focal", -40, _FOCAL_SHIFTS, given("calibrated")),
        Row("asymmetric", 60, "very many negatives are easy, and it drops them",
            given("easy_samples")),
        Row("focal", 40, _EASY, given("easy_samples")),
        Row("robust", 65, _ROBUST_WHY, _NOISY),
        Row("robust", 30, _ROBUST_WHY, _SOME_NOISE & ~_NOISY),
        Row("robust", 5, "macro F1 on generated data with 20 % of the labels flipped: bce "
            ".68, this .71, focal .66, asymmetric .59", _NOISY),
        Row("asymmetric", -10, "it trusts every positive, and was worse than bce on randomly "
            "flipped labels", _SOME_NOISE),
        Row("focal", -30, _FOCAL_NOISE, _SOME_NOISE),
        Row("bce", 25, "with calibrated probabilities, costs are a matter of the threshold",
            _COSTS),
    ),
    notes=(
        _BY_VALUE,
        _BALANCED,
        Note(_THRESHOLD + "task: {{multilabel: {{threshold: {miss_threshold}}}}}.", _COSTS),
        Note("Use f1_macro or map: where few of many labels are positive, predicting none has "
             "a high accuracy.", _TAIL),
    ),
)  # fmt: skip
"""Multilabel classification."""

ORDINAL = Table(
    task=options_pb2.ORDINAL,
    losses={"coral": "coral", "corn": "corn"},
    rows=(
        Row("coral", 40, "an error of two ranks costs more than one of one rank, unlike in "
            "cross-entropy; every threshold is trained on all samples"),
        Row("corn", 35, "it uses the order too, and its rank probabilities are consistent "
            "without shared weights"),
        Row("coral", 20, "with rare ranks corn has few samples for their thresholds; coral uses "
            "all samples for each", _TAIL),
        Row("corn", -5, "the threshold of a rare high rank is trained only on the few samples "
            "that reach it", _TAIL),
        Row("corn", 25, "it multiplies conditional probabilities, which gives a distribution "
            "over the ranks", given("calibrated")),
        Row("coral", 0, "its probabilities decrease from rank to rank only if the last layer "
            "shares its weights", given("calibrated")),
    ),
    notes=(
        Note("Use the mean absolute error of the rank: accuracy counts a near miss like a far "
             "one."),
    ),
)  # fmt: skip
"""Ordinal regression."""

"""Advice on classes: binary, multiclass, multilabel, ordinal."""

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
    "accuracy on digits with 20 and 40 % of the labels wrong: cross-entropy .946 and .890, "
    "smoothing .952 and .891, focal .941 and .867, generalized_ce .951 and .924, symmetric_ce "
    ".956 and .938"
)
_MEASURED_LABELS = (
    "macro F1 on generated data with about 1 of 20 labels a sample, from 600 and 3000 samples: "
    "bce .24 and .48, balanced weights .39 and .34, focal .40 and .49, asymmetric .43 and .45"
)
_TAUGHT_FOCAL = (
    "often taught as the answer to imbalance, it gained .016 of macro F1 over cross-entropy on "
    "long-tailed digits, where balanced weights gained .043"
)
_PROPER = "a proper scoring rule: it is least where the predicted probabilities are the true ones"
_WEIGHTS_SHIFT = "weights shift the probabilities: those of rare answers come out too high"
_FOCAL_SHIFTS = "its probabilities are not those of the data: it pulls them towards the middle"
_FOCAL_NOISE = "what it counts most is what the model gets wrong, which wrong labels are"
_EASY = "very many easy samples is what it was made for, as in dense detection: it damps them"
# Generalised cross-entropy of yes or no, which the catalogue has for classes alone.
_ROBUST: Template = {
    "expression": {
        "formula": "(1 - exp(q * log_sigmoid((2 * target - 1) * pred))) / q",
        "params": {"q": 0.7},
    }
}
_ROBUST_WHY = (
    "generalised cross-entropy as a formula, (1 - p^q)/q of the label's probability p: a label "
    "that the model firmly contradicts hardly pulls"
)
_BY_VALUE = Note("Compare losses by a metric of the task, never by their own values.")
_THRESHOLD = (
    "Costs move the threshold rather than the probabilities: where a miss costs {miss_cost} times "
    "a false alarm and the probabilities are right, yes is cheaper from 1/(1 + {miss_cost}) on. "
    "In a job file: "
)
_BALANCED = Note(
    "{imbalance} to 1 is near enough to balanced: no weights are needed.",
    below("imbalance", _MILD_FROM),
)
_ACCURACY_BLIND = Note(
    "Judge by a metric that counts classes alike, such as F1: with {imbalance} to 1, always "
    "giving the frequent answer is right {majority_percent} % of the time where there are two.",
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
        Row("focal", 5, "it lets easy samples count for less"),
        Row("balanced", 70, "at {imbalance} to 1 both answers then weigh alike in sum; weights "
            f"before focal loss ({_MEASURED})", _TAIL),
        Row("balanced", 30, "at {imbalance} to 1 weights help the rarer answer a little", _MILD),
        Row("bce", 0, "the rare answer may never reach a probability of 0.5: lower the threshold",
            _TAIL),
        Row("focal", 10, _TAUGHT_FOCAL, _TAIL),
        Row("bce", 60, "calibrated probabilities are wanted", given("calibrated")),
        Row("balanced", -25, _WEIGHTS_SHIFT, given("calibrated")),
        Row("costs", -25, _WEIGHTS_SHIFT, given("calibrated")),
        Row("focal", -40, _FOCAL_SHIFTS, given("calibrated")),
        Row("focal", 70, _EASY, given("easy_samples")),
        Row("robust", 65, _ROBUST_WHY, _NOISY),
        Row("robust", 5, "accuracy on breast cancer data with 20 % of the answers turned round: "
            "bce .929, this .947, focal .923", _NOISY),
        Row("robust", 30, _ROBUST_WHY, _SOME_NOISE & ~_NOISY),
        Row("bce", 0, "a wrong label pulls the harder the surer the model is of the right one",
            _SOME_NOISE),
        Row("focal", -30, _FOCAL_NOISE, _SOME_NOISE),
        Row("costs", 60, "each yes weighs {miss_cost} times as much as each no, as their costs "
            "do", _COSTS),
        Row("bce", 25, "the share of right answers is highest where the probabilities are right",
            is_("metric", "accuracy")),
        Row("balanced", -25, "weights give right answers away where most samples are",
            is_("metric", "accuracy")),
        Row("balanced", 35, "F1 asks for the rare answer", is_("metric", "f1")),
        Row("bce", 25, "AUROC goes by the order of the answers alone, which weights hardly "
            "change", is_("metric", "auroc")),
    ),
    notes=(
        _BY_VALUE,
        _BALANCED,
        _ACCURACY_BLIND,
        Note(_THRESHOLD + "task: {{binary: {{threshold: {miss_threshold}}}}}.", _COSTS),
        Note("Take no bce on a sigmoid's output: it saturates, and its gradient is 0 exactly "
             "where the model is sure and wrong."),
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
        Row("smoothing", 0, "it does not calibrate: on digits it raised accuracy and worsened "
            "the calibration error from .018 to .127"),
        Row("poly1", 8, "one more parameter, which may bring a small gain once it is tuned"),
        # Rare classes.
        Row("logit_adjusted", 80, "at {imbalance} to 1 it is what minimises the error averaged "
            "over "
            f"classes, and it was the best of four ({_MEASURED})", _TAIL),
        Row("logit_adjusted", 40, "at {imbalance} to 1 it helps the rarer classes a little",
            _MILD),
        Row("balanced", 65, f"every class weighs alike in sum ({_MEASURED})", _TAIL),
        Row("balanced", 30, "every class weighs alike in sum", _MILD),
        Row("effective", 55, "beyond 100 to 1 weights by 1/n let a few samples rule; these grow "
            "more slowly", at_least("imbalance", _FAR_TAIL_FROM)),
        Row("balanced", -20, "at {imbalance} to 1 single samples of the rarest class weigh very "
            "much, and steps become noisy", at_least("imbalance", _FAR_TAIL_FROM)),
        Row("ldam", 20, "it gives rarer classes a wider margin, against overfitting them", _TAIL),
        Row("focal", 15, _TAUGHT_FOCAL, _TAIL),
        Row("ce", 0, "it was the last of four under a long tail, since rare classes hardly count",
            _TAIL),
        Row("ce", 40, "the share of right answers over all samples is wanted, and there the "
            "frequent classes' lead is right", is_("metric", "accuracy")),
        Row("smoothing", 15, "accuracy is what it raises", is_("metric", "accuracy")),
        Row("logit_adjusted", 35, "F1 over the classes counts rare ones as much as frequent "
            "ones, and so does it", is_("metric", "f1_macro")),
        Row("balanced", 25, "F1 over the classes counts rare ones as much as frequent ones, and "
            "so does it", is_("metric", "f1_macro")),
        # Probabilities.
        Row("ce", 60, "calibrated probabilities are wanted", given("calibrated")),
        Row("smoothing", -60, "calibrated probabilities are wanted", given("calibrated")),
        Row("logit_adjusted", -20, "its probabilities are those of equally frequent classes",
            given("calibrated")),
        Row("balanced", -25, _WEIGHTS_SHIFT, given("calibrated")),
        Row("effective", -25, _WEIGHTS_SHIFT, given("calibrated")),
        Row("focal", -40, _FOCAL_SHIFTS, given("calibrated")),
        Row("ldam", -40, "its scale makes the probabilities far too sure", given("calibrated")),
        Row("arcface", -40, "its scale makes the probabilities far too sure", given("calibrated")),
        Row("cosface", -40, "its scale makes the probabilities far too sure", given("calibrated")),
        # Wrong labels.
        Row("robust", 65, "about {noise_percent} % of the labels are wrong: one that the model "
            "firmly contradicts hardly pulls", _NOISY),
        Row("robust", 35, "some labels are wrong: one that the model firmly contradicts hardly "
            "pulls", _SOME_NOISE & ~_NOISY),
        Row("robust", -25, "bounded, it is least away from the true probabilities",
            given("calibrated")),
        Row("symmetric", 25, f"it did best where labels were wrong ({_MEASURED_NOISE})", _NOISY),
        Row("symmetric", 45, "its reverse half bounds the pull of wrong labels, and its "
            "cross-entropy keeps it learning", _SOME_NOISE),
        Row("smoothing", 15, "it keeps the model from being sure of wrong labels", _SOME_NOISE),
        Row("symmetric", -25, "bounded, it is least away from the true probabilities",
            given("calibrated")),
        Row("focal", -40, _FOCAL_NOISE, _SOME_NOISE),
        Row("ce", 0, "a wrong label pulls the harder the surer the model is of the right one",
            _SOME_NOISE),
        Row("logit_adjusted", 0, "it trusts every label, and a wrong one in a rare class most",
            _SOME_NOISE),
        Row("balanced", -10, "a wrong label in a rare class weighs most", _SOME_NOISE),
        # What else is wanted or at hand.
        Row("focal", 60, _EASY, given("easy_samples")),
        Row("arcface", 90, "it learns vectors whose angles tell classes apart, for comparing "
            "samples of new classes too", given("embeddings")),
        Row("cosface", 80, "as arcface, with gradients that are easier to follow",
            given("embeddings")),
        Row("cosface", 30, "with {num_classes} classes a margin between them keeps neighbours "
            "apart", at_least("num_classes", _MANY_CLASSES)),
        Row("arcface", 25, "as cosface, by angles", at_least("num_classes", _MANY_CLASSES)),
        Row("distillation", ASKED, "a teacher's answers say more than labels: how alike classes "
            "are", given("teacher")),
        Row("distillation", 0, "add cross-entropy where there are labels too; the temperature "
            "needs trying out", given("teacher")),
        Row("ctc", ASKED + 50, "it sums over all the times at which each symbol may stand",
            given("unaligned")),
        Row("ce", NEVER, "", given("unaligned")),
    ),
    notes=(
        _BY_VALUE,
        _BALANCED,
        _ACCURACY_BLIND,
        Note("Under logit_adjusted the model's own logits are used in evaluation: the class "
             "counts of the training split enter in training alone.", _TAIL),
        Note("A single alpha in focal scales the whole loss and balances nothing: balancing "
             "needs one a class.", _TAIL | given("easy_samples")),
        Note("Measure calibration (ece) on data kept apart; a temperature fitted there mends "
             "much and changes no answer.", given("calibrated")),
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
        Row("bce", 50, f"each label is a yes or no of its own; {_PROPER}"),
        Row("asymmetric", 15, "it lets easy negatives, of which many labels bring many, count "
            "for less"),
        Row("focal", 5, "it lets easy samples count for less"),
        Row("asymmetric", 60, "few labels of many hold: it damps the negatives more than the "
            "positives, and drops those below 0.05, which helps most where samples are few "
            f"({_MEASURED_LABELS})", _TAIL),
        Row("focal", 50, "easy negatives are most of what there is, and it damps them", _TAIL),
        Row("balanced", 40, "each label's yes weighs as much as its no, in sum", _TAIL),
        Row("balanced", 0, "at a threshold of 0.5 it says yes too often, and came last where "
            "samples were many", _TAIL),
        Row("balanced", 30, "each label's yes weighs as much as its no, in sum", _MILD),
        Row("bce", 0, "rare labels may never reach a probability of 0.5: lower the threshold",
            _TAIL),
        Row("bce", 60, "calibrated probabilities are wanted", given("calibrated")),
        Row("balanced", -25, _WEIGHTS_SHIFT, given("calibrated")),
        Row("asymmetric", -40, "damped negatives make all probabilities too high",
            given("calibrated")),
        Row("focal", -40, _FOCAL_SHIFTS, given("calibrated")),
        Row("asymmetric", 60, "very many negatives are easy, and it drops them",
            given("easy_samples")),
        Row("focal", 40, _EASY, given("easy_samples")),
        Row("robust", 65, _ROBUST_WHY, _NOISY),
        Row("robust", 30, _ROBUST_WHY, _SOME_NOISE & ~_NOISY),
        Row("robust", 5, "macro F1 on generated data with 20 % of the answers turned round: bce "
            ".68, this .71, focal .66, asymmetric .59", _NOISY),
        Row("asymmetric", -10, "it believes each yes, and did worse than bce on labels turned "
            "round at random", _SOME_NOISE),
        Row("focal", -30, _FOCAL_NOISE, _SOME_NOISE),
        Row("bce", 25, "with right probabilities, costs are a matter of the threshold", _COSTS),
    ),
    notes=(
        _BY_VALUE,
        _BALANCED,
        Note(_THRESHOLD + "task: {{multilabel: {{threshold: {miss_threshold}}}}}.", _COSTS),
        Note("Judge by f1_macro or map: where few labels of many hold, answering no throughout "
             "is mostly right.", _TAIL),
    ),
)  # fmt: skip
"""Any number of labels."""

ORDINAL = Table(
    task=options_pb2.ORDINAL,
    losses={"coral": "coral", "corn": "corn"},
    rows=(
        Row("coral", 40, "an error by two ranks costs more than one by one, which classes' "
            "cross-entropy does not know; every threshold is judged on all samples"),
        Row("corn", 35, "it knows the order too, and its probabilities of ranks always fall, "
            "without shared weights"),
        Row("coral", 20, "rare ranks leave corn few samples for their thresholds, and coral uses "
            "all for each", _TAIL),
        Row("corn", -5, "a rare high rank's threshold is judged on the few samples that come so "
            "far", _TAIL),
        Row("corn", 25, "it multiplies conditional probabilities, which gives a distribution "
            "over the ranks", given("calibrated")),
        Row("coral", 0, "its probabilities fall from rank to rank only where the last layer "
            "shares its weights", given("calibrated")),
    ),
    notes=(
        Note("Judge by the mean absolute error of the rank: accuracy takes a near miss for as "
             "bad as a far one."),
    ),
)  # fmt: skip
"""Classes with an order."""

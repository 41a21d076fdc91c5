"""What is allowed and probably not meant."""

from collections.abc import Iterator

from talweg.spec.errors import number_text
from talweg.spec.rules.loss import has_class_weights, reduction_name, weight_fields
from talweg.spec.semantics.context import SpecContext
from talweg.spec.semantics.facts import chosen, optimizer_facts
from talweg.spec.semantics.outputs import last_layer
from talweg.v1 import options_pb2
from talweg.v1.jobs_pb2 import Warning

_MAX_IMBALANCE = 10


def warnings_of(case: SpecContext) -> Iterator[Warning]:
    """Give the warnings that the spec alone brings."""
    yield from _probabilities(case)
    yield from _seldom_right(case)
    yield from _targets(case)
    yield from _learning_rate(case)
    yield from _reduction(case)
    yield from _imbalance(case)
    yield from _balanced_twice(case)
    yield from _batch(case)
    yield from _skips(case)
    yield from _unused_split(case)


def _probabilities(case: SpecContext) -> Iterator[Warning]:
    if case.task == options_pb2.REGRESSION:
        return
    last = last_layer(case.spec)
    for leaf in case.fitting:
        takes_logits = leaf.facts.activation != options_pb2.SIGMOID
        if last is not None and takes_logits:
            index, name = last
            yield Warning(
                kind=Warning.PROBABILITIES_INTO_LOGITS_LOSS,
                field=f"model.sequential.layers[{index}].{name}",
                message=f"the model ends in {name} and outputs probabilities, but {leaf.name} "
                f"takes logits: training is slow and may stall; leave the {name} layer out",
            )
        if last is None and not takes_logits:
            better = leaf.facts.prefer
            yield Warning(
                kind=Warning.LOGITS_INTO_PROBABILITY_LOSS,
                field=leaf.path,
                message=f"the model outputs logits, but {leaf.name} takes probabilities: a "
                "sigmoid is applied, whose gradient vanishes where the model is confidently wrong"
                + (f"; use {better}" if better else ""),
            )


def _seldom_right(case: SpecContext) -> Iterator[Warning]:
    for leaf in case.leaves:
        if leaf.facts.prefer:
            yield Warning(
                kind=Warning.LOSS_SELDOM_RIGHT,
                field=leaf.path,
                message=f"{leaf.name} is rarely the right loss: "
                f"{leaf.facts.prefer} is better in nearly every case",
            )


def _targets(case: SpecContext) -> Iterator[Warning]:
    preprocessing = case.spec.preprocessing
    if case.task != options_pb2.REGRESSION or preprocessing.standardise_targets:
        return
    if not preprocessing.HasField("standardise_targets"):
        return
    if any(leaf.facts.raw_targets for leaf in case.leaves):
        return
    yield Warning(
        kind=Warning.TARGETS_NOT_STANDARDISED,
        field="preprocessing.standardise_targets",
        message="the targets are not standardised: learning rate and the loss's parameters then "
        "depend on their units. Metrics are in the target's own units either way; leave it out",
    )


def _learning_rate(case: SpecContext) -> Iterator[Warning]:
    name = case.spec.optimizer.WhichOneof("kind")
    if name is None:
        return
    message = getattr(case.spec.optimizer, name)
    usual = optimizer_facts(message.DESCRIPTOR).usual_rate_max
    if usual and message.learning_rate > usual:
        yield Warning(
            kind=Warning.LEARNING_RATE_ABOVE_USUAL,
            field=f"optimizer.{name}.learning_rate",
            message=f"{number_text(message.learning_rate)} is above {name}'s usual range (up to "
            f"{number_text(usual)}): training may diverge",
        )


def _reduction(case: SpecContext) -> Iterator[Warning]:
    for leaf in case.leaves:
        if reduction_name(leaf.message) == "sum":
            yield Warning(
                kind=Warning.REDUCTION_SUM,
                field=f"{leaf.member}.reduction",
                message="the loss is summed over the batch: the best learning rate then depends "
                "on training.batch_size; use mean",
            )


def _imbalance(case: SpecContext) -> Iterator[Warning]:
    data = case.data
    if data is None or data.name != "synthetic_classification" or not case.fitting:
        return
    shares = case.spec.dataset.synthetic_classification.class_shares
    # A share of 0 is a violation of its own, and no ratio.
    if not shares or min(shares) <= 0 or max(shares) <= _MAX_IMBALANCE * min(shares):
        return
    if any(has_class_weights(leaf.message) for leaf in case.fitting):
        return
    if case.spec.training.HasField("sampling"):
        return
    yield Warning(
        kind=Warning.IMBALANCE_WITHOUT_WEIGHTS,
        field=f"dataset.{data.name}.class_shares",
        message=f"the largest class is {max(shares) / min(shares):.3g} times the smallest, and "
        "the loss has no class weights: rare classes may never be predicted. Use class "
        "weights or training.sampling: balanced, or compare by a metric that weights all classes "
        "equally, such as f1_macro",
    )


def _balanced_twice(case: SpecContext) -> Iterator[Warning]:
    if chosen(case.spec.training.sampling) != "balanced":
        return
    for leaf in case.fitting:
        for name in weight_fields(leaf.message):
            if leaf.message.HasField(name):
                yield Warning(
                    kind=Warning.BALANCED_TWICE,
                    field="training.sampling",
                    message=f"balanced, while {leaf.member}.{name} weighs the classes too: all "
                    "classes are drawn equally often already, and rare ones count twice. Use one "
                    "of them",
                )


def _batch(case: SpecContext) -> Iterator[Warning]:
    if case.sizes is None:
        return
    num_training, batch = case.sizes[0], case.spec.training.batch_size
    if batch > num_training > 0:
        yield Warning(
            kind=Warning.BATCH_ABOVE_DATA,
            field="training.batch_size",
            message=f"{batch} is more than the {num_training} samples to train on: each epoch is "
            "one step on all of them",
        )


def _skips(case: SpecContext) -> Iterator[Warning]:
    for policy, part in (
        ("guard", case.spec.training.guard),
        ("spikes", case.spec.training.spikes),
    ):
        if part.WhichOneof("kind") == "skip" and part.skip.max_share >= 1:
            yield Warning(
                kind=Warning.ALL_STEPS_SKIPPABLE,
                field=f"training.{policy}.skip.max_share",
                message="all steps may be skipped, and a job that has learnt nothing would "
                "succeed: use a share below 1, such as 0.01",
            )


def _unused_split(case: SpecContext) -> Iterator[Warning]:
    name = case.spec.dataset.stored.facts.unused_split
    if not name:
        return
    yield Warning(
        kind=Warning.SPLIT_UNUSED,
        field="dataset.stored.split",
        message=f"the column {name} names the part of each sample, train, validation or test, "
        "and the job divides them otherwise: its test data are not those that you set apart. "
        f"Write split: {name}, or ignore: [{name}] if that is meant",
    )

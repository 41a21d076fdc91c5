"""Rules about names, model, optimizer, schedule and training."""

import re
from collections.abc import Iterator

from talweg.spec.errors import Violation, one_of, shown
from talweg.spec.rules.models.layers import LONE_ALLOWED, LONE_HINT, layer_rules
from talweg.spec.rules.training.evaluation import evaluation_rules
from talweg.spec.semantics.batch_norm import batch_norms
from talweg.spec.semantics.context import SpecContext
from talweg.spec.semantics.facts import task_name
from talweg.spec.semantics.metrics import goal_of, judges_loss, metrics_of
from talweg.spec.semantics.outputs import num_outputs
from talweg.spec.spelling import nearest
from talweg.v1 import options_pb2
from talweg.v1.spec_pb2 import Training

_TAG_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}")
# MLflow and the service give names that begin so a meaning of their own.
_RESERVED_TAGS = ("mlflow.", "talweg.")


def training_rules(case: SpecContext) -> Iterator[Violation]:
    """Check what is left once data and loss are checked."""
    yield from _tags(case)
    yield from _model(case)
    yield from _optimizer(case)
    yield from _schedule(case)
    yield from evaluation_rules(case)
    yield from _watched_metrics(case)
    yield from _precision(case)


def _tags(case: SpecContext) -> Iterator[Violation]:
    for name in sorted(case.spec.tags):
        if not _TAG_NAME.fullmatch(name):
            yield Violation(
                f"tags.{name[:100]}",
                f"the name {shown(name)}",
                "1 to 100 letters, digits, '.', '_', '/' and '-', starting with a letter or digit",
            )
        elif name.startswith(_RESERVED_TAGS):
            yield Violation(
                f"tags.{name}",
                f"the name {shown(name)}",
                f"a name that starts neither with {' nor '.join(map(repr, _RESERVED_TAGS))}",
            )


def lone_batch(case: SpecContext) -> str:
    """Say which batch would hold one sample only; empty where none does."""
    size = case.spec.training.batch_size
    if case.sizes is None or not case.sound("training") or case.sizes[0] < 1:
        return ""
    if size == 1 or case.sizes[0] % size == 1:
        return f"a batch of 1 sample ({case.sizes[0]} training samples, batch_size {size})"
    return ""


def _model(case: SpecContext) -> Iterator[Violation]:
    model = case.spec.model
    if not case.sound("model"):
        return
    lone = lone_batch(case)
    sequential = model.WhichOneof("kind") == "sequential"
    # The layers of a sequential are checked by their shapes. A batch of metric learning holds
    # several samples: of a class, of a pair or of a triplet.
    if lone and not sequential and case.task != options_pb2.METRIC_LEARNING:
        for path in batch_norms(model, "model", of_vectors=True):
            yield Violation(path, lone, LONE_ALLOWED, LONE_HINT)
    if sequential:
        outputs = None
        known = case.task != options_pb2.TASK_KIND_UNSPECIFIED
        if case.data is not None and known and case.task in case.data.facts.tasks:
            outputs = num_outputs(case.spec, case.data.num_targets)
        shape = None if case.data is None else case.data.shape
        yield from layer_rules(model.sequential, shape, outputs, lone_batch=lone)


def _optimizer(case: SpecContext) -> Iterator[Violation]:
    if case.spec.optimizer.WhichOneof("kind") == "sgd":
        sgd = case.spec.optimizer.sgd
        if sgd.nesterov and sgd.momentum == 0:
            yield Violation(
                "optimizer.sgd.nesterov", "true with momentum 0", "momentum > 0, or false"
            )


def _precision(case: SpecContext) -> Iterator[Violation]:
    name = Training.Precision.Name(case.spec.training.precision)
    if name != "fp32" and case.task in (options_pb2.GAN, options_pb2.MULTITASK):
        yield Violation(
            "training.precision",
            f"{name} with task {task_name(case.task)}",
            "fp32",
            "Its separate losses are not computed in float32.",
        )


def _schedule(case: SpecContext) -> Iterator[Violation]:
    name = case.spec.schedule.WhichOneof("kind")
    if name is None or case.total_steps is None:
        return
    warmup = getattr(case.spec.schedule, name).warmup_steps
    if warmup >= max(1, case.total_steps):
        yield Violation(
            f"schedule.{name}.warmup_steps",
            str(warmup),
            f"less than the {case.total_steps} steps of training",
        )


def _watched_metrics(case: SpecContext) -> Iterator[Violation]:
    """Check the metrics that early stopping and the schedule wait for."""
    spec = case.spec
    watchers = []
    if spec.training.HasField("early_stopping"):
        watchers.append(("training.early_stopping", spec.training.early_stopping.metric))
    if spec.schedule.WhichOneof("kind") == "plateau":
        watchers.append(("schedule.plateau", spec.schedule.plateau.metric))
    if spec.training.checkpoints.keep_best and spec.split.validation == 0:
        yield Violation(
            "split.validation",
            "0 with training.checkpoints.keep_best",
            "a fraction > 0, for the evaluations",
        )
    known = [f"val/{metric.name}" for metric in metrics_of(spec) if not metric.by_class]
    if judges_loss(spec):
        known.insert(0, "val/loss")
    for path, metric in watchers:
        if spec.split.validation == 0:
            yield Violation(
                "split.validation",
                f"0 with {path}",
                "a fraction > 0, on which the metric is computed",
            )
        if case.task == options_pb2.TASK_KIND_UNSPECIFIED:
            continue
        of_class = metric.startswith("val/") and metric != "val/loss"
        has_goal = goal_of(spec, metric) != options_pb2.GOAL_UNSPECIFIED
        if metric not in known and not (of_class and has_goal):
            hint = nearest(metric, known) or nearest(f"val/{metric.rpartition('/')[2]}", known)
            yield Violation(f"{path}.metric", shown(metric), one_of(known), hint)

"""Rules among data set, split, preprocessing and task."""

import math
from collections.abc import Iterator

from talweg.spec.errors import Violation, number_text, one_of, shown
from talweg.spec.fields import choices, fields
from talweg.spec.rules.data.folds import fold_rules
from talweg.spec.rules.data.uris import uri_rules
from talweg.spec.semantics.categories import categories_in
from talweg.spec.semantics.context import SpecContext
from talweg.spec.semantics.dataset import TOLERANCE, Data
from talweg.spec.semantics.dataset_facts import dataset_facts, facts_of_chosen
from talweg.spec.semantics.facts import chosen, model_facts, task_name
from talweg.spec.semantics.heads import heads
from talweg.v1 import options_pb2
from talweg.v1.datasets_pb2 import Dataset
from talweg.v1.models_pb2 import Model
from talweg.v1.options_pb2 import TaskKind

_CLASS_TASKS = (options_pb2.BINARY, options_pb2.MULTICLASS)
# Generated data is made in memory, as numbers of 8 bytes.
_MAX_VALUES = 100_000_000
# The attention of a sample is a matrix tokens × tokens for each head.
MAX_TOKENS = 4096


def data_rules(case: SpecContext) -> Iterator[Violation]:
    """Check the data against the task and itself."""
    yield from _of_the_client(case)
    yield from uri_rules(case)
    yield from _fits(case)
    yield from _model_fits(case)
    yield from _transformer_fits(case)
    yield from _categories_fit(case)
    yield from _generated(case)
    yield from _split(case)
    yield from _stratified(case)
    yield from _preprocessing(case)


def _of_the_client(case: SpecContext) -> Iterator[Violation]:
    if case.spec.dataset.WhichOneof("kind") == "file":
        path = case.spec.dataset.file.path
        yield Violation(
            "dataset.file",
            f"{shown(path)}, a file that only the client's machine has",
            "dataset: {stored: {name: NAME}}",
            "submit with talweg submit or the Python client, which upload the file, or upload "
            "it by StoredDatasetService.UploadStoredDataset",
        )


def _fits(case: SpecContext) -> Iterator[Violation]:
    if not case.spec.dataset.WhichOneof("kind") or case.task == options_pb2.TASK_KIND_UNSPECIFIED:
        return
    name = case.spec.dataset.WhichOneof("kind") or ""
    facts = facts_of_chosen(case.spec.dataset)
    tasks = facts.tasks if facts is not None else ()
    if case.task not in tasks:
        yield Violation(
            "dataset",
            f"{name}, whose targets do not suit task {task_name(case.task)}",
            one_of(_datasets_of(case.task)),
            f"{name} suits tasks {', '.join(map(task_name, tasks))}",
        )


def _datasets_of(task: TaskKind.ValueType) -> Iterator[str]:
    for name in choices(Dataset.DESCRIPTOR):
        message = fields(Dataset.DESCRIPTOR)[name].message
        if message is not None and task in dataset_facts(message).tasks:
            yield name


def _model_fits(case: SpecContext) -> Iterator[Violation]:
    name = case.spec.model.WhichOneof("kind")
    if name is None:
        return
    facts = model_facts(getattr(case.spec.model, name).DESCRIPTOR)
    if case.task != options_pb2.TASK_KIND_UNSPECIFIED and case.task not in facts.tasks:
        yield Violation(
            "model",
            f"{name} under task {task_name(case.task)}",
            one_of(_models_of(case.task)),
            f"{name} suits tasks {', '.join(map(task_name, facts.tasks))}",
        )
    if case.data is None:
        return
    images = len(case.data.shape) == 3
    if images and facts.vectors:
        yield Violation(
            "model",
            f"{name} on {case.data.name}, whose inputs are images",
            "a model that takes images",
            "write model: convnet",
        )
    if not images and facts.images:
        yield Violation(
            "model",
            f"{name} on {case.data.name}, whose inputs are vectors",
            "a model for vectors",
            f"write model: mlp, or use a data set of images: {one_of(_image_sets())}",
        )


def _transformer_fits(case: SpecContext) -> Iterator[Violation]:
    if case.spec.model.WhichOneof("kind") != "transformer" or not case.sound("model"):
        return
    model, at = case.spec.model.transformer, "model.transformer"
    if model.width % model.heads:
        yield Violation(f"{at}.width", str(model.width), f"a multiple of heads ({model.heads})")
    if case.data is None:
        return
    shape, tokens = case.data.shape, case.data.shape[0]
    if len(shape) == 3:
        if any(side % model.patch for side in shape[1:]):
            yield Violation(
                f"{at}.patch",
                f"{model.patch} on images of {shape[1]}×{shape[2]} pixels",
                "a divisor of both sides",
            )
            return
        tokens = (shape[1] // model.patch) * (shape[2] // model.patch)
    if tokens > MAX_TOKENS:
        images = len(shape) == 3
        yield Violation(
            f"{at}.patch" if images else "model",
            f"{tokens} tokens, all of which attend to each other",
            f"at most {MAX_TOKENS}",
            "use larger patches" if images else "write model: mlp",
        )


def _categories_fit(case: SpecContext) -> Iterator[Violation]:
    data = case.data
    if data is None or data.facts.num_categories:
        return
    for at, categories in categories_in(case.spec.model):
        if chosen(categories) == "embedding":
            yield Violation(
                at,
                f"embedding on {data.name}, whose inputs have no columns of categories",
                "one_hot, or a table of stored data with such columns",
                "leave it out",
            )


def _models_of(task: TaskKind.ValueType) -> Iterator[str]:
    for name, field in fields(Model.DESCRIPTOR).items():
        if field.message is not None and task in model_facts(field.message).tasks:
            yield name


def _image_sets() -> Iterator[str]:
    for name, field in fields(Dataset.DESCRIPTOR).items():
        if field.message is not None and len(dataset_facts(field.message).shape) == 3:
            yield name


def _generated(case: SpecContext) -> Iterator[Violation]:
    data, dataset = case.data, case.spec.dataset
    if data is None:
        return
    at = f"dataset.{data.name}"
    if not data.facts.num_samples:
        values = data.num_samples * (math.prod(data.shape) + data.num_targets)
        if values > _MAX_VALUES:
            yield Violation(
                at,
                f"{values} values (num_samples times features and targets)",
                f"at most {_MAX_VALUES}",
            )
    if data.name == "synthetic_multilabel":
        mean = dataset.synthetic_multilabel.mean_labels
        if mean > data.num_classes:
            yield Violation(
                f"{at}.mean_labels",
                number_text(mean),
                f"at most num_classes ({data.num_classes})",
            )
    if data.name == "synthetic_regression" and case.task == options_pb2.ORDINAL:
        targets = dataset.synthetic_regression.num_targets
        if targets != 1:
            yield Violation(f"{at}.num_targets", str(targets), "1 under task ordinal")
    if data.name == "synthetic_classification":
        yield from _classification(case, data, at)


def _classification(case: SpecContext, data: Data, at: str) -> Iterator[Violation]:
    params = case.spec.dataset.synthetic_classification
    if case.task == options_pb2.BINARY and params.num_classes != 2:
        yield Violation(
            f"{at}.num_classes",
            str(params.num_classes),
            "2 under task binary",
            "for more classes use task: multiclass",
        )
    if params.num_informative > params.num_features:
        yield Violation(
            f"{at}.num_informative",
            str(params.num_informative),
            f"at most num_features ({params.num_features})",
        )
    # Each class needs a corner of the hypercube; the power of a large number is not taken.
    needed = (params.num_classes - 1).bit_length()
    if params.num_informative < needed:
        yield Violation(
            f"{at}.num_informative",
            f"{params.num_informative}, which allows {2**params.num_informative} clusters",
            f"at least {needed}, so that each of {params.num_classes} classes has a cluster",
        )
    shares = params.class_shares
    if shares and len(shares) != params.num_classes:
        yield Violation(
            f"{at}.class_shares",
            f"{len(shares)} fractions",
            f"{params.num_classes}, one per class",
        )
    if shares and abs(sum(shares) - 1) > 1e-6:
        yield Violation(f"{at}.class_shares", f"a sum of {sum(shares):.6g}", "a sum of 1")


def _split(case: SpecContext) -> Iterator[Violation]:
    split = case.spec.split
    # Of folds that do not fit, their own rules say what is wrong.
    if not case.sound("split") or any(fold_rules(case)):
        return
    shares = {"train": split.train, "validation": split.validation, "test": split.test}
    total = sum(shares.values())
    if total > 1 + TOLERANCE:
        written = " + ".join(number_text(share) for share in shares.values())
        yield Violation("split", f"{written} = {total:.6g}", "fractions with a sum of at most 1")
        return
    if case.sizes is None or case.data is None:
        return
    for (name, share), size in zip(shares.items(), case.sizes, strict=True):
        if share > 0 and size < 1:
            yield Violation(
                f"split.{name}",
                f"{number_text(share)}, which is less than 1 of {case.data.num_samples} samples",
                "a fraction of at least one sample" + ("" if name == "train" else ", or 0"),
            )


def _stratified(case: SpecContext) -> Iterator[Violation]:
    if not case.spec.split.stratified or case.task == options_pb2.TASK_KIND_UNSPECIFIED:
        return
    if case.task not in _CLASS_TASKS:
        yield Violation(
            "split.stratified",
            f"true under task {task_name(case.task)}",
            f"false, or task {' or '.join(map(task_name, _CLASS_TASKS))}",
            "leave it out",
        )
        return
    data, sizes = case.data, case.sizes
    if data is None or sizes is None or data.num_classes < 2 or any(fold_rules(case)):
        return
    if case.spec.dataset.stored.group or case.spec.dataset.stored.time:
        # Whole groups, and the order of time, leave no choice.
        return
    for name, size in zip(("train", "validation", "test"), sizes, strict=True):
        if 0 < size < data.num_classes:
            yield Violation(
                f"split.{name}",
                f"{size} samples for {data.num_classes} classes",
                f"at least {data.num_classes} samples, or stratified: false",
            )
    rarest = _rarest(case, data)
    smallest = min(size for size in (*sizes, data.num_samples) if size > 0)
    if rarest is not None and rarest * smallest < data.num_samples:
        yield Violation(
            f"dataset.{data.name}.class_shares",
            f"about {rarest:.3g} samples of the rarest class",
            "at least 1 in each split",
            "increase num_samples, or use split: {stratified: false}",
        )


def _rarest(case: SpecContext, data: Data) -> float | None:
    """Give the expected samples of the rarest class, where the spec alone tells it."""
    if data.name != "synthetic_classification":
        return None
    shares = case.spec.dataset.synthetic_classification.class_shares
    if not shares or len(shares) != data.num_classes:
        return None
    return min(shares) * data.num_samples


def _preprocessing(case: SpecContext) -> Iterator[Violation]:
    if case.task == options_pb2.TASK_KIND_UNSPECIFIED:
        return
    preprocessing = case.spec.preprocessing
    is_regression = case.task == options_pb2.REGRESSION
    at = "preprocessing.standardise_targets"
    has_numbers = is_regression or any(head.kind == "number" for head in heads(case.spec))
    if preprocessing.standardise_targets and not has_numbers:
        yield Violation(
            at,
            f"true under task {task_name(case.task)}",
            "false, since only real-valued targets can be standardised",
            "leave it out",
        )
    raw = [leaf.name for leaf in case.fitting if leaf.facts.raw_targets]
    if preprocessing.standardise_targets and is_regression and raw:
        yield Violation(
            at,
            "true",
            f"false under {raw[0]}, which needs targets in their original units",
            "leave it out",
        )
    if preprocessing.HasField("target_outliers"):
        outliers = preprocessing.target_outliers
        at = "preprocessing.target_outliers"
        if not is_regression:
            yield Violation(
                at,
                f"outliers under task {task_name(case.task)}",
                "task regression",
                "leave it out",
            )
        if outliers.low_sd > outliers.high_sd:
            yield Violation(
                f"{at}.low_sd",
                shown(outliers.low_sd),
                f"at most high_sd ({number_text(outliers.high_sd)})",
            )

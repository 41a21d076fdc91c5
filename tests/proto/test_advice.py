"""Advice on losses: ranked as reasoned, valid in every case, by rules that all can speak."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.proto.problems import VALUES, ask, facts_of, problems
from tests.proto.specs import base

from talweg.spec import (
    SpecError,
    check,
    check_message,
    datasets,
    fill,
    fill_message,
    from_dict,
    label,
    models,
    recommend,
    tasks,
    to_dict,
)
from talweg.spec.advice._facts import kinds, known, tasks_of
from talweg.spec.advice._rank import TABLES, _derived
from talweg.spec.fields import fields
from talweg.spec.semantics.facts import leaves, loss_facts, tasks_by_name
from talweg.v1.losses_pb2 import Gan, Loss
from talweg.v1.options_pb2 import TaskKind
from talweg.v1.recommendations_pb2 import LossRecommendation, ProblemFacts
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.tasks_pb2 import Task

TASKS = [name.lower() for name in TaskKind.keys()[1:]]

# Task, facts, the first losses in order, and what the first reason says.
RANKED: list[tuple[str, dict[str, Any], list[str], str]] = [
    ("regression", {}, ["mse", "huber", "mae"], "normal"),
    ("regression", {"outliers": 0}, ["mse", "huber"], "no outliers"),
    ("regression", {"outliers": 0.05}, ["huber", "mae", "log_cosh"], "5 % of the targets"),
    ("regression", {"outliers": 0.2}, ["mae", "huber"], "mse 84, huber and log_cosh 64, mae 48"),
    ("regression", {"heavy_tailed": True}, ["huber", "mae", "log_cosh"], "still counts them"),
    ("regression", {"smooth": True}, ["mse", "log_cosh", "charbonnier"], "smooth"),
    ("regression", {"smooth": True, "outliers": 0.05}, ["log_cosh", "huber"], "89.5 in float32"),
    ("regression", {"targets": "counts"}, ["poisson_nll", "tweedie"], "counts"),
    ("regression", {"targets": "amounts"}, ["tweedie", "poisson_nll"], "exactly 0"),
    ("regression", {"noise_varies": True}, 
     ["gaussian_nll", "multi_quantile quantiles=[0.05, 0.5, 0.95]"], "how noisy"),
    ("regression", {"error_bars": True},
     ["multi_quantile quantiles=[0.05, 0.5, 0.95]", "gaussian_nll"], "interval"),
    ("regression", {"error_bars": True, "noise_varies": True}, ["gaussian_nll"], "error bar"),
    ("regression", {"quantiles": [0.9]}, ["quantile q=0.9"], "wanted"),
    ("regression", {"quantiles": [0.1, 0.9]}, ["multi_quantile quantiles=[0.1, 0.9]"], "wanted"),
    ("regression", {"over_cost": 3}, ["quantile q=0.25", "asymmetric_mse over_penalty=3"],
     "3 times"),
    ("regression", {"metric": "mae"}, ["mae", "huber"], "median"),
    ("regression", {"metric": "rmse", "heavy_tailed": True}, ["mse", "huber"], "mean"),
    ("binary", {}, ["bce_with_logits", "focal_binary"], "proper scoring rule"),
    ("binary", {"imbalance": 50},
     ["bce_with_logits pos_weight=balanced", "bce_with_logits", "focal_binary"], ".835"),
    ("binary", {"imbalance": 50, "calibrated": True}, ["bce_with_logits"], "calibrated"),
    ("binary", {"imbalance": 50, "metric": "accuracy"}, ["bce_with_logits"], "accuracy"),
    ("binary", {"imbalance": 5, "metric": "f1"}, ["bce_with_logits pos_weight=balanced"], "F1"),
    ("binary", {"imbalance": 50, "metric": "auroc"}, ["bce_with_logits"], "order"),
    ("binary", {"easy_samples": True}, ["focal_binary", "bce_with_logits"], "easy"),
    ("binary", {"miss_cost": 5}, ["bce_with_logits pos_weight=[5]"], "5 times"),
    ("binary", {"noisy_labels": 0.2}, ["expression"], "contradicts"),
    ("binary", {"noisy_labels": 0.02}, ["bce_with_logits", "expression"], "proper"),
    ("multiclass", {}, ["cross_entropy", "cross_entropy label_smoothing=0.1"], "proper"),
    ("multiclass", {"imbalance": 5}, ["cross_entropy", "logit_adjusted"], "proper"),
    ("multiclass", {"imbalance": 50},
     ["logit_adjusted", "cross_entropy weight=balanced", "cross_entropy", "ldam", "focal"],
     "focal .808, balanced weights .835, logit adjustment .879"),
    ("multiclass", {"imbalance": 500},
     ["logit_adjusted", "cross_entropy weight=effective_number"], "500 to 1"),
    ("multiclass", {"imbalance": 50, "metric": "accuracy"}, ["cross_entropy"], "accuracy"),
    ("multiclass", {"metric": "f1_macro", "imbalance": 5}, ["logit_adjusted"], "F1"),
    ("multiclass", {"calibrated": True, "imbalance": 50}, ["cross_entropy"], "calibrated"),
    ("multiclass", {"noisy_labels": 0.2}, ["symmetric_ce", "generalized_ce"],
     "wrong labels"),
    ("multiclass", {"noisy_labels": 0.02}, ["cross_entropy", "symmetric_ce"], "proper"),
    ("multiclass", {"easy_samples": True}, ["focal"], "easy"),
    ("multiclass", {"embeddings": True}, ["arcface", "cosface"], "embeddings"),
    ("multiclass", {"num_classes": 5000}, ["cross_entropy", "cosface", "arcface"], "proper"),
    ("multiclass", {"teacher": True}, ["distillation temperature=4"], "teacher"),
    ("multiclass", {"unaligned": True}, ["ctc"], "all alignments"),
    ("multilabel", {}, ["bce_with_logits", "asymmetric_multilabel"], "of its own"),
    ("multilabel", {"imbalance": 50},
     ["asymmetric_multilabel", "focal_binary", "bce_with_logits",
      "bce_with_logits pos_weight=balanced"], "asymmetric .43 and .45"),
    ("multilabel", {"easy_samples": True}, ["asymmetric_multilabel"], "drops them"),
    ("multilabel", {"noisy_labels": 0.2}, ["expression"], "contradicts"),
    ("multilabel", {"calibrated": True, "imbalance": 50}, ["bce_with_logits"], "calibrated"),
    ("multilabel", {"miss_cost": 5}, ["bce_with_logits"], "threshold"),
    ("ordinal", {}, ["coral", "corn"], "two ranks"),
    ("ordinal", {"imbalance": 50}, ["coral", "corn"], "few samples"),
    ("ordinal", {"calibrated": True}, ["corn", "coral"], "distribution"),
    ("segmentation", {}, ["ce_dice", "dice mode=multiclass"], "overlap"),
    ("segmentation", {"foreground": 0.01},
     ["ce_dice", "dice mode=multiclass", "tversky mode=multiclass"],
     "missing all of a rare foreground costs 0.01"),
    ("segmentation", {"small_objects": True}, ["ce_dice", "dice mode=multiclass"], "little"),
    ("segmentation", {"masks": "binary"}, ["sum(bce_with_logits, dice)", "dice"], "overlap"),
    ("segmentation", {"masks": "binary", "calibrated": True}, ["bce_with_logits"], "proper"),
    ("segmentation", {"masks": "binary", "easy_samples": True},
     ["sum(bce_with_logits, dice)", "focal_binary"], "overlap"),
    ("segmentation", {"masks": "multilabel"}, ["dice mode=multilabel"], "channel per label"),
    ("segmentation", {"empty_images": True}, ["ce_dice batch=true", "cross_entropy"],
     "without objects"),
    ("segmentation", {"miss_cost": 4}, ["tversky alpha=0.2 beta=0.8 mode=multiclass"], "4 times"),
    ("segmentation", {"metric": "iou"}, ["lovasz_softmax", "ce_dice"], "IoU"),
    ("segmentation", {"metric": "dice"}, ["ce_dice", "dice mode=multiclass"], "Dice"),
    ("segmentation", {"calibrated": True}, ["cross_entropy", "ce_dice"], "proper"),
    ("segmentation", {"easy_samples": True}, ["ce_dice", "focal"], "overlap"),
    ("detection", {}, ["detection focal giou"], "background"),
    ("detection", {"easy_samples": True}, ["detection focal giou"], "background"),
    ("detection", {"small_objects": True}, ["detection focal diou"], "0.5 at sides of 1e-3"),
    ("detection", {"elongated": True}, ["detection focal ciou"], "aspect ratios"),
    ("metric_learning", {}, ["supcon", "multi_similarity"], "class"),
    ("metric_learning", {"known": "pairs"}, ["contrastive", "cosine_embedding"], "pairs"),
    ("metric_learning", {"known": "triplets"}, ["triplet"], "triplets"),
    ("metric_learning", {"known": "order"}, ["margin_ranking margin=1"], "higher"),
    ("metric_learning", {"batch_size": 16}, ["arcface", "cosface"], "small"),
    ("metric_learning", {"batch_size": 512}, ["supcon"], "large"),
    ("metric_learning", {"num_classes": 5000}, ["arcface", "cosface"], "5000"),
    ("metric_learning", {"noisy_labels": 0.1},
     ["supcon", "online_triplet strategy=semihard margin=0.2 normalize=true"], "wrong label"),
    ("self_supervised", {}, ["vicreg", "nt_xent"], "negatives"),
    ("self_supervised", {"batch_size": 512}, ["nt_xent"], "large"),
    ("self_supervised", {"batch_size": 16}, ["vicreg", "barlow_twins"], "small"),
    ("self_supervised", {"queue": True}, ["info_nce"], "queue"),
    ("self_supervised", {"predictor": True}, ["negative_cosine"], "predictor"),
    ("self_supervised", {"two_kinds": True}, ["clip"], "two modalities"),
    ("gan", {}, ["gan form=hinge", "gan", "gan form=lsgan"], "most stable"),
    ("gan", {"critic": "gradient_penalty"}, ["gan form=wgan", "gan form=hinge"], "penalty"),
    ("gan", {"critic": "clipped"}, ["gan form=hinge", "gan form=wgan"], "most stable"),
    ("gan", {"critic": "spectral_norm"}, ["gan form=hinge"], "spectral norm"),
    ("vae", {"inputs": "values"}, ["vae recon=gaussian", "vae recon=mse"], "real values"),
    ("vae", {"inputs": "fractions"}, ["vae", "vae recon=gaussian"], "[0, 1]"),
    ("vae", {"disentangled": True}, ["vae recon=gaussian beta=4"], "beta 4"),
    ("vae", {"code_ignored": True}, ["vae recon=gaussian beta=0.5"], "beta 0.5"),
    ("image_translation", {}, ["mae", "sum(mae, ssim weight=0.2)"], "blurs less"),
    ("image_translation", {"outliers": 0.05}, ["mae", "charbonnier"], "outliers"),
    ("image_translation", {"smooth": True}, ["charbonnier"], "does not jump"),
    ("image_translation", {"metric": "psnr"}, ["mse"], "PSNR"),
    ("image_translation", {"metric": "ssim"}, ["sum(mae, ssim weight=0.2)"], "SSIM"),
    ("image_translation", {"grainy": True}, ["sum(mae, total_variation weight=0.01)"], "noisy"),
    ("image_translation", {"look_alike": True}, ["sum(mae, perceptual vgg16 weight=0.1)"],
     "features"),
    ("multitask", {}, ["uncertainty variant=simple", "gradnorm"], "1/L"),
    ("multitask", {"task_types": ["regression", "classification"]},
     ["uncertainty(mse, cross_entropy) task_types=[regression, classification]"], "1/(2L)"),
    ("multitask", {"first_losses": [100, 0.01]},
     ["uncertainty variant=simple initial_log_vars=[4.6052, -4.6052]"], "first losses"),
    ("multitask",
     {"task_types": ["regression", "classification"], "first_losses": [100, 0.01]},
     ["uncertainty(mse, cross_entropy) task_types=[regression, classification] "
      "initial_log_vars=[4.6052, -3.912]"],
     "first losses"),
    ("multitask", {"speeds_differ": True}, ["gradnorm"], "slow"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("task", "facts", "first", "words"), RANKED, ids=[f"{row[0]} {row[1]}" for row in RANKED]
)
def test_ranks(task: str, facts: dict[str, Any], first: list[str], words: str) -> None:
    found = ask(task, **facts).recommendations
    labels = [label(each.loss) for each in found][: len(first)]
    # Of a formula its name is enough.
    assert [name.partition(" formula=")[0] for name in labels] == first
    assert words.lower() in found[0].reason.lower()


def test_every_fact_of_every_task_is_in_the_table_of_ranks() -> None:
    tested = {(task, fact) for task, facts, *_ in RANKED for fact in facts}
    assert tested == {(task, fact) for task in TASKS for fact in facts_of(task)}


def test_the_values_are_those_of_all_facts() -> None:
    assert list(VALUES) == list(fields(ProblemFacts.DESCRIPTOR))
    assert all(tasks_of(name) for name in VALUES)


@pytest.mark.parametrize("task", TASKS)
def test_every_fact_matters_where_it_says_so(task: str) -> None:
    plain = ask(task).recommendations
    for fact in facts_of(task):
        answers = [found for facts, found in problems(task) if list(facts) == [fact]]
        assert any(found.recommendations != plain for found in answers), fact
        # Whatever it changes, it is named with.
        named = {
            name for found in answers for each in found.recommendations for name in each.facts
        }
        assert fact in named, fact


@pytest.mark.parametrize("task", TASKS)
def test_every_problem_gets_complete_and_valid_losses_of_its_task(task: str) -> None:
    for facts, found in problems(task):
        assert found.recommendations, facts
        losses = [each.loss for each in found.recommendations]
        assert len({loss.SerializeToString(deterministic=True) for loss in losses}) == len(losses)
        for each in found.recommendations:
            assert check_message(each.loss) == [], facts
            assert each.loss == fill_message(each.loss)
            assert each.reason.endswith(".")
            assert "{" not in each.reason + each.caution
            assert set(each.facts) <= set(facts)
            for _, name, leaf in leaves(each.loss):
                assert kinds()[task] in loss_facts(leaf.DESCRIPTOR).tasks, (facts, name)


def submissions(task: str) -> Iterator[JobSpec]:
    """Specs of a task by data and models of the catalogue, as far as they may fit."""
    kind = tasks_by_name()[task]
    fitting = [model.name for model in models() if kind in model.facts.tasks]
    for data in datasets():
        if kind in data.facts.tasks:
            for model in fitting:
                yield from_dict(base(task=task, dataset=data.name, model=model))


def accepted(spec: JobSpec, each: LossRecommendation) -> bool:
    """Tell whether a job is accepted with a recommended loss, and the task as it stands there."""
    job = JobSpec()
    job.CopyFrom(spec)
    job.loss.CopyFrom(each.loss)
    job.task.MergeFrom(each.task)
    return not check(fill(job))[0]


@pytest.mark.parametrize("task", TASKS)
def test_every_loss_for_jobs_is_accepted_by_submission(task: str) -> None:
    found = {
        each.loss.SerializeToString(deterministic=True)
        + each.task.SerializeToString(deterministic=True): each
        for _, answer in problems(task)
        for each in answer.recommendations
    }
    specs = list(submissions(task)) if task in tasks_by_name() else []
    for each in found.values():
        if "vgg16" in label(each.loss):
            continue  # It takes three channels, and no data of the catalogue has them.
        job = with_heads(each) if task == "multitask" else each
        fits = any(accepted(spec, job) for spec in specs)
        assert fits == (not each.only_evaluated), label(each.loss)
        assert each.task.WhichOneof("kind") == (task if fits else None)


def with_heads(each: LossRecommendation) -> LossRecommendation:
    """Add to a choice of how tasks are weighed the tasks, which are the job's to know."""
    job = LossRecommendation()
    job.CopyFrom(each)
    weigher = getattr(job.loss, job.loss.WhichOneof("kind") or "")
    # In the order of the types that problems name.
    heads: list[Any] = ["depth", {"name": "what", "segmentation": {}}]
    job.task.CopyFrom(from_dict({"multitask": {"heads": heads}}, Task))
    if not weigher.losses:
        weigher.losses.extend([from_dict("mae", Loss), from_dict("ce_dice", Loss)])
        assert (
            "add its losses, one per task, in the order of task.multitask.heads"
            in each.caution.lower()
        )
    return job


def test_tasks_of_recommendations_hold_what_facts_say_of_them() -> None:
    def task(name: str, rank: int = 0, **facts: Any) -> dict[str, Any]:
        return to_dict(ask(name, **facts).recommendations[rank].task)

    assert task("segmentation", masks="binary") == {"segmentation": {"target": "foreground"}}
    assert task("segmentation", masks="multiclass") == {"segmentation": {}}
    assert task("gan", critic="gradient_penalty") == {"gan": {"gradient_penalty": 10}}
    assert task("gan", critic="clipped") == {"gan": {"weight_clip": 0.01}}
    wgan = [
        each
        for each in ask("gan", critic="spectral_norm").recommendations
        if each.loss.gan.form == Gan.wgan
    ]
    assert [each.only_evaluated.partition(";")[0] for each in wgan] == [
        "the critics of jobs have no spectral norm"
    ]
    barred = ask("segmentation", masks="multilabel").recommendations
    assert {each.only_evaluated for each in barred} == {
        "masks in jobs are multiclass (one class per pixel) or binary (foreground)"
    }


@pytest.mark.parametrize("task", TASKS)
def test_every_row_speaks_and_every_loss_can_be_recommended(task: str) -> None:
    table = TABLES[kinds()[task]]
    own = set(facts_of(task))
    asked = [_derived(known(from_dict(facts, ProblemFacts))) for facts, _ in problems(task)]
    for row in table.rows:
        assert row.loss in table.losses, row
        assert row.when.reads <= own, row
        assert any(row.when.holds(facts) for facts in asked), row
        assert row.why or row.points < -100, row
    for note in table.notes:
        assert note.when.reads <= own, note
        assert any(note.when.holds(facts) for facts in asked), note
    names = {name for name in table.losses if any(row.loss == name for row in table.rows)}
    assert names == set(table.losses)
    most = {label(each.loss) for _, found in problems(task) for each in found.recommendations}
    assert len(most) >= len(table.losses)


def test_wgan_comes_with_a_bound_on_its_critic_alone() -> None:
    for facts, found in problems("gan"):
        forms = {each.loss.gan.form for each in found.recommendations}
        bounded = facts.get("critic", "free") != "free"
        assert (Gan.wgan in forms) == bounded, facts
        assert any("minus infinity" in note for note in found.notes) != bounded


def test_label_smoothing_is_never_for_calibration() -> None:
    smoothed = [
        each
        for facts, found in problems("multiclass")
        for each in found.recommendations
        if each.loss.cross_entropy.label_smoothing and facts.get("calibrated")
    ]
    assert not smoothed
    offered = ask("multiclass").recommendations[1]
    assert ".018 to .127" in offered.caution


def test_overlap_is_pooled_over_the_batch_where_images_are_empty_alone() -> None:
    for facts, found in problems("segmentation"):
        for each in found.recommendations:
            name = each.loss.WhichOneof("kind")
            if name in ("dice", "ce_dice", "jaccard", "tversky", "focal_tversky"):
                assert getattr(each.loss, name).batch == ("empty_images" in facts)


def test_probabilities_are_never_asked_of_a_sigmoid() -> None:
    for task in ("binary", "multilabel"):
        for _, found in problems(task):
            assert all(each.loss.WhichOneof("kind") != "bce" for each in found.recommendations)


def test_notes_hold_what_is_no_loss() -> None:
    (threshold,) = [note for note in ask("binary", miss_cost=3).notes if "threshold" in note]
    assert "task: {binary: {threshold: 0.25}}" in threshold
    assert (
        from_dict({"binary": {"threshold": 0.25}}, type(JobSpec().task)).binary.threshold == 0.25
    )
    assert any("near enough to balanced" in note for note in ask("multiclass", imbalance=1).notes)


def test_losses_that_no_job_trains_by_say_so() -> None:
    first, second, *_ = ask("multiclass", teacher=True).recommendations
    assert first.only_evaluated == "jobs have no teacher logits"
    assert second.only_evaluated == ""
    trained = {entry.name for entry in tasks()}
    for task in TASKS:
        for each in ask(task).recommendations:
            assert task in trained or each.only_evaluated == (
                f"jobs do not support the task {task} yet"
            )


def test_facts_that_do_not_affect_the_task_are_named_and_change_nothing() -> None:
    found = ask("regression", imbalance=50, outliers=0.05, calibrated=False)
    assert list(found.recommendations) == list(ask("regression", outliers=0.05).recommendations)
    imbalance, calibrated = found.ignored
    assert imbalance.name == "imbalance"
    assert imbalance.reason == (
        "it does not affect the choice for regression, only for binary, multiclass, multilabel, "
        "ordinal"
    )
    assert calibrated.name == "calibrated"


def test_a_flag_that_is_false_is_as_good_as_none() -> None:
    assert ask("regression", smooth=False) == ask("regression")


def violations(task: str, **facts: Any) -> list[str]:
    with pytest.raises(SpecError) as caught:
        ask(task, **facts)
    return [str(violation) for violation in caught.value.violations]


@pytest.mark.parametrize(
    ("task", "facts", "expected"),
    [
        ("multiclas", {},
         "task: found \"multiclas\"; allowed one of regression, …, multitask. "
         "did you mean 'multiclass'?"),
        ("", {}, "task: found nothing; allowed one of regression"),
        ("multiclass", {"imbalance": 0.5}, "facts.imbalance: found 0.5; allowed a number >= 1."),
        # Bounds hold for facts that are not used, too.
        ("regression", {"imbalance": 0.5}, "facts.imbalance: found 0.5; allowed a number >= 1."),
        ("regression", {"outliers": 0.5}, "facts.outliers: found 0.5; allowed a number >= 0, <"),
        ("regression", {"quantiles": (0.5, 0.5)},
         "facts.quantiles[1]: found 0.5; allowed more than the previous one, 0.5. quantiles"),
        ("multiclass", {"metric": "f1"},
         "facts.metric: found f1 under task multiclass; allowed one of accuracy, f1_macro. "
         "f1 is for binary"),
        ("binary", {"noisy_labels": 0.5}, "facts.noisy_labels: found 0.5; allowed a number < 0.5"),
        ("multiclass", {"noisy_labels": 0.9, "num_classes": 10},
         "facts.noisy_labels: found 0.9 with num_classes 10; allowed a number < 0.9"),
        ("metric_learning", {"known": "pairs", "num_classes": 10},
         "facts.num_classes: found 10 with known pairs; allowed no such fact without labels"),
        ("vae", {"disentangled": True, "code_ignored": True},
         "facts.code_ignored: found true with disentangled; allowed one of the two"),
        ("multitask", {"task_types": ("regression",), "first_losses": (1, 2)},
         "facts.first_losses: found 2 values for 1 task_types; allowed one value per task"),
        ("self_supervised", {"batch_size": 1}, "facts.batch_size: found 1; allowed an integer >="),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(task: str, facts: dict[str, Any], expected: str) -> None:
    (found,) = violations(task, **facts)
    head, _, tail = expected.partition("…")
    assert found.startswith(head)
    assert tail in found


def test_everything_wrong_is_told_at_once() -> None:
    found = violations("binari", imbalance=0, noisy_labels=2)
    assert [text.partition(":")[0] for text in found] == [
        "task", "facts.imbalance", "facts.noisy_labels",
    ]  # fmt: skip
    # A number out of its bounds is not held against others too.
    assert len(violations("binary", noisy_labels=2, metric="iou")) == 2


def test_recommend_changes_no_facts() -> None:
    facts = ProblemFacts(imbalance=50)
    recommend("multiclass", facts)
    assert facts == ProblemFacts(imbalance=50)

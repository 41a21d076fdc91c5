"""What the training split tells: known numbers come out, and the other parts say nothing."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from talweg.spec import Measured, fill, from_dict
from talweg.v1.datasets_pb2 import StoredFacts
from talweg.v1.recommendations_pb2 import ProblemFacts
from talweg.worker import data
from talweg.worker.data import LOADERS, DataSplit, RawData, loading
from talweg.worker.tasks import measure
from talweg.worker.tasks.segmentation.measures import measured as of_masks


def look(task: Any, dataset: Any, **rest: Any) -> tuple[Measured, ...]:
    return measure(fill(from_dict({"task": task, "dataset": dataset, **rest})))


def facts(found: tuple[Measured, ...]) -> dict[str, Any]:
    result = {each.fact: each.value for each in found if each.fact}
    from_dict(result, ProblemFacts)
    return result


@pytest.fixture
def targets(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts targets of one's own into diabetes."""

    def put(y: NDArray[Any]) -> None:
        monkeypatch.setattr(loading, "_cache", loading.BundleCache())
        raw = RawData({"x": np.zeros((len(y), 2)), "y": y}, target_names=("y",))
        monkeypatch.setitem(LOADERS, "diabetes", lambda _: raw)

    return put


def test_outliers_are_those_that_were_put_in() -> None:
    assert facts(look("regression", "diabetes")) == {"outliers": 0}
    found = look(
        "regression", "diabetes",
        preprocessing={"target_outliers": {"share": 0.1, "low_sd": 6, "high_sd": 9}},
    )  # fmt: skip
    assert facts(found) == {"outliers": pytest.approx(27 / 266, abs=1e-4)}
    assert any("27 of 266 targets lie beyond 3.5 robust sd" in each.how for each in found)


def test_the_units_of_the_targets_do_not_matter(targets: Any) -> None:
    y = np.random.default_rng(0).normal(size=1000)
    y[::25] += 12
    targets(y)
    small = facts(look("regression", "diabetes"))
    assert small["outliers"] == pytest.approx(0.04, abs=0.01)
    targets(1e6 * y - 5e6)
    assert facts(look("regression", "diabetes")) == small


@pytest.mark.parametrize("seed", range(5))
def test_a_tail_is_told_from_outliers(targets: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    targets(rng.lognormal(size=2000))
    assert facts(look("regression", "diabetes")) == {"heavy_tailed": True}
    targets(rng.normal(size=2000))
    assert facts(look("regression", "diabetes"))["outliers"] < 0.005
    few = rng.normal(size=2000)
    few[:40] += 20
    targets(few)
    assert facts(look("regression", "diabetes"))["outliers"] == pytest.approx(0.02, abs=0.007)


def test_counts_and_amounts_are_told_from_numbers(targets: Any) -> None:
    rng = np.random.default_rng(0)
    targets(rng.poisson(2.0, 500).astype(np.float64))
    assert facts(look("regression", "diabetes")) == {"targets": "counts"}
    targets(rng.gamma(2.0, 3.0, 500) * (rng.random(500) < 0.7))
    assert facts(look("regression", "diabetes")) == {"targets": "amounts"}
    # Whole, but not counted from 0; and counts below 0.
    for shift in (25, -4):
        targets(rng.poisson(5.0, 500).astype(np.float64) + shift)
        assert "targets" not in facts(look("regression", "diabetes"))


def test_targets_that_hardly_vary_have_no_outliers_to_tell(targets: Any) -> None:
    y = np.full(200, 3.0)
    y[::10] = 4.5
    targets(y)
    found = look("regression", "diabetes")
    assert facts(found) == {}
    assert any("outliers cannot be told" in each.how for each in found)


def test_what_is_not_trained_on_says_nothing(targets: Any) -> None:
    y = np.random.default_rng(1).normal(size=500)
    order = np.random.default_rng(0).permutation(500)  # The split of seed 0.
    train, others = order[:300], order[300:]
    targets(y)
    before = look("regression", "diabetes")
    changed = y.copy()
    changed[others] = 1e6
    targets(changed)
    assert look("regression", "diabetes") == before
    changed = y.copy()
    changed[train[:30]] = 1e6
    targets(changed)
    assert facts(look("regression", "diabetes"))["outliers"] == pytest.approx(0.1, abs=0.005)


def test_imbalance_counts_the_training_split() -> None:
    dataset = {"synthetic_classification": {"num_classes": 3, "class_shares": [0.9, 0.08, 0.02]}}
    assert facts(look("multiclass", dataset)) == {"num_classes": 3, "imbalance": 45}
    # 212 and 357 samples, of which six in ten are kept.
    found = facts(look("binary", "breast_cancer"))
    assert found == {"imbalance": pytest.approx(357 / 212, rel=0.02)}


def test_a_class_without_a_training_sample_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_cache", loading.BundleCache())
    y = np.arange(100) % 2
    raw = RawData({"x": np.zeros((100, 2)), "y": y}, class_names=("a", "b", "c"))
    monkeypatch.setitem(LOADERS, "wine", lambda _: raw)
    found = look("multiclass", "wine", split={"stratified": False})
    assert any(each.how == "no training sample of class c" for each in found)
    assert facts(found)["imbalance"] < 1.5


def test_labels_of_a_sample() -> None:
    dataset = {"synthetic_multilabel": {"num_classes": 20, "mean_labels": 1}}
    found = look("multilabel", dataset)
    assert facts(found)["imbalance"] == pytest.approx(19, rel=0.25)
    assert any(" of 20 labels a sample" in each.how for each in found)


def test_ranks_that_are_cut_at_quantiles_are_balanced() -> None:
    found = look({"ordinal": {"ranks": 4}}, "diabetes")
    assert "4 ranks" in [each.how for each in found]
    assert facts(found)["imbalance"] < 1.2


def test_masks_tell_what_objects_cover() -> None:
    dataset = {"digit_scenes": {"num_samples": 60}}
    one = facts(look({"segmentation": {"target": "foreground"}}, dataset))
    assert one["masks"] == "binary"
    assert 0.01 < one["foreground"] < 0.1
    each = facts(look("segmentation", dataset))
    assert each["masks"] == "multiclass"
    # The rarest of ten digits covers at most a tenth of what all cover.
    assert each["foreground"] <= one["foreground"] / 10


def test_pixels_without_a_class_are_no_part_of_what_objects_cover() -> None:
    spec = fill(
        from_dict({"task": "segmentation", "dataset": {"digit_scenes": {"num_samples": 60}}})
    )
    bundle = data.load(spec)
    mask = bundle.train.arrays["mask"].clone()
    mask[:, :, 32:] = 255
    half = replace(
        bundle,
        train=DataSplit({**bundle.train.arrays, "mask": mask}),
        facts=StoredFacts(ignore_index=255),
    )
    left = mask[:, :, :32]
    (how,) = (each.how for each in of_masks(half, spec) if each.fact == "foreground")
    assert f"objects cover {float((left > 0).double().mean()):.2%} of the pixels" in how


def test_classes_that_training_sees_are_counted() -> None:
    assert facts(look("metric_learning", "digits")) == {"num_classes": 6}
    assert facts(look("metric_learning", "digit_pairs")) == {"known": "pairs"}
    assert facts(look("metric_learning", "digit_triplets")) == {"known": "triplets"}


def test_a_small_training_split_makes_small_batches() -> None:
    few = {"train": 0.4, "validation": 0.3, "test": 0.3}
    assert facts(look("self_supervised", "iris", split=few)) == {"batch_size": 60}
    assert facts(look("self_supervised", "digits")) == {}
    tiny = {"synthetic_classification": {"num_samples": 100, "num_classes": 10}}
    found = facts(look("metric_learning", tiny))
    assert found == {"num_classes": 6, "batch_size": pytest.approx(60, abs=3)}


def test_images_tell_what_no_network_is_needed_for() -> None:
    dataset = {"digit_scenes": {"num_samples": 60}}
    found = [each.how for each in look("image_translation", dataset)]
    assert "targets of 1 by 64 by 64, channels first, with pixels from 0 to 0.9909" in found
    (noisy,) = (how for how in found if how.startswith("as it comes in"))
    (black,) = (how for how in found if how.startswith("a black image"))
    raw = {"task": "image_translation", "dataset": dataset}
    raw |= {"preprocessing": {"standardise_inputs": False}}
    train = data.load(fill(from_dict(raw))).train.arrays
    plain, image = train["x"].double(), train["image"].double()
    for said, answer in ((noisy, plain), (black, 0 * plain)):
        psnr = float((-10 * (answer - image).square().mean((1, 2, 3)).log10()).mean())
        assert f"a PSNR of {psnr:.3g} dB" in said
    clean = look("image_translation", {"digit_scenes": {"num_samples": 60, "noise": 0}})
    assert any("of 100 dB: it is its target" in each.how for each in clean)


def test_heads_tell_what_tasks_are() -> None:
    heads: list[dict[str, Any]] = [{"depth": {}}, {"segmentation": {}}]
    found = look({"multitask": {"heads": heads}}, {"digit_scenes": {"num_samples": 60}})
    assert facts(found) == {"task_types": ["regression", "classification"]}


def test_inputs_that_lie_near_0_and_1_are_fractions() -> None:
    assert facts(look("vae", "digits")) == {"inputs": "fractions"}
    assert facts(look("vae", "wine")) == {"inputs": "values"}


def test_a_task_without_a_look_tells_nothing() -> None:
    assert look("gan", "wine") == ()


def test_sizes_and_proportions_of_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = look("detection", "digit_scenes")
    assert facts(plain) == {}
    assert plain[0].how == "600 samples in the training split"
    # Digits of 4 pixels, of a scene of 64.
    small = look("detection", {"digit_scenes": {"min_scale": 0.5, "max_scale": 0.5}})
    assert facts(small) == {"small_objects": True}
    found = look("detection", {"digit_scenes": {"min_digits": 3, "max_digits": 3}})
    assert "3 objects an image" in [each.how for each in found]

    def stretched(message: Any, split: Any) -> Any:
        raw, division = scenes(message, split)
        boxes = raw.arrays["boxes"].copy()
        boxes[..., 2] = boxes[..., 0] + 3 * (boxes[..., 3] - boxes[..., 1])
        return RawData({**raw.arrays, "boxes": boxes}, class_names=raw.class_names), division

    scenes = loading.DIVIDED["digit_scenes"]
    monkeypatch.setattr(loading, "_cache", loading.BundleCache())
    monkeypatch.setitem(loading.DIVIDED, "digit_scenes", stretched)
    assert facts(look("detection", "digit_scenes")) == {"elongated": True}

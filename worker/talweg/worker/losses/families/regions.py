"""Losses of regions: the overlap of predicted and true masks.

pred (N, C, …) are logits, or probabilities where from_logits is false. Under mode binary and
multilabel target has the same shape, under multiclass it holds class indices (N, …). Positions
whose target is ignore_index leave every sum; where nothing is left the loss is 0.
"""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from talweg.v1 import losses_pb2 as pb
from talweg.worker.losses import checks
from talweg.worker.losses.base import (
    Classes,
    Factors,
    LossModule,
    Part,
    reduction_of,
    same_precision,
    take_logits,
)
from talweg.worker.losses.embedding_base import (
    Pooled,
    Single,
    choice_of,
    ignore_index_of,
    take_alike,
)
from talweg.worker.losses.families.classification import CrossEntropy
from talweg.worker.losses.functional import _safe, lovasz, regions


class _Masks(Classes):
    """Masks, of which three sums by sample and class are all that is needed.

    Values are by sample and class (N, C), or by class (C,) where batch is true.
    """

    def __init__(self, spec: pb.Dice | pb.Jaccard | pb.Tversky | pb.FocalTversky) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.batch = spec.batch
        if self.batch and self.reduction == "none":
            raise ValueError(
                "reduction must be mean or sum where batch is true, which pools the samples, "
                "but got none"
            )
        self.mode = cast(regions.Mode, choice_of(spec, "mode"))
        self.from_logits = spec.from_logits
        self.include_background = spec.include_background
        self.ignore_index = ignore_index_of(spec)
        self.smooth = {"smooth_nr": spec.smooth_nr, "smooth_dr": spec.smooth_dr}
        self.squared = False

    def check_values(self, inputs: Mapping[str, Tensor]) -> None:
        """Refuse classes out of range, and answers and probabilities outside [0, 1]."""
        if self.mode == "multiclass":
            super().check_values(inputs)
        elif "target" in inputs:
            checks.require_between("target", inputs["target"], 0, 1, self.ignore_index)
        if "pred" in inputs and not self.from_logits:
            checks.require_between("pred", inputs["pred"], 0, 1)

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        checks.require_names(inputs, self.input_names)
        pred, target = inputs["pred"], inputs["target"]
        if self.mode == "multiclass":
            pred, target = self._take_indices(pred, target)
        else:
            pred = take_logits(pred)
            by_class = target.shape == pred.shape[:1] + pred.shape[2:]
            hint = " (class indices go with mode multiclass)" if by_class else ""
            checks.require_shape("target", target, pred.shape, f"the shape of pred{hint}")
            if target.is_complex():
                checks.require_floats("target", target)
            pred, target = same_precision(pred, target)
        if pred.dim() == 2:
            # One position a sample.
            pred, target = pred[:, :, None], target[..., None]
        return pred, target

    def _sums(self, pred: Tensor, target: Tensor) -> regions.Overlap:
        return regions.overlap(
            pred,
            target,
            self.mode,
            from_logits=self.from_logits,
            batch=self.batch,
            include_background=self.include_background,
            squared=self.squared,
            ignore_index=self.ignore_index,
        )


class Dice(_Masks):
    """Dice loss: the overlap of masks by twice their intersection.

    L = 1 - (2I + smooth_nr) / (P + T + smooth_dr), with I = Σ p t, P = Σ p, T = Σ t

    Args:
        mode: What the channels of a mask are: binary (default), multilabel or multiclass.
        from_logits: Apply the sigmoid or softmax first; pred are probabilities where false;
            default true.
        smooth_nr: Added above: what empty masks give; ≥ 0, default 1e-5.
        smooth_dr: Added below; ≥ 0, default 1e-5.
        batch: Pool the samples of the batch, and not each by itself; default false.
        include_background: Count class 0; it is left out after the softmax; default true.
        squared: Add up squares of predictions and targets below; default false.
        ignore_index: Positions whose target is this count for nothing; none where absent.
        reduction: mean (default), sum or none.

    Inputs: pred (N, C, …); target (N, C, …) in [0, 1] (binary, multilabel) or (N, …) class index
        (multiclass).
    Returns: A value a sample and class (N, C), a class (C,) where batch is true, or the reduced
        scalar.
    Reference: Milletari et al. 2016, https://arxiv.org/abs/1606.04797
    """

    def __init__(self, spec: pb.Dice) -> None:
        """Make the loss of a filled message."""
        super().__init__(spec)
        self.squared = spec.squared

    def _values(self, pred: Tensor, target: Tensor) -> Tensor:
        return regions.dice(self._sums(pred, target), **self.smooth)


class Jaccard(_Masks):
    """Jaccard loss: the overlap of masks by intersection over union.

    L = 1 - (I + smooth_nr) / (P + T - I + smooth_dr), with I = Σ p t, P = Σ p, T = Σ t

    Args:
        mode: What the channels of a mask are: binary (default), multilabel or multiclass.
        from_logits: Apply the sigmoid or softmax first; pred are probabilities where false;
            default true.
        smooth_nr: Added above: what empty masks give; ≥ 0, default 1e-5.
        smooth_dr: Added below; ≥ 0, default 1e-5.
        batch: Pool the samples of the batch, and not each by itself; default false.
        include_background: Count class 0; it is left out after the softmax; default true.
        squared: Add up squares of predictions and targets below; default false.
        ignore_index: Positions whose target is this count for nothing; none where absent.
        reduction: mean (default), sum or none.

    Inputs: pred (N, C, …); target (N, C, …) in [0, 1] (binary, multilabel) or (N, …) class index
        (multiclass).
    Returns: A value a sample and class (N, C), a class (C,) where batch is true, or the reduced
        scalar.
    Reference: Rahman and Wang 2016, https://doi.org/10.1007/978-3-319-50835-1_22
    """

    def __init__(self, spec: pb.Jaccard) -> None:
        """Make the loss of a filled message."""
        super().__init__(spec)
        self.squared = spec.squared

    def _values(self, pred: Tensor, target: Tensor) -> Tensor:
        return regions.jaccard(self._sums(pred, target), **self.smooth)


class Tversky(_Masks):
    """Tversky loss: the overlap of masks, false positives and negatives weighed apart.

    L = 1 - (TP + smooth_nr) / (TP + alpha FP + beta FN + smooth_dr)

    Args:
        alpha: Weight of false positives; ≥ 0, default 0.3.
        beta: Weight of false negatives; ≥ 0, default 0.7.
        mode: What the channels of a mask are: binary (default), multilabel or multiclass.
        from_logits: Apply the sigmoid or softmax first; pred are probabilities where false;
            default true.
        smooth_nr: Added above: what empty masks give; ≥ 0, default 1e-5.
        smooth_dr: Added below; ≥ 0, default 1e-5.
        batch: Pool the samples of the batch, and not each by itself; default false.
        include_background: Count class 0; it is left out after the softmax; default true.
        ignore_index: Positions whose target is this count for nothing; none where absent.
        reduction: mean (default), sum or none.

    Inputs: pred (N, C, …); target (N, C, …) in [0, 1] (binary, multilabel) or (N, …) class index
        (multiclass).
    Returns: A value a sample and class (N, C), a class (C,) where batch is true, or the reduced
        scalar.
    Reference: Salehi et al. 2017, https://arxiv.org/abs/1706.05721
    """

    def __init__(self, spec: pb.Tversky) -> None:
        """Make the loss of a filled message."""
        super().__init__(spec)
        self.weights = {"alpha": spec.alpha, "beta": spec.beta}

    def _values(self, pred: Tensor, target: Tensor) -> Tensor:
        return regions.tversky(self._sums(pred, target), **self.weights, **self.smooth)


class FocalTversky(_Masks):
    """Focal Tversky loss: the Tversky loss to a power, by sample and class.

    L = tversky^gamma, tversky = 1 - (TP + smooth_nr) / (TP + alpha FP + beta FN + smooth_dr)

    Args:
        alpha: Weight of false positives; ≥ 0, default 0.3.
        beta: Weight of false negatives; ≥ 0, default 0.7.
        gamma: The power; > 0, default 0.75.
        mode: What the channels of a mask are: binary (default), multilabel or multiclass.
        from_logits: Apply the sigmoid or softmax first; pred are probabilities where false;
            default true.
        smooth_nr: Added above: what empty masks give; ≥ 0, default 1e-5.
        smooth_dr: Added below; ≥ 0, default 1e-5.
        batch: Pool the samples of the batch, and not each by itself; default false.
        include_background: Count class 0; it is left out after the softmax; default true.
        ignore_index: Positions whose target is this count for nothing; none where absent.
        reduction: mean (default), sum or none.

    Inputs: pred (N, C, …); target (N, C, …) in [0, 1] (binary, multilabel) or (N, …) class index
        (multiclass).
    Returns: A value a sample and class (N, C), a class (C,) where batch is true, or the reduced
        scalar.
    Reference: Abraham and Khan 2019, https://arxiv.org/abs/1810.07842
    """

    def __init__(self, spec: pb.FocalTversky) -> None:
        """Make the loss of a filled message."""
        super().__init__(spec)
        self.weights = {"alpha": spec.alpha, "beta": spec.beta, "gamma": spec.gamma}

    def _values(self, pred: Tensor, target: Tensor) -> Tensor:
        return regions.focal_tversky(self._sums(pred, target), **self.weights, **self.smooth)


class CeDice(Pooled, Classes):
    """Cross-entropy and the dice loss of classes, weighed and added.

    L = ce_weight CE + dice_weight Dice, each reduced by itself

    From probabilities CE is -log p, at most 100. Both leave out what is ignored.

    Args:
        ce_weight: Weight of cross-entropy; ≥ 0, default 1.
        dice_weight: Weight of the dice loss; ≥ 0, default 1.
        from_logits: Apply the softmax first; pred are probabilities where false; default true.
        smooth_nr: Added above: what empty masks give; ≥ 0, default 1e-5.
        smooth_dr: Added below; ≥ 0, default 1e-5.
        batch: Pool the samples of the batch, and not each by itself; default false.
        include_background: Count class 0; it is left out after the softmax; default true.
        squared: Add up squares of predictions and targets below; default false.
        ignore_index: Positions whose target is this count for nothing; none where absent.
        reduction: mean (default), each part over what it counts, or sum.

    Inputs: pred (N, C, …); target (N, …) class index.
    Returns: A scalar.
    Reference: Isensee et al. 2018, https://arxiv.org/abs/1809.10486
    """

    def __init__(self, spec: pb.CeDice) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.weights = spec.ce_weight, spec.dice_weight
        self.from_logits = spec.from_logits
        self.ignore_index = ignore_index_of(spec)
        reduction = pb.Reduction.Kind.Value(self.reduction)
        smooth = {"smooth_nr": spec.smooth_nr, "smooth_dr": spec.smooth_dr}
        self.dice = Dice(
            pb.Dice(
                mode=pb.MaskMode.Kind.multiclass,
                from_logits=spec.from_logits,
                batch=spec.batch,
                include_background=spec.include_background,
                squared=spec.squared,
                ignore_index=self.ignore_index,
                reduction=reduction,
                **smooth,
            )
        )
        ignored = -100 if self.ignore_index is None else self.ignore_index
        # Tells by what the mean of cross-entropy divides.
        self.ce = CrossEntropy(pb.CrossEntropy(ignore_index=ignored, reduction=reduction))

    def forward(self, inputs: Mapping[str, Tensor], factors: Factors = (1.0, 1.0)) -> Tensor:
        """Return the loss; see `LossModule.forward`, and `LossModule.summands` for factors."""
        pred, target = self._take(inputs)
        parts = zip(self._parts(pred, target), factors, strict=True)
        return _safe.weighed_sum(self.weights, [part.value * by for part, by in parts], pred)

    @property
    def summands(self) -> tuple[LossModule, ...]:
        """Both parts where they divide by different counts; see `LossModule.summands`."""
        return () if self.ignore_index is None else (self.ce, self.dice)

    def check_values(self, inputs: Mapping[str, Tensor]) -> None:
        """Refuse classes out of range and probabilities outside [0, 1]."""
        self.dice.check_values(inputs)

    def parts(self, inputs: Mapping[str, Tensor]) -> list[Part]:
        """Return cross-entropy and Dice, which divide by different counts."""
        ce, dice = self._parts(*self._take(inputs))
        return [ce, dice]

    def _parts(self, pred: Tensor, target: Tensor) -> tuple[Part, Part]:
        if self.ignore_index is not None:
            pred = _safe.keep(pred, target != self.ignore_index)
        log_share = F.log_softmax(pred, 1) if self.from_logits else _safe.log(pred)
        ignored = -100 if self.ignore_index is None else self.ignore_index
        ce = F.nll_loss(log_share, target, ignore_index=ignored, reduction="sum")
        count = None
        if self.reduction == "mean":
            count = torch.ne(target, ignored).sum()
            ce = ce / count.clamp(min=1)
        (dice,) = self.dice.parts({"pred": pred, "target": target})
        return Part(ce, count, self.weights[0]), dice._replace(factor=self.weights[1])


class LovaszSoftmax(Single, Classes):
    """Lovász-softmax loss: the Lovász extension Δ of the Jaccard loss, over classes.

    L = mean_c Δ(|[y = c] - p_c|), with p = softmax(pred)

    Args:
        classes: The classes that the mean is over: present (default) or all.
        per_image: Treat each sample by itself and average them, and do not pool the batch; default
            false.
        ignore_index: Positions whose target is this count for nothing; none where absent.
        reduction: mean (default) or sum, which are the same.

    Inputs: pred (N, C, …); target (N, …) class index.
    Returns: A scalar: the formula gives one number a batch.
    Reference: Berman et al. 2018, https://arxiv.org/abs/1705.08790
    """

    def __init__(self, spec: pb.LovaszSoftmax) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.present = choice_of(spec, "classes") == "present"
        self.per_image = spec.per_image
        self.ignore_index = ignore_index_of(spec)

    def _pooled(self, pred: Tensor, target: Tensor) -> Tensor:
        if pred.dim() == 2:
            pred, target = pred[:, :, None], target[:, None]
        return lovasz.lovasz_softmax(
            pred,
            target,
            present=self.present,
            per_image=self.per_image,
            ignore_index=self.ignore_index,
        )


class LovaszHinge(Single):
    """Lovász hinge loss: the Lovász extension Δ of the Jaccard loss, over one kind of object.

    L = Δ(max(0, 1 - z sign)), with sign = 2 y - 1, z = pred

    Args:
        reduction: mean (default) or sum, which are the same.

    Inputs: pred (N, …); target (N, …) 0 or 1.
    Returns: A scalar: the formula gives one number a batch.
    Reference: Yu and Blaschko 2015, https://arxiv.org/abs/1512.07797
    """

    def __init__(self, spec: pb.LovaszHinge) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))

    def check_values(self, inputs: Mapping[str, Tensor]) -> None:
        """Refuse targets other than 0 and 1; see `LossModule.check_values`."""
        if "target" in inputs:
            checks.require_one_of("target", inputs["target"], (0, 1))

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        checks.require_names(inputs, self.input_names)
        pred, target = inputs["pred"], inputs["target"]
        (pred,) = take_alike(inputs, ("pred",), "")
        checks.require_shape("target", target, pred.shape, "the shape of pred")
        if target.is_complex():
            checks.require_floats("target", target)
        return pred, target

    def _pooled(self, pred: Tensor, target: Tensor) -> Tensor:
        return lovasz.lovasz_hinge(pred, target)


BUILDERS: dict[str, type[LossModule]] = {
    "dice": Dice,
    "jaccard": Jaccard,
    "tversky": Tversky,
    "focal_tversky": FocalTversky,
    "lovasz_softmax": LovaszSoftmax,
    "lovasz_hinge": LovaszHinge,
    "ce_dice": CeDice,
}
"""The losses of this family."""

"""Advice on generators and on several tasks at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from talweg.spec.advice._conditions import Facts, given, is_
from talweg.spec.advice._table import NEVER, Bar, Form, Note, Row, Table, Template
from talweg.v1 import options_pb2

_STEADIED = is_("critic", "gradient_penalty", "clipped", "spectral_norm")


def _held(facts: Facts) -> Mapping[str, Any]:
    """Give what holds a job's critic."""
    held: Mapping[str, Mapping[str, Any]] = {
        "gradient_penalty": {"gradient_penalty": 10},
        "clipped": {"weight_clip": 0.01},
    }
    return held.get(facts.get("critic", ""), {})


GAN = Table(
    task=options_pb2.GAN,
    losses={
        "hinge": {"gan": {"form": "hinge"}},
        "bce": {"gan": {"form": "bce", "generator": "non_saturating"}},
        "lsgan": {"gan": {"form": "lsgan"}},
        "wgan": {"gan": {"form": "wgan"}},
    },
    rows=(
        Row("hinge", 60, "the most stable: samples beyond the margin have no gradient"),
        Row("bce", 40, "the original GAN loss; the generator's side does not saturate where the "
                       "discriminator wins"),
        Row("lsgan", 30, "samples that fool the discriminator but are far off still have a "
                         "gradient"),
        Row("hinge", 20, "spectral normalisation bounds the discriminator's gradient, which "
                         "hinge is commonly combined with", is_("critic", "spectral_norm")),
        Row("wgan", 80, "with a gradient penalty the critic estimates a distance, which "
                        "decreases as samples improve", is_("critic", "gradient_penalty")),
        Row("wgan", 0, "add gradient_penalty to the discriminator's loss, with weight 10",
            is_("critic", "gradient_penalty")),
        Row("wgan", 45, "weight clipping bounds the critic's gradient", is_("critic", "clipped")),
        Row("wgan", 0, "clipping limits the critic's capacity: a gradient penalty does better",
            is_("critic", "clipped")),
        Row("wgan", 20, "spectral normalisation bounds the critic's gradient",
            is_("critic", "spectral_norm")),
    ),
    notes=(
        Note("wgan is not listed: without a gradient penalty, weight clipping or spectral "
             "normalisation the critic's loss runs to minus infinity.", ~_STEADIED),
        Note("This is the discriminator's loss; the generator's is the same with side: "
             "generator."),
        Note("GAN losses do not measure sample quality, and may be negative: evaluate the "
             "samples."),
    ),
    settings=_held,
    bars=(
        Bar("the critics of jobs have no spectral normalisation; use gradient_penalty or "
            "weight_clip of the task", is_("critic", "spectral_norm"), "wgan"),
    ),
)  # fmt: skip
"""A generator against a discriminator."""


def _vae(recon: str) -> Template:
    """Give the bound with a likelihood, its divergence weighed as the facts ask."""

    def form(facts: Facts) -> Form:
        beta = 4.0 if "disentangled" in facts else 0.5 if "code_ignored" in facts else 1.0
        return {"vae": {"recon": recon, "beta": beta}}

    return form


_WEIGHED = tuple(
    row
    for name in ("gaussian", "bce_logits", "mse")
    for row in (
        Row(name, 1, "beta 4 encourages independent latent dimensions",
            given("disentangled")),
        Row(name, 0, "larger beta makes samples blurrier", given("disentangled")),
        Row(name, 1, "beta 0.5 makes the latent code cheaper, so that the decoder uses it",
            given("code_ignored")),
    )
)  # fmt: skip

VAE = Table(
    task=options_pb2.VAE,
    losses={
        "gaussian": _vae("gaussian"),
        "bce_logits": _vae("bce_logits"),
        "mse": _vae("mse"),
    },
    rows=(
        Row("gaussian", 45, "real values with Gaussian noise; an exact bound, including "
                            "constants"),
        Row("bce_logits", 40, "values in [0, 1] that are mostly near 0 or 1"),
        Row("mse", 20, "as gaussian with variance 1/2, without the constant"),
        Row("gaussian", 30, "the inputs are any real values", is_("inputs", "values")),
        Row("bce_logits", 40, "the inputs are in [0, 1], like binary values",
            is_("inputs", "fractions")),
        Row("bce_logits", NEVER, "", is_("inputs", "values")),
        *_WEIGHED,
    ),
    notes=(
        Note("The reconstruction is summed over the dimensions. With the mean, as often written, "
             "the KL divergence would weigh as many times more as there are dimensions."),
        Note("The right likelihood depends on the inputs: state whether they are values or "
             "fractions.", ~given("inputs")),
    ),
)  # fmt: skip
"""Samples and a code for them."""


def _kendall(facts: Facts) -> Form:
    types = facts.get("task_types", [])
    values = {"variant": "kendall", "task_types": types, **_starts(facts, types)}
    return {"uncertainty": {**values, **_of_heads(facts)}}


def _simple(facts: Facts) -> Form:
    starts = _starts(facts, [""] * len(facts.get("first_losses", ())))
    return {"uncertainty": {"variant": "simple", **starts, **_of_heads(facts)}}


def _gradnorm(facts: Facts) -> Form:
    return {"gradnorm": _of_heads(facts)}


def _of_heads(facts: Facts) -> dict[str, Any]:
    """Give each task's own loss: those for which Kendall's weighting is derived."""
    usual = {"regression": "mse", "classification": "cross_entropy"}
    types = facts.get("task_types", ())
    return {"losses": [usual[kind] for kind in types]} if types else {}


def _starts(facts: Facts, types: list[str]) -> dict[str, list[float]]:
    """Give the log variances at which the first losses would weigh what they should.

    e^-s L/2 + s/2 is least at s = log L, e^-s L + s/2 at log 2L, e^-s L + s at log L.
    """
    losses = facts.get("first_losses", ())
    starts = [
        math.log(2 * loss if kind == "classification" else loss)
        for loss, kind in zip(losses, types, strict=False)
    ]
    bounded = [round(min(20.0, max(-20.0, start)), 4) for start in starts]
    return {"initial_log_vars": bounded} if bounded else {}


_TYPES = given("task_types")
_SCALES = given("first_losses")

MULTITASK = Table(
    task=options_pb2.MULTITASK,
    losses={
        "kendall": _kendall,
        "simple": _simple,
        "gradnorm": _gradnorm,
    },
    rows=(
        Row("kendall", 60, "each task's weight is learned with the model, with the "
                           "factors of its likelihood: the optimum for a classification "
                           "is 1/(2L), not 1/L", _TYPES),
        Row("simple", 50, "each task's weight is learned with the model: 1/L at the optimum"),
        Row("gradnorm", 40, "weights are learned from the tasks' gradients, so that all train at "
                            "the same rate"),
        Row("gradnorm", 0, "it needs the gradients at the last shared layer, which costs time"),
        Row("kendall", 10, "its initial weights follow from the first losses, so that no task "
                           "dominates before the weights have adapted", _SCALES & _TYPES),
        Row("simple", 10, "its initial weights follow from the first losses, so that no task "
                          "dominates before the weights have adapted", _SCALES),
        *(Row(name, 0, "add its losses, one per task, in the order of "
                       "task.multitask.heads", ~_TYPES)
          for name in ("simple", "gradnorm")),
        Row("gradnorm", 40, "tasks train at different speeds, and it helps the slow ones",
            given("speeds_differ")),
    ),
    notes=(
        Note("A job declares its tasks in task.multitask.heads, in the order of their losses. "
             "Each can have any loss: start with mse and cross_entropy."),
        Note("Its value may be negative, which is not an error."),
        Note("Fixed weights must match the scales, such as 1 / the first loss; a round factor "
             "such as 100 on the smaller loss rarely does."),
        Note("State which tasks are regressions and which classifications (task_types): e^-s L + "
             "s, often called Kendall's weighting, is not from that paper.", ~_TYPES),
    ),
)  # fmt: skip
"""Several tasks in one model."""

"""Advice on GANs, VAEs and multitask learning."""

import math
from collections.abc import Mapping
from typing import Any

from talweg.spec.advice._conditions import Facts, given, is_
from talweg.spec.advice._table import NEVER, Bar, Form, Note, Row, Table, Template
from talweg.v1 import options_pb2

_STEADIED = is_("critic", "gradient_penalty", "clipped", "spectral_norm")


def _held(facts: Facts) -> Mapping[str, Any]:
    """Return the task's setting that bounds the critic."""
    settings: Mapping[str, Mapping[str, Any]] = {
        "gradient_penalty": {"gradient_penalty": 10},
        "clipped": {"weight_clip": 0.01},
    }
    return settings.get(facts.get("critic", ""), {})


GAN = Table(
    task=options_pb2.GAN,
    losses={
        "hinge": {"gan": {"form": "hinge"}},
        "bce": {"gan": {"form": "bce", "generator": "non_saturating"}},
        "lsgan": {"gan": {"form": "lsgan"}},
        "wgan": {"gan": {"form": "wgan"}},
    },
    rows=(
        Row("hinge", 60, "the most stable form: samples beyond the margin have no gradient"),
        Row("bce", 40, "the original form; the non-saturating generator loss has a gradient even "
            "where the discriminator wins"),
        Row("lsgan", 30, "samples that fool the discriminator but are far from the data still "
            "have a gradient"),
        Row("hinge", 20, "spectral normalisation bounds the slope of the discriminator and is "
            "commonly used with hinge", is_("critic", "spectral_norm")),
        Row("wgan", 80, "with a gradient penalty the critic estimates a distance, which "
            "decreases as samples improve", is_("critic", "gradient_penalty")),
        Row("wgan", 0, "add gradient_penalty with weight 10 to the discriminator loss",
            is_("critic", "gradient_penalty")),
        Row("wgan", 45, "weight clipping bounds the slope of the critic",
            is_("critic", "clipped")),
        Row("wgan", 0, "clipping makes the critic too simple; a gradient penalty works better",
            is_("critic", "clipped")),
        Row("wgan", 20, "spectral normalisation bounds the slope of the critic",
            is_("critic", "spectral_norm")),
    ),
    notes=(
        Note("wgan is left out: without a bound its loss diverges to minus infinity. It needs a "
             "gradient penalty, weight clipping or spectral normalisation of the critic.",
             ~_STEADIED),
        Note("This is the discriminator loss; that of the generator is the same with side: "
             "generator."),
        Note("The losses of a GAN do not measure sample quality and can be negative: evaluate the "
             "samples."),
    ),
    settings=_held,
    bars=(
        Bar("the critics of jobs have no spectral norm; bound them by gradient_penalty or "
            "weight_clip of the task", is_("critic", "spectral_norm"), "wgan"),
    ),
)  # fmt: skip
"""Generative adversarial networks."""


def _vae(recon: str) -> Template:
    """Return the ELBO with a likelihood and the beta that the facts ask for."""

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
        Row(name, 0, "a larger beta makes samples blurrier", given("disentangled")),
        Row(name, 1, "beta 0.5 makes the code cheaper, so the decoder uses it",
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
        Row("gaussian", 45, "real values with normal noise; the ELBO is exact, including "
            "constants"),
        Row("bce_logits", 40, "values in [0, 1], mostly close to 0 or 1"),
        Row("mse", 20, "like gaussian with a variance of one half, without the constant"),
        Row("gaussian", 30, "the inputs are real values", is_("inputs", "values")),
        Row("bce_logits", 40, "the inputs are in [0, 1], like a Bernoulli probability",
            is_("inputs", "fractions")),
        Row("bce_logits", NEVER, "", is_("inputs", "values")),
        *_WEIGHED,
    ),
    notes=(
        Note("The reconstruction is summed over the dimensions. Averaged over them, as often "
             "written, the divergence would have that many times more weight."),
        Note("The right likelihood depends on the inputs: say whether they are values or "
             "fractions (--inputs).", ~given("inputs")),
    ),
)  # fmt: skip
"""Variational autoencoders."""


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
    """Return the loss of each task for which Kendall's weighting is derived."""
    usual = {"regression": "mse", "classification": "cross_entropy"}
    types = facts.get("task_types", ())
    return {"losses": [usual[kind] for kind in types]} if types else {}


def _starts(facts: Facts, types: list[str]) -> dict[str, list[float]]:
    """Return the optimal log variances for the first losses.

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
        Row("kendall", 60, "the weight of each task is trained with the model, in the form of the "
            "paper: at the optimum a classification has 1/(2L), not 1/L", _TYPES),
        Row("simple", 50, "the weight of each task is trained with the model: 1/L at the optimum"),
        Row("gradnorm", 40, "the weights adapt to the gradients of the tasks, so that all train "
            "at the same rate"),
        Row("gradnorm", 0, "it computes the gradients at the last shared layer, which costs time"),
        Row("kendall", 10, "its initial weights follow the first losses, so no task dominates the "
            "others before the weights have adapted", _SCALES & _TYPES),
        Row("simple", 10, "its initial weights follow the first losses, so no task dominates the "
            "others before the weights have adapted", _SCALES),
        *(
            Row(name, 0, "add its losses, one per task, in the order of task.multitask.heads",
                ~_TYPES)
            for name in ("simple", "gradnorm")
        ),
        Row("gradnorm", 40, "tasks learn at different speeds, and it helps the slow ones",
            given("speeds_differ")),
    ),
    notes=(
        Note("A job lists its tasks in task.multitask.heads, in the order of their losses. Choose "
             "the loss of each task separately; start with mse and cross_entropy."),
        Note("Its value can be negative, which is not a bug."),
        Note("Fixed weights must follow the scale of the losses, such as 1 / the first loss; a "
             "round factor such as 100 on the smaller loss seldom does."),
        Note("Say which tasks are regressions and which classifications (task_types): e^-s L + "
             "s, often called Kendall's weighting, is not the form of the paper.", ~_TYPES),
    ),
)  # fmt: skip
"""Multitask learning."""

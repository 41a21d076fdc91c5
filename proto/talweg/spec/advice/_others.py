"""Advice on generators and on several tasks at once."""

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
        Row("hinge", 60, "the steadiest: samples beyond the margin pull no more"),
        Row("bce", 40, "the original game; the generator's side does not saturate where the "
            "discriminator wins"),
        Row("lsgan", 30, "samples that fool the discriminator, but lie far off, still pull"),
        Row("hinge", 20, "a spectral norm bounds the discriminator's slope, which is what hinge "
            "is used with", is_("critic", "spectral_norm")),
        Row("wgan", 80, "with a penalty on its gradient the critic measures a distance, which "
            "falls as samples become better", is_("critic", "gradient_penalty")),
        Row("wgan", 0, "add gradient_penalty to the discriminator's side, of weight 10",
            is_("critic", "gradient_penalty")),
        Row("wgan", 45, "clipped weights bound the critic's slope", is_("critic", "clipped")),
        Row("wgan", 0, "clipping makes the critic too simple: a penalty does better",
            is_("critic", "clipped")),
        Row("wgan", 20, "a spectral norm bounds the critic's slope",
            is_("critic", "spectral_norm")),
    ),
    notes=(
        Note("wgan is left out: by means alone the critic runs to minus infinity, so that it "
             "needs a penalty on its gradient, clipped weights or a spectral norm.", ~_STEADIED),
        Note("This is the discriminator's side; the generator's is the same with side: "
             "generator."),
        Note("Losses of a game do not tell how good samples are, and may be below 0: judge by "
             "the samples."),
    ),
    settings=_held,
    bars=(
        Bar("the critics of jobs have no spectral norm; a gradient_penalty or weight_clip of the "
            "task holds them", is_("critic", "spectral_norm"), "wgan"),
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
        Row(name, 1, "beta 4 presses each number of the code to stand for itself",
            given("disentangled")),
        Row(name, 0, "samples become blurrier the larger beta is", given("disentangled")),
        Row(name, 1, "beta 0.5 lets the code cost less, so that the decoder uses it",
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
        Row("gaussian", 45, "numbers with normal noise; the bound is a true one, constants and "
            "all"),
        Row("bce_logits", 40, "numbers from 0 to 1 that mostly lie near either"),
        Row("mse", 20, "as gaussian with a variance of one half, without the constant"),
        Row("gaussian", 30, "the inputs are any numbers", is_("inputs", "values")),
        Row("bce_logits", 40, "the inputs lie from 0 to 1, as yes or no does",
            is_("inputs", "fractions")),
        Row("bce_logits", NEVER, "", is_("inputs", "values")),
        *_WEIGHED,
    ),
    notes=(
        Note("The reconstruction is summed over the dimensions: averaged over them, as often "
             "written, the divergence weighs as many times more."),
        Note("Which likelihood is right depends on the inputs: say whether they are values or "
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
        Row("kendall", 60, "each task's weight is learnt with the model, halves and all as its "
            "likelihood has them: a classification's is 1/(2L) at its best, not 1/L", _TYPES),
        Row("simple", 50, "each task's weight is learnt with the model: 1/L at its best"),
        Row("gradnorm", 40, "weights learn from the tasks' gradients, so that all train at one "
            "pace"),
        Row("gradnorm", 0, "it needs the gradients at the last shared layer, which costs time"),
        Row("kendall", 10, "it begins with weights by the first losses, so that no task drowns "
            "the others before the weights have learnt", _SCALES & _TYPES),
        Row("simple", 10, "it begins with weights by the first losses, so that no task drowns "
            "the others before the weights have learnt", _SCALES),
        *(Row(name, 0, "add its losses, one a task, in the order of task.multitask.heads", ~_TYPES)
          for name in ("simple", "gradnorm")),
        Row("gradnorm", 40, "tasks learn at different speeds, and it helps the slow ones",
            given("speeds_differ")),
    ),
    notes=(
        Note("A job says in task.multitask.heads what its tasks are, in the order of their "
             "losses. Which loss each has is its own choice: begin with mse and cross_entropy."),
        Note("Its value may well be below 0, which is no mistake."),
        Note("Fixed weights must go by scale, such as 1 / the first loss; a round factor such as "
             "100 on the smaller loss seldom does."),
        Note("Say which tasks are regressions and which classifications (task_types): e^-s L + "
             "s, often called Kendall's weighting, is not his.", ~_TYPES),
    ),
)  # fmt: skip
"""Several tasks in one model."""

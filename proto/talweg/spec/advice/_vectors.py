"""Advice on embeddings: metric learning and self-supervised learning."""

from talweg.spec.advice._conditions import ALWAYS, above, at_least, below, given, is_
from talweg.spec.advice._table import ASKED, NEVER, Note, Row, Table
from talweg.v1 import options_pb2

_SMALL_BATCH = 64
_LARGE_BATCH = 256
_MANY_CLASSES = 1000
_SMALL = below("batch_size", _SMALL_BATCH)
_LARGE = at_least("batch_size", _LARGE_BATCH)
_NO_LABELS = is_("known", "pairs", "triplets", "order")
_SOME_NOISE = above("noisy_labels", 0)
_BY_LABELS = ("supcon", "multi_similarity", "semihard", "circle", "arcface", "cosface")

METRIC_LEARNING = Table(
    task=options_pb2.METRIC_LEARNING,
    losses={
        "supcon": "supcon",
        "multi_similarity": "multi_similarity",
        "semihard": {"online_triplet": {"strategy": "semihard", "margin": 0.2, "normalize": True}},
        "circle": "circle",
        "arcface": "arcface",
        "cosface": "cosface",
        "contrastive": "contrastive",
        "cosine_embedding": "cosine_embedding",
        "triplet": "triplet",
        "margin_ranking": {"margin_ranking": {"margin": 1}},
    },
    rows=(
        Row("supcon", 50, "it compares each sample with all others of its class and of the batch"),
        Row("multi_similarity", 40, "like supcon, with more weight for hard pairs"),
        Row("semihard", 35, "it mines triplets in the batch, none of them too hard; normalised "
            "embeddings give the margin a meaning"),
        Row("circle", 30, "it gives pairs far from their optimum the most weight"),
        Row("arcface", 32, "it compares samples with one vector per class, not with each other"),
        Row("cosface", 28, "like arcface, with gradients that are easier to optimise"),
        Row("supcon", 15, "batches are large, with many pairs per sample", _LARGE),
        Row("arcface", 40, "batches are small, and it does not depend on their composition",
            _SMALL),
        Row("cosface", 35, "batches are small, and it does not depend on their composition",
            _SMALL),
        Row("supcon", -10, "in small batches few samples have a partner of their class", _SMALL),
        Row("semihard", -10, "small batches have few triplets", _SMALL),
        Row("arcface", 30, "a batch has few of {num_classes} classes, and it compares with all of "
            "them", at_least("num_classes", _MANY_CLASSES)),
        Row("cosface", 28, "a batch has few of {num_classes} classes, and it compares with all of "
            "them", at_least("num_classes", _MANY_CLASSES)),
        Row("supcon", 10, "it averages over all positives, so a single wrong label matters little",
            _SOME_NOISE),
        Row("multi_similarity", -20, "the hard pairs to which it gives the most weight are often "
            "wrong labels", _SOME_NOISE),
        Row("circle", -15, "the far pairs to which it gives the most weight are often wrong "
            "labels", _SOME_NOISE),
        Row("semihard", 5, "hard triplets are often wrong labels, and it skips them",
            _SOME_NOISE),
        # Supervision.
        Row("contrastive", ASKED, "it takes matching and non-matching pairs, by squared Euclidean "
            "distance on both sides of the margin", is_("known", "pairs")),
        Row("cosine_embedding", 100, "it takes such pairs too, by cosine similarity",
            is_("known", "pairs")),
        Row("triplet", ASKED, "it takes triplets directly", is_("known", "triplets")),
        Row("margin_ranking", ASKED, "it only needs to know which of two is higher",
            is_("known", "order")),
        Row("margin_ranking", 0, "jobs have no data on which of two is higher; there it orders "
            "the cosine similarities of classes or triplets", is_("known", "order")),
        *(Row(name, NEVER, "", _NO_LABELS) for name in _BY_LABELS),
    ),
    notes=(
        Note("Batches need several samples per class; otherwise there are no positive pairs.",
             ~_NO_LABELS),
    ),
)  # fmt: skip
"""Metric learning."""

SELF_SUPERVISED = Table(
    task=options_pb2.SELF_SUPERVISED,
    losses={
        "vicreg": "vicreg",
        "barlow_twins": "barlow_twins",
        "nt_xent": "nt_xent",
        "info_nce": "info_nce",
        "negative_cosine": "negative_cosine",
        "clip": "clip",
    },
    rows=(
        Row("vicreg", 50, "it needs no negatives and takes batches of any size"),
        Row("barlow_twins", 40, "it needs no negatives; correlations are over the batch"),
        Row("nt_xent", 45, "two augmentations of a sample must identify each other in the batch"),
        Row("nt_xent", 0, "it counts the positive pair once; counted twice, as often written, the "
            "loss cannot fall below ln 2"),
        Row("info_nce", 20, "like nt_xent, in one direction"),
        Row("nt_xent", 30, "batches are large, and their other samples are its negatives", _LARGE),
        Row("nt_xent", -25, "small batches have few negatives", _SMALL),
        Row("info_nce", -10, "small batches have few negatives", _SMALL & ~given("queue")),
        Row("vicreg", 20, "batches are small, and it needs no negatives", _SMALL),
        Row("barlow_twins", -5, "correlations over few samples are noisy", _SMALL),
        Row("info_nce", 70, "it takes negatives from a queue instead of the batch",
            given("queue")),
        Row("negative_cosine", 80, "the predictor and the stopped gradient keep it from "
            "collapsing to one vector", given("predictor")),
        Row("clip", ASKED, "pairs of two modalities must identify each other, in both directions",
            given("two_kinds")),
        Row("nt_xent", NEVER, "", given("two_kinds")),
    ),
    notes=(
        Note("negative_cosine is left out: without a predictor it is minimal where all samples "
             "collapse to one vector.", ~given("predictor")),
        Note("Use a linear or nearest-neighbour probe to compare models, not the loss.", ALWAYS),
    ),
)  # fmt: skip
"""Self-supervised learning."""

"""Advice on embeddings: learnt from labels, pairs or triplets, and from two views."""

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
        Row("supcon", 50, "each sample meets all others of its class and all others of the batch"),
        Row("multi_similarity", 40, "as supcon, with hard pairs weighed more"),
        Row("semihard", 35, "triplets found in the batch, none of them hopeless; by vectors of "
            "length 1, so that the margin has a meaning"),
        Row("circle", 30, "the farthest pairs count most"),
        Row("arcface", 32, "it compares samples with one vector a class, and not with each other"),
        Row("cosface", 28, "as arcface, with gradients that are easier to follow"),
        Row("supcon", 15, "batches are large, and each sample meets many others", _LARGE),
        Row("arcface", 40, "batches are small, and it does not depend on whom a sample meets",
            _SMALL),
        Row("cosface", 35, "batches are small, and it does not depend on whom a sample meets",
            _SMALL),
        Row("supcon", -10, "in small batches few samples have one of their class", _SMALL),
        Row("semihard", -10, "small batches hold few triplets", _SMALL),
        Row("arcface", 30, "of {num_classes} classes few meet in a batch, and it compares with "
            "all", at_least("num_classes", _MANY_CLASSES)),
        Row("cosface", 28, "of {num_classes} classes few meet in a batch, and it compares with "
            "all", at_least("num_classes", _MANY_CLASSES)),
        Row("supcon", 10, "it averages over all positives, so that a wrong label is one among "
            "many", _SOME_NOISE),
        Row("multi_similarity", -20, "the hard pairs that it weighs most are often wrong labels",
            _SOME_NOISE),
        Row("circle", -15, "the far pairs that it weighs most are often wrong labels",
            _SOME_NOISE),
        Row("semihard", 5, "hard triplets are often wrong labels, and it leaves them out",
            _SOME_NOISE),
        # What is known.
        Row("contrastive", ASKED, "it takes pairs that belong together or do not, by Euclidean "
            "distance, squared beyond the margin as well as within", is_("known", "pairs")),
        Row("cosine_embedding", 100, "it takes such pairs too, by direction alone",
            is_("known", "pairs")),
        Row("triplet", ASKED, "it takes triplets as they are given", is_("known", "triplets")),
        Row("margin_ranking", ASKED, "it takes which of two is higher, and not by how much",
            is_("known", "order")),
        Row("margin_ranking", 0, "jobs have no data that say which of two is higher: there it "
            "orders the cosines of classes or triplets", is_("known", "order")),
        *(Row(name, NEVER, "", _NO_LABELS) for name in _BY_LABELS),
    ),
    notes=(
        Note("Batches must hold several samples of a class, or there is nothing to pull "
             "together.", ~_NO_LABELS),
    ),
)  # fmt: skip
"""Vectors by which like is near like."""

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
        Row("nt_xent", 45, "two views of a sample must find each other in the batch"),
        Row("nt_xent", 0, "the positive stands among all similarities once; with it twice, as "
            "often written, the loss cannot fall below ln 2"),
        Row("info_nce", 20, "as nt_xent, in one direction"),
        Row("nt_xent", 30, "batches are large, and others of the batch are its negatives", _LARGE),
        Row("nt_xent", -25, "small batches hold few negatives", _SMALL),
        Row("info_nce", -10, "small batches hold few negatives", _SMALL & ~given("queue")),
        Row("vicreg", 20, "batches are small, and it needs no negatives", _SMALL),
        Row("barlow_twins", -5, "correlations over few samples are noisy", _SMALL),
        Row("info_nce", 70, "it takes negatives from a queue, which replace those of the batch",
            given("queue")),
        Row("negative_cosine", 80, "the predictor and the stopped gradient keep it from giving "
            "all samples one vector", given("predictor")),
        Row("clip", ASKED, "pairs of two kinds must find each other, in both directions",
            given("two_kinds")),
        Row("nt_xent", NEVER, "", given("two_kinds")),
    ),
    notes=(
        Note("Without a predictor negative_cosine is least where all samples get one vector: it "
             "is left out.", ~given("predictor")),
        Note("Judge by a linear or nearest-neighbour probe, not by the loss.", ALWAYS),
    ),
)  # fmt: skip
"""Vectors without labels."""

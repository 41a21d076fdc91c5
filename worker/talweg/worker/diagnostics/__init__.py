"""What a job looks into besides its training, where `diagnostics` of its spec asks for it."""

from talweg.worker.diagnostics.landscape import look_around
from talweg.worker.diagnostics.one_batch import learn_one_batch
from talweg.worker.diagnostics.rate_range import try_rates
from talweg.worker.diagnostics.trivial import trivial_metrics

__all__ = ["learn_one_batch", "look_around", "trivial_metrics", "try_rates"]

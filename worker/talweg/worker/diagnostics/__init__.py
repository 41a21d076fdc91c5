"""What a job looks into besides its training, where `diagnostics` of its spec asks for it.

`run` is a job's whole run: the training, with the diagnoses before and after it.
"""

from talweg.worker.diagnostics.landscape import look_around
from talweg.worker.diagnostics.one_batch import learn_one_batch
from talweg.worker.diagnostics.rate_range import try_learning_rates
from talweg.worker.diagnostics.run import run
from talweg.worker.diagnostics.trivial import trivial_metrics

__all__ = ["learn_one_batch", "look_around", "run", "trivial_metrics", "try_learning_rates"]

"""Results on their way to MLflow.

The training process appends what it finds to a spool on disk (`spool`) and never waits for
anybody. One delivery process a spool (`python -m talweg.worker.tracking`) reads it, makes plots
and models, and sends everything to MLflow, each point once, whatever is down or killed meanwhile.
"""

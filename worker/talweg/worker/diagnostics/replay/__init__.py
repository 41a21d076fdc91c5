"""Replays a step of an earlier job: restores its state, repeats the step exactly, and measures it.

`replayer` is the run, `steps` takes the steps up to the wanted one and that itself, `rows` and
`layers` measure it, `report` puts together what it shows.
"""

from talweg.worker.diagnostics.replay.replayer import replay

__all__ = ["replay"]

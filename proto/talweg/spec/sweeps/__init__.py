"""Sweeps: their settings, checks and words.

space       settings: counted, found by index, drawn at random, picked by a point
space_json  the same as JSON, for the search process
plan        searches, trials and jobs by their numbers
dimensions  checks of each dimension by itself
placing     checks of values at their paths
checks      what is wrong with a sweep before its jobs are checked
objective   the metrics by which settings are chosen and values compared
wording     values and settings in words
"""

from talweg.spec.sweeps.checks import (
    MAX_DAYS,
    MAX_TPE_TRIALS,
    check_sweep,
    fill_sweep,
    first_settings,
)
from talweg.spec.sweeps.dimensions import is_listed, varied_paths
from talweg.spec.sweeps.objective import check_objective, fill_objective
from talweg.spec.sweeps.placing import where
from talweg.spec.sweeps.plan import (
    PER_SETTING,
    TAG_RUNS,
    TAG_SWEEP,
    TAG_TRIAL,
    Plan,
    Planned,
    Search,
    seed_at,
)
from talweg.spec.sweeps.space import Setting
from talweg.spec.sweeps.space_json import space_to_json
from talweg.spec.sweeps.wording import setting_text, sweep_title, value_text

__all__ = [
    "MAX_DAYS",
    "MAX_TPE_TRIALS",
    "PER_SETTING",
    "TAG_RUNS",
    "TAG_SWEEP",
    "TAG_TRIAL",
    "Plan",
    "Planned",
    "Search",
    "Setting",
    "check_objective",
    "check_sweep",
    "fill_objective",
    "fill_sweep",
    "first_settings",
    "is_listed",
    "seed_at",
    "setting_text",
    "space_to_json",
    "sweep_title",
    "value_text",
    "varied_paths",
    "where",
]

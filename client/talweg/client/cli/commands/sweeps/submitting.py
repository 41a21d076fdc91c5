"""What `talweg submit --dry-run` prints of a sweep."""

from talweg.client import Sweep
from talweg.client.cli._common import say
from talweg.spec.sweeps import Plan, setting_text

_MOST_SETTINGS = 10


def print_planned(sweep: Sweep, *, is_first: bool) -> None:
    """Print a validated sweep as a sweep file, below how much it is and its first settings.

    Args:
        sweep: Only validated.
        is_first: Nothing stands above it.
    """
    from talweg.spec import to_yaml

    plan = Plan(sweep.spec)
    lines = [_amount(sweep, len(plan.searches)), *_settings(plan)]
    head = "".join(f"# {line}\n" for line in lines)
    begin = "" if is_first else "---\n"
    say(f"{begin}{head}{to_yaml(sweep.spec)}", end="")


def _settings(plan: Plan) -> list[str]:
    """List the first settings, as far as they are known before anything runs."""
    if not plan.is_known:
        algorithm = plan.spec.algorithm.WhichOneof("kind")
        return [f"The service chooses settings as the sweep runs, by {algorithm}."]
    shown = min(plan.num_trials, _MOST_SETTINGS)
    lines = ["The first settings:"]
    for number in range(1, shown + 1):
        lines.append(f"  {number}: {setting_text(plan.trial(number).setting)}")
    if shown < plan.num_trials:
        lines.append(f"  and {plan.num_trials - shown:,} more")
    return lines


def _amount(sweep: Sweep, num_searches: int) -> str:
    """Say how many trials and jobs there are."""
    message, spec = sweep.message, sweep.spec
    trials = f"{message.num_trials:,} trial{'s' * (message.num_trials > 1)}"
    parts = [f"{spec.seeds.count} seed{'s' * (spec.seeds.count > 1)} each"]
    if spec.HasField("compare"):
        up_to = "up to " if spec.compare.HasField("decide") else ""
        num_seeds = spec.compare.decide.max_seeds if up_to else spec.compare.final_seeds
        parts.append(f"{num_searches} compared values with {up_to}{num_seeds} final seeds each")
    return f"{trials}, {message.num_jobs:,} jobs ({'; '.join(parts)})."

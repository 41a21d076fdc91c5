"""The subcommands of sweeps, and what other commands do with sweeps."""

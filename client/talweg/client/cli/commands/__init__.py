"""The subcommands of `talweg`, a module each or a few that belong together."""

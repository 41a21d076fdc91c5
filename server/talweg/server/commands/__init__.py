"""The subcommands of `talweg` that the server adds."""

"""What workers do: claim jobs, report on attempts, end them."""

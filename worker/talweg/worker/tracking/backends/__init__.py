"""How calls reach MLflow: through its server, or by its own store where that is at hand."""

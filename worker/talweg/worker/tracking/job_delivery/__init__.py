"""One job's results on their way to MLflow, and to the blob store."""

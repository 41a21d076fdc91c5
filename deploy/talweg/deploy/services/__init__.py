"""The services of the stack: the broker, MLflow, the server, the workers."""

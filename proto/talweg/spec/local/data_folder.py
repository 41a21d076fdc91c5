"""What lies where in the data folder of a stack: `talweg up` makes it, and a backup holds it."""

from typing import Final

RECORD: Final = "talweg.db"
"""The SQLite file of the record."""

BLOBS: Final = "blobs"
"""The folder of the blob store."""

SPOOL: Final = "spool"
"""The folder of results that wait for delivery to MLflow."""

TRACKING: Final = "mlflow"
"""The folder of MLflow's database and artifacts."""

TRACKING_TOKEN: Final = "mlflow-token"
"""The file with the token that MLflow asks for."""

UPLOADS: Final = "uploads"
"""The folder of files that are being uploaded."""

LOGS: Final = "logs"
"""The folder of the services' logs."""

TOKEN_KEY: Final = "token-key"
"""The file with the key of the record's hashes of tokens."""

ADMIN_TOKEN: Final = "admin-token"
"""The file with the token by which the client of the same user is an admin."""

WORKER_TOKEN: Final = "worker-token"
"""The file with the token by which the workers are known."""

-- Run once, on an empty database server: MLflow has a database separate from the record.
CREATE DATABASE mlflow;

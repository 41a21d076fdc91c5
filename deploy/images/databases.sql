-- Run once, on an empty database server: MLflow keeps its tables apart from the record's.
CREATE DATABASE mlflow;

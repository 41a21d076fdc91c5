"""The record, in SQL: what is here is true, whatever Redis, MLflow or a worker says.

Functions take a connection to read by, or a transaction to write in, so that a service puts
several of them into one transaction. Rules are the services'.
"""

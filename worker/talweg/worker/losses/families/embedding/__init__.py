"""Losses over embeddings."""

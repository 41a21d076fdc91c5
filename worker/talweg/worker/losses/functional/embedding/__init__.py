"""Losses over embeddings: pairs, triplets, batches of views."""

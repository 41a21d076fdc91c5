"""The task vae."""

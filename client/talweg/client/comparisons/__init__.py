"""Comparisons of jobs, and the course of their metrics."""

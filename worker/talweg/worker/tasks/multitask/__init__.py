"""The task multitask."""

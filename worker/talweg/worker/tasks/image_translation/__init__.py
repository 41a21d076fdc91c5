"""The task image_translation."""

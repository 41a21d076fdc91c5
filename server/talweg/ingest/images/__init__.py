"""Images: a folder of images and their labels become two arrays."""

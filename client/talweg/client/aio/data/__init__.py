"""Data of your own: files, frames and folders on their way to the server, and what is stored."""

"""What runs beside the event loop: threads in which callers take turns, processes that compute."""

"""What people read: the catalogue, its page, and specs and divergences in words."""

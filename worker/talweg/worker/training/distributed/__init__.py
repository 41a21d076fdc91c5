"""Data parallel training in several processes of one machine."""

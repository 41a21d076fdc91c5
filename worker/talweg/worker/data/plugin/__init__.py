"""Data sets that plug-ins return: described and read as stored data are."""

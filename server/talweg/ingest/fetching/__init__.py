"""Looks at a file by its URI, or copies it: `python -m talweg.ingest.fetching`.

A process of its own, as what libraries and stores do is not the server's. The server has allowed
the URI, and says below which root it must lie; no link leads out of that. What a file holds is not
looked at here.
"""

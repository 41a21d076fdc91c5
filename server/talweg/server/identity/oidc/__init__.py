"""Tokens that an OpenID Connect issuer signs, beside those of the record.

Imported only where an issuer is configured: other servers start without its libraries.
"""

"""An issuer as the server's settings say."""

from talweg.server.errors import BadSetting
from talweg.server.identity.oidc.authentication import OidcAuthentication
from talweg.server.identity.oidc.claims import Rules
from talweg.server.identity.oidc.documents import check_url, fetch_keys, tls_context
from talweg.server.identity.oidc.groups import GroupRoles
from talweg.server.identity.oidc.key_cache import KeyCache
from talweg.server.settings import Settings


def make_issuer(settings: Settings) -> OidcAuthentication:
    """Return what knows the tokens of the issuer; fetch nothing yet.

    Raises:
        BadSetting: A setting cannot be used.
    """
    issuer, ca_file = settings.oidc_issuer, settings.oidc_ca_file
    try:
        check_url(issuer)
    except ValueError as exc:
        raise BadSetting(f"TALWEG_OIDC_ISSUER {exc}") from exc
    try:
        group_roles = GroupRoles(settings.oidc_groups)
    except ValueError as exc:
        raise BadSetting(f"TALWEG_OIDC_GROUPS {exc}") from exc
    if ca_file is not None:
        try:
            tls_context(ca_file)
        except OSError as exc:
            raise BadSetting(f"TALWEG_OIDC_CA_FILE: {ca_file}: {exc.strerror or exc}") from exc
    keys = KeyCache(
        issuer,
        lambda: fetch_keys(issuer, ca_file=ca_file),
        refresh_s=settings.oidc_refresh.total_seconds(),
    )
    return OidcAuthentication(
        keys,
        rules=Rules(issuer, settings.oidc_audiences),
        groups_claim=settings.oidc_groups_claim,
        group_roles=group_roles,
    )

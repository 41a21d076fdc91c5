"""Finds out who a call is from, by a token that an issuer has signed."""

import time
from collections.abc import Sequence

from talweg.server.errors import PermissionDenied, Unauthenticated
from talweg.server.identity.caller import Caller
from talweg.server.identity.oidc import claims
from talweg.server.identity.oidc.claims import LEEWAY_S, Claims, Rules
from talweg.server.identity.oidc.groups import GroupRoles, Person
from talweg.server.identity.oidc.key_cache import KeyCache, Keys

_MOST_CACHED = 1000
_ECHOED_GROUPS = 5


class OidcAuthentication:
    """Knows the tokens of one issuer. What they open is decided by their groups alone."""

    def __init__(
        self, keys: KeyCache, *, rules: Rules, groups_claim: str, group_roles: GroupRoles
    ) -> None:
        """Keep what tokens are checked by.

        Args:
            keys: The issuer's.
            rules: What a token must be.
            groups_claim: The claim that holds the groups.
            group_roles: What they open.
        """
        self._keys = keys
        self._rules = rules
        self._groups_claim = groups_claim
        self._group_roles = group_roles
        # By token: until when it holds, in seconds since 1970. Checking a signature takes longer
        # than many a call.
        self._known: dict[str, tuple[float, Person]] = {}
        self._known_by: Keys = ()

    async def run(self) -> None:
        """Keep the issuer's keys up to date, for good."""
        await self._keys.run()

    def is_one(self, token: str) -> bool:
        """Return whether a token has the form of those that issuers sign.

        Args:
            token: The token.
        """
        return token in self._known or claims.peek(token) is not None

    async def caller(self, token: str, *, project: str) -> Caller:
        """Return who a call is from.

        Args:
            token: What it carries.
            project: What it asks for; empty for none.

        Raises:
            Unauthenticated: The token does not hold.
            PermissionDenied: It holds, and opens nothing here or not that project.
            InvalidRequest: No project can have that name.
            IssuerUnavailable: Nobody knows whether it holds.
        """
        if self._known_by is not self._keys.all:
            # Those of a key that was withdrawn hold no more.
            self._known, self._known_by = {}, self._keys.all
        until, person = self._known.get(token, (0.0, None))
        if person is None or until <= time.time():
            self._known.pop(token, None)
            found = await self._claims(token)
            person = self._person(found)
            if len(self._known) >= _MOST_CACHED:
                self._known.clear()
            if self._known_by is self._keys.all:
                # It expires as a whole number; a far one is looked at again in an hour.
                most = int(time.time()) + 3600
                self._known[token] = (min(int(found["exp"]) + LEEWAY_S, most), person)
        return person.caller(project)

    async def _claims(self, token: str) -> Claims:
        read = claims.peek(token)
        if read is None:
            raise Unauthenticated("the token is no JSON Web Token that can be read")
        header, unverified = read
        claims.check_outside(header, unverified, self._rules)
        name = header.get("kid", "")
        if not isinstance(name, str):
            raise Unauthenticated("the name of the token's key (kid) is not a text")
        # The issuer may have begun to sign by another key.
        for fetched in (None, self._keys.wait_for_fetch, self._keys.renew):
            if fetched is not None:
                await fetched()
            keys = self._keys.named(name)
            found = claims.verified(token, keys, self._rules)
            if found is not None:
                return found
            if name and keys:
                raise Unauthenticated(
                    f"the token is not signed by the key {name[:60]!r} of {self._rules.issuer}: "
                    "it was changed, or made by somebody else"
                )
        raise Unauthenticated(
            f"the token is signed by a key that {self._rules.issuer} does not publish: get a new "
            "token; if the issuer changed its keys just now, try again in some seconds"
        )

    def _person(self, found: Claims) -> Person:
        groups = claims.groups(found, self._groups_claim)
        roles = self._group_roles.of(groups)
        id_, who = claims.user_name(found), claims.description(found)
        if not roles:
            raise PermissionDenied(self._nothing_opened(found, groups, who))
        return Person(id_, who, roles)

    def _nothing_opened(self, found: Claims, groups: Sequence[str], who: str) -> str:
        ask = "ask an admin"
        if groups:
            some = ", ".join(repr(each[:60]) for each in groups[:_ECHOED_GROUPS])
            more = f" and {len(groups) - _ECHOED_GROUPS} more" * (len(groups) > _ECHOED_GROUPS)
            return (
                f"none of the groups of {who} opens a project here ({some}{more}): {ask} to map "
                "one in TALWEG_OIDC_GROUPS"
            )
        left_out = found.get("_claim_names")
        if isinstance(left_out, dict) and self._groups_claim in left_out:
            return (
                f"the issuer has left the groups of {who} out of the token, since they are too "
                f"many: {ask} to have it send only those of this application"
            )
        return (
            f"the token of {who} holds no groups in the claim {self._groups_claim!r}: {ask} to "
            "have the issuer send them, or to set TALWEG_OIDC_GROUPS_CLAIM"
        )

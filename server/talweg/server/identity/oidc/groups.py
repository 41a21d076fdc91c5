"""Which groups of an issuer may do what in which project."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from talweg.server.errors import PermissionDenied
from talweg.server.identity.caller import Caller, checked_project
from talweg.server.identity.methods import Role
from talweg.spec.identity.projects import (
    ALL_PROJECTS,
    DEFAULT_PROJECT,
    PROJECT_RULE,
    is_project,
)

# Each of them includes those before it; a worker does what none of them does.
_ROLES = {role.name.lower(): role for role in (Role.VIEWER, Role.SUBMITTER, Role.ADMIN)}

Roles = Mapping[str, Role]


@dataclass(frozen=True)
class Person:
    """Whom a token of an issuer is for."""

    id: str
    """users/{subject}."""

    description: str
    """For people: an address, or a name."""

    roles: Roles
    """By project; "*" stands for all."""

    def caller(self, project: str) -> Caller:
        """Return who a call is from.

        Args:
            project: What it asks for; empty for the only one.

        Raises:
            PermissionDenied: The person may do nothing there, or has to say where.
            InvalidRequest: It cannot be the name of a project.
        """
        everywhere = self.roles.get(ALL_PROJECTS)
        if not project:
            project = self._only_project()
        here = self.roles.get(project)
        if everywhere is not None and (here is None or here <= everywhere):
            return self._caller(everywhere, checked_project(project), ALL_PROJECTS)
        if here is None:
            raise PermissionDenied(
                f"the token's groups open {_listed(self.roles)}, but the call asks for {project!r}"
            )
        # What they may do here they may do nowhere else.
        return self._caller(here, project, project)

    def _only_project(self) -> str:
        if ALL_PROJECTS in self.roles:
            return DEFAULT_PROJECT
        if len(self.roles) > 1:
            raise PermissionDenied(
                f"the token's groups open {_listed(self.roles)}: say which by --project NAME, or "
                "TALWEG_PROJECT"
            )
        return next(iter(self.roles))

    def _caller(self, role: Role, project: str, projects: str) -> Caller:
        return Caller(
            role,
            project=project,
            projects=projects,
            token=self.id,
            description=self.description,
        )


class GroupRoles:
    """What the members of each group may do."""

    def __init__(self, text: str) -> None:
        """Read the mapping.

        Args:
            text: GROUP=PROJECT:ROLE, divided by commas. A group may have several entries. What
                divides is written %2C in a group.

        Raises:
            ValueError: It cannot be read.
        """
        self._of_group: dict[str, list[tuple[str, Role]]] = {}
        for entry in filter(None, map(str.strip, text.split(","))):
            group, project, role = _parse(entry)
            self._of_group.setdefault(group, []).append((project, role))

    def of(self, groups: Iterable[str]) -> Roles:
        """Return what the member of some groups may do, by project.

        Args:
            groups: The groups; those that are not mapped count for nothing.
        """
        roles: dict[str, Role] = {}
        for group in groups:
            for project, role in self._of_group.get(group, ()):
                roles[project] = max(role, roles.get(project, role))
        return roles


def _parse(entry: str) -> tuple[str, str, Role]:
    # A group may hold = and :, as a distinguished name of LDAP does.
    group, _, right = entry.rpartition("=")
    project, _, role = (part.strip() for part in right.partition(":"))
    if not group.strip() or not project or not role:
        raise ValueError(f"must be GROUP=PROJECT:ROLE, divided by commas, but got {entry!r}")
    if project != ALL_PROJECTS and not is_project(project):
        raise ValueError(f'{entry!r}: a project {PROJECT_RULE}, or is "*" for all')
    if role not in _ROLES:
        raise ValueError(
            f"{entry!r}: a role must be one of {', '.join(_ROLES)}; workers take a token of "
            "`talweg token create --role worker`"
        )
    return unquote(group.strip()), project, _ROLES[role]


def _listed(roles: Roles) -> str:
    names = sorted(roles)
    return f"project{'s' if len(names) > 1 else ''} {', '.join(names)}"

"""Plans of sweeps, kept since reading them takes a while."""

from collections import OrderedDict

from talweg.server.store.record.rows import SweepRow
from talweg.spec.sweeps import Plan

_MOST = 100


class Plans:
    """The latest plans by their specs."""

    def __init__(self) -> None:
        """Begin empty."""
        self._plans: OrderedDict[bytes, Plan] = OrderedDict()

    def of(self, row: SweepRow) -> Plan:
        """Return the plan of a sweep."""
        plan = self._plans.pop(row.spec, None) or Plan(row.sweep_spec)
        self._plans[row.spec] = plan
        while len(self._plans) > _MOST:
            self._plans.popitem(last=False)
        return plan

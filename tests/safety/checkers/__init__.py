"""Promises that no fault may break: functions of the cluster, called again and again in a run.

A checker returns what is wrong, in words; nothing wrong is an empty list.
"""

from tests.safety.checkers.dead_nodes import runs_on_dead_nodes
from tests.safety.checkers.double_binding import bound_twice
from tests.safety.checkers.orphans import left_on_removed_nodes
from tests.safety.checkers.room import more_pods_than_allowed, more_requested_than_there_is
from tests.safety.checkers.surplus import more_than_wanted

CHECKERS = (
    runs_on_dead_nodes,
    bound_twice,
    more_pods_than_allowed,
    more_requested_than_there_is,
    more_than_wanted,
    left_on_removed_nodes,
)

__all__ = ["CHECKERS"]

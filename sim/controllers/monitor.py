"""When monitor passes and lease renewals fall, without an event for each."""

from __future__ import annotations

from bisect import bisect_left

RENEW_MS = 10_000  # kubelets renew a lease of 40 s at a quarter of it


class PassGrid:
    """Starts of the monitor passes: `period_ms` apart, each counted from the end of the last.

    Passes that write nothing take no time beyond the period; only others need be reported.
    """

    def __init__(self, phase_ms: int, period_ms: int) -> None:
        self._period_ms = period_ms
        self._starts = [phase_ms - period_ms]
        self._ends = [phase_ms - period_ms]

    def began(self, now_ms: int) -> None:
        """A pass begins."""
        self._starts.append(now_ms)
        self._ends.append(now_ms)

    def ended(self, now_ms: int) -> None:
        """The last pass that began is over."""
        self._ends[-1] = now_ms

    @property
    def last_ms(self) -> int:
        """The start of the last pass that was reported."""
        return self._starts[-1]

    def at_or_after(self, time_ms: int) -> int:
        """The start of the first pass at or after a time, past or future."""
        last = bisect_left(self._starts, time_ms) - 1
        if last < 0:  # before the run: the same grid backwards
            first_ms = self._starts[0]
            return first_ms - (first_ms - time_ms) // self._period_ms * self._period_ms
        end_ms = self._ends[last]
        periods = max(1, -((end_ms - time_ms) // self._period_ms))
        return end_ms + periods * self._period_ms


def last_renewal_ms(now_ms: int, phase_ms: int, since_ms: int | None = None) -> int:
    """When a kubelet last renewed its lease: at `phase_ms` + 10 s × k, and at `since_ms`.

    `since_ms` is when it began to work, None if long before the run.
    """
    on_grid_ms = now_ms - (now_ms - phase_ms) % RENEW_MS
    return on_grid_ms if since_ms is None else max(on_grid_ms, since_ms)

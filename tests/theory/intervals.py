"""Confidence intervals of means over independent runs."""

from __future__ import annotations

import math
from statistics import NormalDist, fmean, stdev

# Two-sided, and so wide that a right program would fail at one set of seeds in a thousand; the
# seeds are fixed, so it fails never or always.
Z = NormalDist().inv_cdf(1 - 0.0005)


def assert_mean(values, expected, *, bias=0.0):
    """The mean of independent `values` agrees with `expected`, up to chance (and a known bias)."""
    mean, half = fmean(values), Z * stdev(values) / math.sqrt(len(values))
    assert abs(mean - expected) <= half + bias, f"{mean:.6g} ± {half:.2g}, expected {expected:.6g}"
    assert half + bias < 0.3 * abs(expected), f"± {half:.2g} tells little about {expected:.6g}"

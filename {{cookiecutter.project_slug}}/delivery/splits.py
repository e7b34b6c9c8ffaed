"""Traffic splits, and what can be computed from them alone."""

import math

from delivery.errors import DeliveryError

Split = dict[str, float]
"""Per cent of the traffic by version, above zero; together 100, or empty when nothing serves."""

ALL = 100.0


def describe(split: Split) -> str:
    """Put a split in words, the largest share first."""
    shares = sorted(split.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{version} {share:g} %" for version, share in shares) or "nothing"


def sole(split: Split) -> str | None:
    """Return the version that has all traffic, or None when it is split, or nothing serves."""
    return next(iter(split)) if len(split) == 1 else None


def main_version(split: Split) -> str | None:
    """Return the version with the largest share, or None when nothing serves."""
    return max(split, key=lambda version: (split[version], version)) if split else None


def with_canary(serving: Split, name: str, per_cent: int, step: float) -> Split:
    """Split traffic between one version and, in their proportions, those that serve.

    Shares are multiples of `step`. Where nothing else serves, the version gets everything: there is
    nothing to share it with.
    """
    others = {version: share for version, share in serving.items() if version != name}
    if not others:
        return {name: ALL}
    rest = sum(others.values())
    scaled = {
        version: _round(share * (100 - per_cent) / rest, step) for version, share in others.items()
    }
    largest = max(scaled, key=lambda version: scaled[version])
    scaled[largest] = _round(scaled[largest] + 100 - per_cent - sum(scaled.values()), step)
    if scaled[largest] <= 0:
        raise DeliveryError(f"{describe(serving)} cannot be split any further")
    return {name: float(per_cent)} | {
        version: share for version, share in scaled.items() if share > 0
    }


def _round(share: float, step: float) -> float:
    return round(math.floor(share / step + 0.5) * step, 1)

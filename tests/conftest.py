"""What all tests share: how Hypothesis behaves here."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# No deadline: shared machines stall. No database: a test leaves nothing behind in the working tree.
settings.register_profile(
    "clew", deadline=None, database=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("clew")

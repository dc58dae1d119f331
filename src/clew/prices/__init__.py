"""What model calls cost: the operator's own prices first, then the table of genai-prices, by the time of the call.

A model that neither knows is unpriced: None, never nothing.
"""

from clew.prices.overrides import Override, read_overrides
from clew.prices.table import Prices, table_name
from clew.prices.units import INPUT_KINDS, line_amount, repriced, rounded, shown, total

__all__ = [
    "INPUT_KINDS",
    "Override",
    "Prices",
    "line_amount",
    "read_overrides",
    "repriced",
    "rounded",
    "shown",
    "table_name",
    "total",
]

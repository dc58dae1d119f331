"""What a projection is, and how its rows are kept.

A projection is one file in `projections/clew_projections/`: a docstring that says what it answers, a value called
`projection`, handlers, and questions. Handlers write no SQL: they say what is so from this event on, with
`rows.add`, `rows.put`, `rows.save` and `rows.remove`; tables with time keep what was so before.

An `inline` projection is kept in the transaction that appends, so that everybody reads his own writes. A `follow`
projection comes behind, from a position that is kept in the same transaction as its rows.
"""

from __future__ import annotations

from clew.projecting.comparing import Difference, differences
from clew.projecting.keeping import Keeper, Progress, Standing
from clew.projecting.projection import Fold, Projection, discover
from clew.projecting.rows import Row, Rows
from clew.projecting.tables import Documents, Table, documents, moment, upper_bound

__all__ = [
    "Difference",
    "Documents",
    "Fold",
    "Keeper",
    "Progress",
    "Projection",
    "Row",
    "Rows",
    "Standing",
    "Table",
    "differences",
    "discover",
    "documents",
    "moment",
    "upper_bound",
]

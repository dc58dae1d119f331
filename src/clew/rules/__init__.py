"""The rules: what may happen next. Pure functions, without clock, identifiers or I/O."""

"""The tests of Clew. They mirror src and projections; `specify.py` has given, when, then."""

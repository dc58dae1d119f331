"""Tests of the wire APIs that we serve."""

"""Tests of projecting."""

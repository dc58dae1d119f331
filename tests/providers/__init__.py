"""Tests of the models we call."""

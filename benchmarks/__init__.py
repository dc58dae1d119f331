"""Benchmarks. Each prints one JSON object; run small, they are tests."""

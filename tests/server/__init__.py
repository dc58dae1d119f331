"""Tests of the server and of Clew's own API."""

"""Replays: a recorded run played again without a call, by today's engine, to be compared with what it did then."""

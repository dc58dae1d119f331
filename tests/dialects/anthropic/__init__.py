"""Anthropic's Messages API, as its official SDK uses it."""

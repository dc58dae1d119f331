"""Mistral's Conversations and Agents, as its official SDK uses them."""

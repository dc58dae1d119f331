"""Proof: a Merkle tree over the whole log, signed checkpoints of it, and what an auditor checks with them.

The chains in `log/` hold each stream together. The tree holds the log together: that nothing is missing at its end,
that no stream was written anew as a whole, and that whatever is there now extends what was there before.
"""

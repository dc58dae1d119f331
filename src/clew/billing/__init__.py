"""What model calls have cost and would have cost, told from the ledger and the log."""

"""What model calls have cost."""

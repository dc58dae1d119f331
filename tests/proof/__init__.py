"""What is proved about the log, and what hundreds of planted changes show of it."""

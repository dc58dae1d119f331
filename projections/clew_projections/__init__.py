"""The read models: one file each. What anyone reads of Clew is derived from the log here."""

"""What happened, told and proven from the log alone: audits, exact prompts, differences, and their exports."""

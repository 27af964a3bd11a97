"""What the commands of `valle` do, a file for each, and what only they need."""

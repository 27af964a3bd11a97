"""What a person sees in a terminal: tables, lines and progress bars."""

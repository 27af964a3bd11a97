"""What only a CPU needs, with what each trick is worth."""

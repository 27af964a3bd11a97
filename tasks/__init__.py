"""What is made: one noun, one module, one table each."""

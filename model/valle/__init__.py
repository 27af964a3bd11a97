"""VALL-E: its two halves, how they are kept in files, and how speech is made with them."""

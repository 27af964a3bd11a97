"""Protocols: which texts are said in whose voice to be judged, and what each speaker is given."""

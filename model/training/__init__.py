"""Training of VALL-E: batches, steps, validation, alarms, and states to go on from."""

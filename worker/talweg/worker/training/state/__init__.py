"""All that training changes: the state, its snapshots and checkpoints."""

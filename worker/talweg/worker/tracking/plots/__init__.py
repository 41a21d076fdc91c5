"""Pictures of training itself: divergence and diagnoses; and what draws those of a task."""

"""What is known of workers and broker: doorbells for workers, and why a job still waits."""

"""What is known of workers and broker: wake-up messages for workers, and why a job still waits."""

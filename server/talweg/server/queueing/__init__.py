"""What moves queued jobs: tickets for workers, the reaper, and why a job still waits."""

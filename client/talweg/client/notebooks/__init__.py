"""What notebooks show of jobs: tables, curves as SVG, and progress while something waits."""

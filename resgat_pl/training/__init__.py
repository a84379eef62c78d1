"""Training with Lightning, and runs that survive crashes, signals and full disks."""

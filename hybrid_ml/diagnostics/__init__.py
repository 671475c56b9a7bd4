"""What a machine holds: how much of its disks is free, and what lies on them."""

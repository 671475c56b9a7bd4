"""What is wrong with the service, told once when it begins and once when it is over."""

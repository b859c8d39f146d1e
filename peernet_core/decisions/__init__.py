"""What decides, all of it pure: `now` is an argument, and nothing here waits, connects or knows the time."""

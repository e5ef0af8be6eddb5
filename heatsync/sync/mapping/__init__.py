"""Our traits -> their fields."""

"""What a profile, level, signal, condition or audience says."""

"""What follows from a definition, as SQL and Ibis expressions."""

"""What lets ops sleep."""

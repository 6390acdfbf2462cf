"""Is it still fast? Figures as JSON lines, each beside a calibration of the machine."""

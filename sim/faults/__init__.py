"""What breaks: outages, machines that fail at random, spot interruptions, maintenance."""

"""What measures speed, memory and accuracy, peers included."""

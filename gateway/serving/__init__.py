"""The backend behind one interface: what runs the graph, and whether it still tells the truth."""

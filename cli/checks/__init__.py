"""What `amulet doctor` looks at. No check changes anything, and none needs a network beyond the named servers."""

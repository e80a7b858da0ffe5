"""Networks: plain modules, sizes as data."""

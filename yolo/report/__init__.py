"""One self-contained HTML page that shows everything about an evaluation."""

"""The paper's table and figures, each run in a process of its own."""

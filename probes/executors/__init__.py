"""Where runs are done: processes on this machine, or a cluster."""

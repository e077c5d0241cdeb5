"""The probe log: its cells, its checks, what to be careful about, its files."""

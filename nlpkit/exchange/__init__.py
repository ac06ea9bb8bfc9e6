"""Everything that knows another tool: its names, directories and files."""

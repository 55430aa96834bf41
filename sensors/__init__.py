"""The room's sensors, one file each. Importing this package touches no device and no library."""

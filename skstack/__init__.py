"""The radio: SK commands to a Wi-SUN module, ECHONET Lite frames to the meter behind it."""

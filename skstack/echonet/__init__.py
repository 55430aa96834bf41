"""ECHONET Lite as a smart meter speaks it: frames, properties, registers and history. Pure: bytes in, values out."""

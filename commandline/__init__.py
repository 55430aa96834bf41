"""What the three scripts share in talking to a person: version, language, and the settings file as text."""

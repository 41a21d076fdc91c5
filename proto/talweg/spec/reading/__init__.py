"""From text, JSON and single settings to messages and back; defaults of what is absent."""

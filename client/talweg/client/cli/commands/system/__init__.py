"""Commands on the installation: its parts, its workers, its versions."""

"""Configuration: typed, frozen, strict sections, and the loader that reads them from YAML."""

"""A plug-in of Probeline: a data source, a source of backbones and a head."""

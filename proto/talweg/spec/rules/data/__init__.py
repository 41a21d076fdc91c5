"""Rules about data: columns, splits, images."""
